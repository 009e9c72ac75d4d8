//! Words that every crate shares: ids, sequences, sizes, the schema grammar, settings that are plain
//! values, and the closed set of reasons.
//!
//! Nothing here does IO, reads a clock or depends on a runtime. A type enters when two crates need it.

mod azure;
mod counters;
mod duration;
mod explained;
mod first_names;
mod ids;
mod interval;
mod message;
mod reason;
mod schema;
mod secret;
mod settings;
mod size;
mod suggest;

pub use azure::AzureContainer;
pub use counters::Counters;
pub use duration::{ParseSpanError, Span};
pub use explained::Explained;
pub use first_names::first_names;
pub use ids::{
    Epoch, Holder, IdError, Incarnation, Ledger, Nonce, PartitionId, Position, StreamTime,
};
pub use interval::{DataInterval, IntervalError};
pub use message::Message;
pub use reason::Reason;
pub use schema::{Field, FieldType, MAX_FIELDS, SYSTEM_PREFIX, SchemaError, StructField};
pub use secret::Secret;
pub use settings::{
    AfterRepairPolicy, BadRowPolicy, Coercion, Compression, DedupKey, DuplicateWindow, Evolution,
    Guarantee, KeyPrecision, LatePolicy, MissingKeyPolicy, PartitionColumn, PartitionTransform,
    PayloadCompression, UnknownFields,
};
pub use size::{ByteSize, ParseSizeError};
pub use suggest::did_you_mean;
