//! A message as the stream's leader holds it, fetched by sequence rather than delivered.
//!
//! Its fingerprint must equal the one taken at delivery, so the message id is read from the raw headers
//! by the same rule as the client reads delivered ones: the first line of that name, trimmed, with
//! continuation lines added as they stand.

use serde::Deserialize;

use crate::identity::{KnownMessage, fingerprint};
use crate::stream_facts::parse_nanos;

/// The header that the broker's own duplicate window looks at.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The broker's answer to a get.
#[derive(Deserialize)]
pub(crate) struct GetAnswer {
    pub(crate) message: StoredMessage,
}

/// The message in it. Headers and payload are base64.
#[derive(Deserialize)]
pub(crate) struct StoredMessage {
    pub(crate) seq: u64,
    pub(crate) time: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl StoredMessage {
    /// Its fingerprint; `None` when the answer is not well-formed.
    pub(crate) fn known(&self) -> Option<KnownMessage> {
        let headers = decode_base64(&self.hdrs)?;
        let headers = std::str::from_utf8(&headers).ok()?;
        let id = first_header(headers, MESSAGE_ID);
        let length = decoded_length(&self.data);
        let stored_at = parse_nanos(&self.time)?;
        let fingerprint =
            fingerprint(self.seq, stored_at, id.as_deref().map(str::as_bytes), length);
        Some(KnownMessage { sequence: self.seq, fingerprint })
    }
}

fn first_header(headers: &str, name: &str) -> Option<String> {
    let mut lines = headers.lines().skip(1).peekable();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let mut value = value.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        if key == name {
            value.truncate(value.trim_end().len());
            return Some(value);
        }
    }
    None
}

fn decoded_length(base64: &str) -> usize {
    let padding = base64.bytes().rev().take_while(|b| *b == b'=').count();
    (base64.len() / 4 * 3).saturating_sub(padding)
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for symbol in text.trim_end_matches('=').bytes() {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((buffer >> bits) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_at_every_length() {
        let cases =
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")];
        for (text, expected) in cases {
            assert_eq!(decode_base64(text).as_deref(), Some(expected.as_bytes()), "{text}");
            assert_eq!(decoded_length(text), expected.len(), "{text}");
        }
        assert_eq!(decode_base64("a*"), None);
    }

    #[test]
    fn the_first_header_of_the_name_counts() {
        let headers = "NATS/1.0\r\nA: x\r\nNats-Msg-Id:  one two \r\nNats-Msg-Id: three\r\n\r\n";
        assert_eq!(first_header(headers, MESSAGE_ID).as_deref(), Some("one two"));
        assert_eq!(
            first_header("NATS/1.0\r\nNats-Msg-Id: a\r\n b\r\n\r\n", MESSAGE_ID).as_deref(),
            Some("a b")
        );
        assert_eq!(first_header(headers, "nats-msg-id"), None);
        assert_eq!(first_header("", MESSAGE_ID), None);
    }

    #[test]
    fn a_stored_message_has_the_fingerprint_of_its_delivery() {
        let stored = StoredMessage {
            seq: 7,
            time: "2026-01-01T00:00:02.000000123Z".into(),
            hdrs: "TkFUUy8xLjANCk5hdHMtTXNnLUlkOiBhYmMNCg0K".into(),
            data: "Zm8=".into(),
        };
        let expected = fingerprint(7, 1_767_225_602_000_000_123, Some(b"abc"), 2);
        assert_eq!(stored.known(), Some(KnownMessage { sequence: 7, fingerprint: expected }));
    }
}
