//! As much of Thrift's compact protocol as the beginning of a page header takes.

/// A field whose number is one more than the last one's, a 32-bit number.
pub(super) const NEXT_NUMBER: u8 = 0x15;

/// The next field, if it is the next number.
pub(super) fn number(bytes: &mut &[u8]) -> Option<i32> {
    let (NEXT_NUMBER, mut rest) = bytes.split_first().map(|(mark, rest)| (*mark, rest))? else {
        return None;
    };
    let mut zigzag = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        zigzag |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            *bytes = rest;
            return Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        }
    }
    None
}
