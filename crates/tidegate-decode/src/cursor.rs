//! Tokens of JSON text: the grammar of RFC 8259 and nothing beside it.

use tidegate_types::Reason;

use crate::fault::{Fault, Parsed};

/// A place in one message. Reading beyond the end yields NUL, which no token begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Text between quotes, as it stands in the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawText<'a> {
    /// The bytes between the quotes.
    pub(crate) bytes: &'a [u8],
    /// Whether there are escapes in it.
    pub(crate) escaped: bool,
    /// Where the first byte stands in the message.
    pub(crate) at: usize,
}

/// A number without exponent and with few digits: `±mantissa / 10^fraction`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SmallDecimal {
    pub(crate) negative: bool,
    pub(crate) mantissa: u64,
    pub(crate) fraction: usize,
}

/// Most digits of a [`SmallDecimal`]: every 15-digit number is exact as a double.
const SMALL_DIGITS: usize = 15;

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// The whole message.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What is left.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn advance(&mut self, by: usize) {
        self.at += by;
    }

    /// Steps over `byte` if it is next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Steps over one of the words `true`, `false` and `null`.
    pub(crate) fn word(&mut self, word: &'static str) -> Parsed<()> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.malformed("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over text in quotes. Escapes are found, not judged: see [`crate::escape::unescape`].
    #[inline]
    pub(crate) fn text(&mut self) -> Parsed<RawText<'a>> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at += plain_length(self.bytes.get(at..).unwrap_or_default());
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(_) => {
                    return Err(Fault::at(Reason::Malformed, "control character in text", at));
                }
                None => return Err(Fault::at(Reason::Malformed, "text does not end", start - 1)),
            }
        }
        self.at = at + 1;
        Ok(RawText { bytes: &self.bytes[start..at], escaped, at: start })
    }

    /// Steps over a number and returns its text.
    pub(crate) fn number(&mut self) -> Parsed<&'a [u8]> {
        let start = self.at;
        self.take(b'-');
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.skip_digits(),
            _ => return Err(self.malformed("expected a digit")),
        }
        if self.take(b'.') {
            self.some_digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.some_digits()?;
        }
        if self.peek().is_ascii_digit() {
            return Err(self.malformed("number with a leading zero"));
        }
        Ok(&self.bytes[start..self.at])
    }

    /// Steps over an integer of at most 18 digits. Anything else is left where it is: the caller then
    /// takes the long way through [`Self::number`].
    #[inline]
    pub(crate) fn small_integer(&mut self) -> Option<i64> {
        let negative = self.peek() == b'-';
        let start = self.at + usize::from(negative);
        let mut value: i64 = 0;
        let mut at = start;
        while let Some(digit) = self.bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10)
        {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            at += 1;
        }
        let digits = at - start;
        let leading_zero = digits > 1 && self.bytes[start] == b'0';
        let goes_on = matches!(self.bytes.get(at), Some(b'.' | b'e' | b'E'));
        if !(1..=18).contains(&digits) || leading_zero || goes_on {
            return None;
        }
        self.at = at;
        Some(if negative { -value } else { value })
    }

    /// Steps over a number of at most 15 digits without exponent, else leaves it where it is.
    #[inline]
    pub(crate) fn small_decimal(&mut self) -> Option<SmallDecimal> {
        let negative = self.peek() == b'-';
        let start = self.at + usize::from(negative);
        let (whole, mut at) = self.digits(start, 0);
        let whole_digits = at - start;
        let leading_zero = whole_digits > 1 && self.bytes[start] == b'0';
        let mut mantissa = whole;
        let mut fraction = 0;
        if self.bytes.get(at) == Some(&b'.') {
            let (all, end) = self.digits(at + 1, whole);
            fraction = end - at - 1;
            (mantissa, at) = (all, end);
            if fraction == 0 {
                return None;
            }
        }
        let goes_on = matches!(self.bytes.get(at), Some(b'e' | b'E'));
        if whole_digits == 0 || whole_digits + fraction > SMALL_DIGITS || leading_zero || goes_on {
            return None;
        }
        self.at = at;
        Some(SmallDecimal { negative, mantissa, fraction })
    }

    #[inline]
    fn digits(&self, mut at: usize, mut value: u64) -> (u64, usize) {
        while let Some(digit) = self.bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10)
        {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        (value, at)
    }

    fn skip_digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Parsed<()> {
        if !self.peek().is_ascii_digit() {
            return Err(self.malformed("expected a digit"));
        }
        self.skip_digits();
        Ok(())
    }

    /// The fault that the next byte is not what the grammar wants.
    #[cold]
    pub(crate) fn malformed(&self, wanted: &str) -> Fault {
        let text = match self.bytes.get(self.at) {
            None => format!("{wanted}, found the end"),
            Some(_) => {
                let rest = String::from_utf8_lossy(&self.rest()[..self.rest().len().min(8)]);
                let found = rest.chars().next().unwrap_or('\u{fffd}');
                format!("{wanted}, found {found:?}")
            }
        };
        Fault::at(Reason::Malformed, text, self.at)
    }
}

/// How many bytes from the start are neither quote, backslash nor control character.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let special = special_bytes(u64::from_le_bytes(*chunk));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes[at..].iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
    tail.map_or(bytes.len(), |found| at + found)
}

/// The high bit of each byte that is a quote, a backslash or below 0x20. Borrows run upwards only, so
/// the lowest bit that is set is always right.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_byte = |w: u64| w.wrapping_sub(ONES) & !w;
    let quote = zero_byte(word ^ (ONES * b'"' as u64));
    let backslash = zero_byte(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_follow_the_grammar_to_the_letter() {
        for good in ["0", "-0", "10", "-1.5", "1e5", "1E+05", "0.0e-1", "123456789012345678901"] {
            let mut cursor = Cursor::new(good.as_bytes());
            assert_eq!(cursor.number().expect(good), good.as_bytes());
            assert!(cursor.is_at_end(), "{good}");
        }
        for bad in ["", "-", "01", "-01", "1.", ".5", "1e", "1e+", "+1", "00"] {
            assert!(Cursor::new(bad.as_bytes()).number().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_short_way_leaves_what_it_does_not_take() {
        for text in ["01", "1.5", "1e3", "1234567890123456789", "-", "", "x"] {
            let mut cursor = Cursor::new(text.as_bytes());
            assert_eq!((cursor.small_integer(), cursor.at()), (None, 0), "{text}");
        }
        for text in ["01", "1.", "1e3", "1234567890123456", "-", "", ".5", "1.5E1"] {
            let mut cursor = Cursor::new(text.as_bytes());
            assert!(cursor.small_decimal().is_none() && cursor.at() == 0, "{text}");
        }
        assert_eq!(Cursor::new(b"-123,").small_integer(), Some(-123));
    }

    proptest! {
        #[test]
        fn the_end_of_plain_text_is_found_at_every_offset(bytes: Vec<u8>) {
            let slow = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
            prop_assert_eq!(plain_length(&bytes), slow.unwrap_or(bytes.len()));
        }
    }
}
