//! Positions, fetch and lag over JetStream.
//!
//! **Words**: stream, subject and consumer as JetStream means them; a *cursor* is the highest stream
//! sequence that was handed on, a *floor* the one that the table's log holds.
//!
//! **Guarantee**: between two cursors that a [`PartitionReader`] reports, every message of the
//! partition that the stream held was handed on exactly once and in order, or an error names what is
//! missing. A delivery lost on the wire is read again; a message lost at the source is
//! [`SourceError::Gap`]; another stream under the same name is [`SourceError::Identity`].
//!
//! **Refusals**: nothing here decides a commit, remembers a position outside the process, or touches a
//! stream that Tidegate did not make. No position is ever derived by counting deliveries.
//!
//! This is the only crate that imports the NATS client; its types stop here.

mod ack_subject;
mod authorities;
mod backoff;
mod caught_up;
mod connection;
mod consumer;
mod coverage;
mod credit;
pub mod embedded;
mod error;
mod holes;
mod identity;
mod leader_samples;
mod options;
mod publish;
mod pull;
mod reader;
mod registration;
mod safety;
mod scan;
mod start;
mod stored;
mod stream;
mod stream_facts;
mod trim;

pub use connection::{ConnectOptions, Connection, Credentials, TlsFiles};
pub use coverage::{Coverage, check_coverage, pending_after};
pub use error::{IdentityFinding, SourceError};
pub use identity::{KnownMessage, check_same_stream, fingerprint, known_message};
pub use leader_samples::{LeaderSamples, idle_advance, next_message, next_message_time};
pub use options::{CheckPeriods, EmptyTo, Fetched, ReadMode, ReaderOptions, Receipt};
pub use publish::{PublishOptions, PublishReport, Publisher};
pub use reader::PartitionReader;
pub use registration::{
    Reader, Registration, forget_ledger, forget_reader, readers, register_ledger,
    registered_ledgers,
};
pub use safety::{durability_caveats, unsafe_settings};
pub use scan::{HeaderScan, SeenMessage, count_headers_only};
pub use start::{StartAt, resolve_start, sequence_at_time};
pub use stream::{Partitioning, StreamSpec, delete_stream, ensure_stream, partition_filter};
pub use stream_facts::{
    RetentionKind, StreamFacts, SubjectTransform, leader_last_sequence, stream_facts,
};
pub use trim::{TrimDecision, TrimFacts, trim, trim_decision};
