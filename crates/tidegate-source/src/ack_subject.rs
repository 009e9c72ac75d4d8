//! The coordinates of a delivery, read from its reply subject.
//!
//! The broker writes them in two forms (ADR-15): nine tokens
//! `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, and one
//! with domain and account hash in front of the stream and possibly more tokens at the end.

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coordinates {
    /// The stream sequence.
    pub(crate) stream_sequence: u64,
    /// The consumer sequence: dense over the deliveries of one consumer.
    pub(crate) consumer_sequence: u64,
    /// When the broker stored the message, in nanoseconds since 1970.
    pub(crate) stored_at_nanos: i64,
    /// How many messages the consumer still has to deliver.
    pub(crate) pending: u64,
}

/// Reads a reply subject; `None` when it is of neither form.
pub(crate) fn parse(reply: &str) -> Option<Coordinates> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    // Nine tokens, or eleven and more: the first form has no room for anything else.
    let skipped = match rest.bytes().filter(|b| *b == b'.').count() + 1 {
        7 => 3,
        n if n >= 9 => 5,
        _ => return None,
    };
    let mut tokens = rest.split('.').skip(skipped);
    Some(Coordinates {
        stream_sequence: tokens.next()?.parse().ok()?,
        consumer_sequence: tokens.next()?.parse().ok()?,
        stored_at_nanos: tokens.next()?.parse().ok()?,
        pending: tokens.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPECTED: Coordinates = Coordinates {
        stream_sequence: 100,
        consumer_sequence: 7,
        stored_at_nanos: 1_790_230_470_084_404_000,
        pending: 42,
    };

    #[test]
    fn both_forms_are_read() {
        for reply in [
            "$JS.ACK.S.c.3.100.7.1790230470084404000.42",
            "$JS.ACK._.hash.S.c.3.100.7.1790230470084404000.42",
            "$JS.ACK.hub.hash.S.c.3.100.7.1790230470084404000.42.token",
            "$JS.ACK.hub.hash.S.c.3.100.7.1790230470084404000.42.token.later.more",
        ] {
            assert_eq!(parse(reply), Some(EXPECTED), "{reply}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for reply in [
            "",
            "_INBOX.abc",
            "$JS.ACK.S.c.3.100.7.1790230470084404000",
            "$JS.ACK._.S.c.3.100.7.1790230470084404000.42",
            "$JS.ACK.S.c.3.100.x.1790230470084404000.42",
            "$JS.FC.S.c.3.100.7.1790230470084404000.42",
        ] {
            assert_eq!(parse(reply), None, "{reply}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = parse(&text);
            let _ = parse(&format!("$JS.ACK.{text}"));
        }
    }
}
