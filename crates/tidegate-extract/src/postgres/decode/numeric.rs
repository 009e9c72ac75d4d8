//! `numeric` on the wire: groups of four digits to a scaled integer.

/// Powers of ten up to the largest decimal.
const POWERS: [i128; 39] = powers();

const fn powers() -> [i128; 39] {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
}

/// Why a number cannot be a decimal of the column's precision and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotDecimal {
    /// It is `NaN` or an infinity.
    NotFinite,
    /// It has more digits behind the point than the column.
    TooFine,
    /// It has more digits before the point than the column.
    TooLarge,
    /// The bytes are no number.
    Malformed,
}

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITE: [u16; 2] = [0xD000, 0xF000];

/// The number as an integer of units of `10^-scale`.
pub(super) fn scaled(bytes: &[u8], precision: u8, scale: u8) -> Result<i128, NotDecimal> {
    let (header, groups) = bytes.split_first_chunk::<8>().ok_or(NotDecimal::Malformed)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (count, sign) = (usize::from(word(0)), word(4));
    let weight = i32::from(i16::from_be_bytes([header[2], header[3]]));
    if groups.len() != count * 2 {
        return Err(NotDecimal::Malformed);
    }
    match sign {
        0 | NEGATIVE => {}
        NAN => return Err(NotDecimal::NotFinite),
        other if INFINITE.contains(&other) => return Err(NotDecimal::NotFinite),
        _ => return Err(NotDecimal::Malformed),
    }
    let size = magnitude(groups, weight, i32::from(scale))?;
    if size >= POWERS[usize::from(precision).min(POWERS.len() - 1)] {
        return Err(NotDecimal::TooLarge);
    }
    Ok(if sign == NEGATIVE { -size } else { size })
}

fn magnitude(groups: &[u8], weight: i32, scale: i32) -> Result<i128, NotDecimal> {
    let mut digits = groups.as_chunks::<2>().0;
    while let [rest @ .., [0, 0]] = digits {
        digits = rest;
    }
    let Some((last, leading)) = digits.split_last() else { return Ok(0) };
    let count = i32::try_from(digits.len()).map_err(|_| NotDecimal::Malformed)?;
    // The power of ten of the last group's last digit, in units of the result.
    let exponent = 4 * (weight + 1 - count) + scale;
    let last = group(*last)?;
    let (keep, last) = if exponent >= 0 { (4, last) } else { cut(last, exponent.unsigned_abs())? };
    let sum = leading_sum(leading)?;
    let sum = sum.checked_mul(POWERS[keep]).and_then(|sum| sum.checked_add(i128::from(last)));
    let power = usize::try_from(exponent.max(0)).map_err(|_| NotDecimal::Malformed)?;
    let power = POWERS.get(power).ok_or(NotDecimal::TooLarge)?;
    sum.and_then(|sum| sum.checked_mul(*power)).ok_or(NotDecimal::TooLarge)
}

/// The last group without the digits that are finer than the column, which must be zeros; and how many
/// digits are kept.
fn cut(last: u16, finer: u32) -> Result<(usize, u16), NotDecimal> {
    if finer >= 4 || !last.is_multiple_of(10_u16.pow(finer)) {
        return Err(NotDecimal::TooFine);
    }
    Ok((4 - finer as usize, last / 10_u16.pow(finer)))
}

fn leading_sum(groups: &[[u8; 2]]) -> Result<i128, NotDecimal> {
    // Most numbers have few digits, and a machine word is much faster than two.
    if groups.len() <= 4 {
        let mut sum = 0_u64;
        for bytes in groups {
            sum = sum * 10_000 + u64::from(group(*bytes)?);
        }
        return Ok(i128::from(sum));
    }
    let mut sum = 0_i128;
    for bytes in groups {
        let digits = i128::from(group(*bytes)?);
        sum = sum
            .checked_mul(10_000)
            .and_then(|sum| sum.checked_add(digits))
            .ok_or(NotDecimal::TooLarge)?;
    }
    Ok(sum)
}

fn group(bytes: [u8; 2]) -> Result<u16, NotDecimal> {
    let digits = u16::from_be_bytes(bytes);
    if digits < 10_000 { Ok(digits) } else { Err(NotDecimal::Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Postgres sends it: `1234.5` has the groups 1234 and 5000, and weight 0.
    fn wire(sign: u16, weight: i16, groups: &[u16]) -> Vec<u8> {
        let count = u16::try_from(groups.len()).unwrap();
        let mut bytes = Vec::new();
        for word in [count, weight.cast_unsigned(), sign, 4] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
        bytes
    }

    #[test]
    fn numbers_are_scaled_exactly() {
        for (sign, weight, groups, scale, value) in [
            (0, 0, vec![], 2, 0),
            (0, 0, vec![1], 2, 100),
            (NEGATIVE, 0, vec![1234, 5000], 1, -12_345),
            (0, 1, vec![5], 0, 50_000),
            (0, -1, vec![1], 4, 1),
            (0, -1, vec![100], 2, 1),
            (0, 2, vec![1, 0, 0, 7000], 1, 1_000_000_007),
            (0, 0, vec![7, 0, 0], 0, 7),
        ] {
            assert_eq!(scaled(&wire(sign, weight, &groups), 38, scale), Ok(value), "{groups:?}");
        }
        let largest = [vec![99; 1], vec![9999; 9]].concat();
        assert_eq!(scaled(&wire(0, 9, &largest), 38, 0), Ok(POWERS[38] - 1));
        let fine = [vec![9999; 9], vec![9900]].concat();
        assert_eq!(scaled(&wire(0, 8, &fine), 38, 2), Ok(POWERS[38] - 1));
    }

    #[test]
    fn what_is_no_decimal_of_the_column_is_told_apart() {
        for (sign, weight, groups, expected) in [
            (NAN, 0, vec![], NotDecimal::NotFinite),
            (0xD000, 0, vec![], NotDecimal::NotFinite),
            (0xF000, 0, vec![], NotDecimal::NotFinite),
            (1, 0, vec![], NotDecimal::Malformed),
            (0, 0, vec![10_000], NotDecimal::Malformed),
            (0, 0, vec![1, 5001], NotDecimal::TooFine),
            (0, -2, vec![1], NotDecimal::TooFine),
            (0, 0, vec![1000], NotDecimal::TooLarge),
            (0, 20, vec![1], NotDecimal::TooLarge),
            (0, i16::MAX, vec![1], NotDecimal::TooLarge),
        ] {
            assert_eq!(scaled(&wire(sign, weight, &groups), 5, 2), Err(expected), "{groups:?}");
        }
        assert_eq!(scaled(&[0; 7], 5, 2), Err(NotDecimal::Malformed));
        assert_eq!(scaled(&wire(0, 0, &[1])[..9], 5, 2), Err(NotDecimal::Malformed));
    }

    proptest! {
        #[test]
        fn every_number_of_few_digits_comes_back(value in -99_999_999_999_999_i64..99_999_999_999_999, scale in 0_u8..5) {
            // All in groups of four, the last one filled up to the point.
            let shifted = i128::from(value.abs()) * POWERS[4 - usize::from(scale)];
            let mut rest = shifted;
            let mut groups = Vec::new();
            while rest > 0 {
                groups.insert(0, u16::try_from(rest % 10_000).unwrap());
                rest /= 10_000;
            }
            let weight = i16::try_from(groups.len()).unwrap() - 2;
            let bytes = wire(if value < 0 { NEGATIVE } else { 0 }, weight, &groups);
            prop_assert_eq!(scaled(&bytes, 38, scale), Ok(i128::from(value)));
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), scale in 0_u8..38) {
            let _ = scaled(&bytes, 38, scale);
        }
    }
}
