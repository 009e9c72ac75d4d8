//! Bytes from base64 text: the standard alphabet of RFC 4648 with padding, nothing else.

/// Marks bytes outside of the alphabet.
const NONE: u8 = 0xff;

/// The value of each letter.
const VALUES: [u8; 256] = {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < letters.len() {
        values[letters[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Appends the bytes that `text` stands for. False when it is not canonical base64; `out` may then have
/// grown.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    if !text.len().is_multiple_of(4) {
        return false;
    }
    let padding = text.iter().rev().take(2).take_while(|b| **b == b'=').count();
    let (whole, last) = text.split_at(if padding == 0 { text.len() } else { text.len() - 4 });
    for group in whole.chunks_exact(4) {
        let Some(bits) = bits(group) else { return false };
        out.extend_from_slice(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
    }
    padding == 0 || decode_last(&last[..4 - padding], out)
}

/// The last group, without its padding. Bits that no byte takes must be zero, so that one value has one
/// text.
fn decode_last(letters: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(bits) = bits(letters) else { return false };
    match letters.len() {
        2 if bits & 0xf == 0 => out.push((bits >> 4) as u8),
        3 if bits & 0x3 == 0 => out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => return false,
    }
    true
}

fn bits(letters: &[u8]) -> Option<u32> {
    letters.iter().try_fold(0, |bits, letter| match VALUES[usize::from(*letter)] {
        NONE => None,
        value => Some(bits << 6 | u32::from(value)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(text.as_bytes(), &mut out).then_some(out)
    }

    #[test]
    fn the_vectors_of_the_standard_are_read() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decoded(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decoded("/+8="), Some(vec![0xff, 0xef]));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Zm9v=", "Z-_v", "Zm 9", "=m9v",
            "Zg==Zg==",
        ] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
