//! Escapes in JSON text.

use tidegate_types::Reason;

use crate::cursor::RawText;
use crate::fault::{Fault, Parsed};

/// Appends the text that `raw` stands for to `out`. On a fault `out` may have grown: the caller rolls
/// it back with the row.
///
/// A surrogate without its other half is refused: no UTF-8 text could hold it.
pub(crate) fn unescape(raw: RawText<'_>, out: &mut Vec<u8>) -> Parsed<()> {
    let mut rest = raw.bytes;
    while let Some(plain) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..plain]);
        let at = raw.at + raw.bytes.len() - rest.len() + plain;
        rest = one_escape(&rest[plain + 1..], out)
            .map_err(|problem| Fault::at(Reason::Malformed, problem, at))?;
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Reads what follows a backslash and returns what is left behind it.
fn one_escape<'a>(after: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], &'static str> {
    let (kind, rest) = after.split_first().ok_or("unfinished escape")?;
    let byte = match kind {
        b'"' | b'\\' | b'/' => *kind,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode(rest, out),
        _ => return Err("unknown escape"),
    };
    out.push(byte);
    Ok(rest)
}

fn unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], &'static str> {
    const LONE: &str = "surrogate without its other half";
    let (first, rest) = four_digits(rest)?;
    let (code, rest) = match first {
        0xD800..=0xDBFF => {
            let (second, rest) = four_digits(rest.strip_prefix(b"\\u").ok_or(LONE)?)?;
            if !(0xDC00..=0xDFFF).contains(&second) {
                return Err(LONE);
            }
            (0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00), rest)
        }
        _ => (first, rest),
    };
    let character = char::from_u32(code).ok_or(LONE)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

fn four_digits(bytes: &[u8]) -> Result<(u32, &[u8]), &'static str> {
    const WANTED: &str = "expected four hexadecimal digits";
    let (digits, rest) = bytes.split_at_checked(4).ok_or(WANTED)?;
    digits
        .iter()
        .try_fold(0, |code, byte| Some(code * 16 + char::from(*byte).to_digit(16)?))
        .map(|code| (code, rest))
        .ok_or(WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(text: &str) -> Option<String> {
        let mut out = Vec::new();
        let raw = RawText { bytes: text.as_bytes(), escaped: true, at: 0 };
        unescape(raw, &mut out).ok().map(|()| String::from_utf8(out).expect("text stays text"))
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        assert_eq!(unescaped(r#"a\n\"\\\/\u00fc\ud83d\ude00b"#).as_deref(), Some("a\n\"\\/ü😀b"));
        assert_eq!(unescaped(r"\b\f\r\t\u0000").as_deref(), Some("\u{8}\u{c}\r\t\0"));
    }

    #[test]
    fn broken_escapes_are_refused() {
        for bad in [r"\x", r"\", r"\u12", r"\u12g4", r"\ud83d", r"\ude00", r"\ud83d\n", r"\ud83dA"]
        {
            assert_eq!(unescaped(bad), None, "{bad}");
        }
        assert_eq!(unescaped(r"\ud83dA"), None, "a surrogate needs a surrogate");
        assert_eq!(unescaped(r"\u+123"), None, "a sign is no digit");
    }
}
