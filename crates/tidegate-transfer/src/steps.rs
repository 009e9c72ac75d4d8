//! The named steps of a run, at which tests end it.

#[cfg(test)]
use std::sync::Arc;

use tidegate_runtime::failpoint;

/// The named steps at which tests end a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps {
    /// Goes no further than this step, and says so.
    #[cfg(test)]
    pub(crate) halt: Option<(&'static str, Arc<tokio::sync::Notify>)>,
    /// So many times it goes by there first.
    #[cfg(test)]
    pub(crate) passes: Arc<std::sync::atomic::AtomicU32>,
    /// Is told to stop at this step, and goes on to where it looks.
    #[cfg(test)]
    pub(crate) stop: Option<(&'static str, tokio_util::sync::CancellationToken)>,
    /// Waits at this step, the first time that it comes there, until told to go on.
    #[cfg(test)]
    pub(crate) pause: Option<Arc<crate::tests::Pause>>,
}

impl Steps {
    /// A step is reached.
    pub(crate) async fn reach(&self, step: &'static str) {
        failpoint::hit(step);
        #[cfg(test)]
        if let Some((at, stop)) = &self.stop
            && *at == step
        {
            stop.cancel();
        }
        #[cfg(test)]
        if let Some((at, reached)) = &self.halt
            && *at == step
            && !self.goes_by()
        {
            reached.notify_one();
            std::future::pending::<()>().await;
        }
        #[cfg(test)]
        if let Some(pause) = &self.pause {
            pause.reach(step).await;
        }
    }

    #[cfg(test)]
    fn goes_by(&self) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        self.passes.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}
