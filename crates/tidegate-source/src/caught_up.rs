//! Whether a silent consumer has really delivered everything (S4).
//!
//! A cut connection swallows the tail of a delivery without a word, and a lagging replica answers that
//! nothing is pending. So three things are asked, and nothing is ever resynchronised by counting.

/// What a silent consumer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silence {
    /// The consumer sequence up to which we received everything.
    pub(crate) received: u64,
    /// The consumer sequence up to which the broker says it delivered.
    pub(crate) delivered: u64,
    /// How many messages the broker says it still has for the consumer.
    pub(crate) pending: u64,
}

/// What it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Deliveries were lost on the wire, or the consumer is another one: read again from the cursor.
    Lost,
    /// Messages are on their way.
    MoreToCome,
    /// The stream must be asked for a message behind the cursor; if it has none, all is read.
    AskTheStream,
}

pub(crate) fn judge_silence(silence: Silence) -> Verdict {
    if silence.delivered != silence.received {
        Verdict::Lost
    } else if silence.pending > 0 {
        Verdict::MoreToCome
    } else {
        Verdict::AskTheStream
    }
}

/// How often the stream may show the same undelivered message, each time with nothing pending, before
/// the consumer is made anew.
const MOST_STRIKES: u32 = 3;

/// Notices a consumer that is stuck before a message that the stream holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Strikes {
    sequence: u64,
    count: u32,
}

impl Strikes {
    /// Notes that the stream holds `sequence` undelivered; true when that was seen too often.
    pub(crate) fn note(&mut self, sequence: u64) -> bool {
        if self.sequence == sequence {
            self.count += 1;
        } else {
            *self = Self { sequence, count: 1 };
        }
        self.count >= MOST_STRIKES
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_silence_is_not_taken_for_the_end() {
        let cases = [
            // 499 delivered, 1 received, nothing pending: the tail was lost.
            (Silence { received: 1, delivered: 499, pending: 0 }, Verdict::Lost),
            (Silence { received: 5, delivered: 3, pending: 0 }, Verdict::Lost),
            (Silence { received: 5, delivered: 5, pending: 9 }, Verdict::MoreToCome),
            (Silence { received: 5, delivered: 5, pending: 0 }, Verdict::AskTheStream),
            (Silence { received: 0, delivered: 0, pending: 0 }, Verdict::AskTheStream),
        ];
        for (silence, verdict) in cases {
            assert_eq!(judge_silence(silence), verdict, "{silence:?}");
        }
    }

    #[test]
    fn s4_a_message_that_stays_undelivered_is_noticed() {
        let mut strikes = Strikes::default();
        assert_eq!([strikes.note(7), strikes.note(7), strikes.note(7)], [false, false, true]);
        assert!(!strikes.note(8));
        strikes.clear();
        assert!(!strikes.note(8));
    }
}
