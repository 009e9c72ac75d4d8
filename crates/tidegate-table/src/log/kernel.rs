//! The kernel's engine over our store, and running its blocking calls.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use delta_kernel::committer::{CommitMetadata, CommitResponse, Committer, PublishMetadata};
use delta_kernel::engine::arrow_utils::to_json_bytes;
use delta_kernel::{Engine, FilteredEngineData, KernelError, KernelResult, KernelResultIterator};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use object_store::ObjectStore;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::CommitLog;
use super::error::LogError;

/// The root under which the kernel sees every table: our stores are rooted at the table already. The
/// scheme is that of files because then the kernel sorts listings itself, whatever the store is.
pub(super) const KERNEL_ROOT: &str = "file:///";

/// The engine that the kernel reads and writes with.
pub(super) type KernelEngine = DefaultEngine<TokioMultiThreadExecutor>;

/// An engine over `store` on the current runtime.
pub(super) fn engine(store: Arc<dyn ObjectStore>) -> Result<KernelEngine, LogError> {
    let handle = Handle::try_current().map_err(|_| LogError::NoRuntime)?;
    // On a single-threaded runtime a checkpoint would wait for itself for ever.
    if handle.runtime_flavor() != RuntimeFlavor::MultiThread {
        return Err(LogError::NoRuntime);
    }
    let executor = Arc::new(TokioMultiThreadExecutor::new(handle));
    Ok(DefaultEngineBuilder::new(store).with_task_executor(executor).build())
}

impl CommitLog {
    /// Runs a kernel call on a blocking thread.
    pub(super) async fn with_kernel<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&KernelEngine) -> KernelResult<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let engine = engine(self.store.clone())?;
        tokio::task::spawn_blocking(move || call(&engine))
            .await
            .map_err(|source| LogError::Task { operation, source })?
            .map_err(|source| self.kernel_error(operation, source))
    }

    pub(super) fn kernel_error(&self, operation: &'static str, source: KernelError) -> LogError {
        LogError::Kernel { operation, table: self.root.to_string(), source: Box::new(source) }
    }

    pub(super) fn store_error(
        &self,
        operation: &'static str,
        path: &object_store::path::Path,
        source: object_store::Error,
    ) -> LogError {
        LogError::Store {
            operation,
            path: path.to_string(),
            table: self.root.to_string(),
            source: Box::new(source),
        }
    }
}

/// A committer that writes nothing: it keeps the bytes that would have been written and reports a
/// conflict, so that the PUT, and what its answer means, stay ours.
#[derive(Debug, Clone, Default)]
pub(super) struct CapturingCommitter {
    captured: Arc<Mutex<Option<Captured>>>,
}

/// A serialised commit.
#[derive(Debug)]
pub(super) struct Captured {
    /// The version it is for.
    pub(super) version: u64,
    /// Its actions, a JSON object per line.
    pub(super) bytes: Bytes,
}

impl CapturingCommitter {
    /// What was captured, once.
    pub(super) fn take(&self) -> Option<Captured> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Committer for CapturingCommitter {
    fn commit(
        &self,
        _engine: &dyn Engine,
        actions: KernelResultIterator<'_, FilteredEngineData>,
        metadata: CommitMetadata,
    ) -> KernelResult<CommitResponse> {
        let version = metadata.version();
        let bytes = Bytes::from(to_json_bytes(actions)?);
        let captured = Captured { version, bytes };
        *self.captured.lock().unwrap_or_else(PoisonError::into_inner) = Some(captured);
        Ok(CommitResponse::Conflict { version })
    }

    fn is_catalog_committer(&self) -> bool {
        false
    }

    fn publish(&self, _engine: &dyn Engine, _metadata: PublishMetadata) -> KernelResult<()> {
        Ok(())
    }
}
