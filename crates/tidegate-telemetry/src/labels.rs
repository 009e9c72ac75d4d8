//! Label sets and the closed sets of their values.

use std::fmt::{Error, Write as _};
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

macro_rules! closed_set {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label's value.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

closed_set! {
    /// How an attempt to commit ended.
    CommitOutcomeLabel {
        /// Our entry stands in the log.
        Won => "won",
        /// Somebody else's entry stands there.
        Lost => "lost",
        /// Not known yet, the same bytes are put again (P5).
        InDoubt => "in_doubt",
    }
}

closed_set! {
    /// Why a worker takes less than the source has.
    Throttle {
        /// The byte budget of the process is used up.
        MemoryBudget => "memory_budget",
        /// The batch before is still being committed.
        CommitPending => "commit_pending",
    }
}

/// The labels of every series: which pipeline, and which worker of this process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WorkerLabels {
    pub(crate) pipeline: Arc<str>,
    pub(crate) worker: u32,
}

/// [`WorkerLabels`] and one word out of a closed set, under the name that the family gives it.
macro_rules! labelled {
    ($name:ident, $label:ident: $value:ty) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(crate) struct $name {
            pub(crate) pipeline: Arc<str>,
            pub(crate) worker: u32,
            pub(crate) $label: $value,
        }

        impl $name {
            pub(crate) fn new(of: &WorkerLabels, $label: $value) -> Self {
                Self { pipeline: Arc::clone(&of.pipeline), worker: of.worker, $label }
            }
        }
    };
}

labelled!(ReasonLabels, reason: &'static str);
labelled!(OutcomeLabels, outcome: CommitOutcomeLabel);
labelled!(ThrottleLabels, why: Throttle);
labelled!(PartitionLabels, partition: u32);
