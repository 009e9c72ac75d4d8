//! A message as the source hands it on.

use bytes::Bytes;

use crate::StreamTime;

/// One message of a stream: payload and coordinates, nothing interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The stream sequence.
    pub sequence: u64,
    /// When the broker stored it.
    pub time: StreamTime,
    /// The subject under which it is stored.
    pub subject: Box<str>,
    /// The bytes, as published.
    pub payload: Bytes,
    /// The value of the header that the source was asked for (the deduplication header), if the
    /// message carries it and it is not empty.
    pub id: Option<Bytes>,
}

impl Message {
    /// Bytes that holding this message costs, for the memory budget: payload, subject, id and the
    /// struct itself.
    #[must_use]
    pub fn footprint(&self) -> usize {
        size_of::<Self>()
            + self.payload.len()
            + self.subject.len()
            + self.id.as_ref().map_or(0, Bytes::len)
    }
}
