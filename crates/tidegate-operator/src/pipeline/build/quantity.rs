//! Amounts as the API server writes them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Powers of 1024 by suffix, upwards.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Powers of 1000 by suffix, upwards; none stands for whole ones.
const DECIMAL: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];

/// The form to which the API server brings an amount: no fraction, the largest suffix. What is not a
/// plain amount of at least a thousandth is left as it stands.
pub(super) fn canonical(amount: &Quantity) -> Quantity {
    binary(&amount.0).or_else(|| decimal(&amount.0)).map_or_else(|| amount.clone(), Quantity)
}

fn binary(text: &str) -> Option<String> {
    let power = (1..BINARY.len()).find(|power| text.ends_with(BINARY[*power]))?;
    let number = text.strip_suffix(BINARY[power])?;
    let (digits, places) = parse(number)?;
    let scaled = digits.checked_mul(1024_u128.checked_pow(u32::try_from(power).ok()?)?)?;
    let value = whole(scaled, 10_u128.checked_pow(places)?)?;
    if value < 1024 {
        return Some(value.to_string());
    }
    Some(largest(value, 1024, &BINARY))
}

fn decimal(text: &str) -> Option<String> {
    let suffix = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let power = DECIMAL.iter().position(|known| *known == suffix)?;
    let (digits, places) = parse(text.strip_suffix(suffix)?)?;
    let scaled = digits.checked_mul(1000_u128.checked_pow(u32::try_from(power).ok()?)?)?;
    let thousandths = whole(scaled, 10_u128.checked_pow(places)?)?;
    if thousandths == 0 {
        return Some("0".to_owned());
    }
    Some(largest(thousandths, 1000, &DECIMAL))
}

/// Digits without the point, and how many stand behind it.
fn parse(number: &str) -> Option<(u128, u32)> {
    let (before, behind) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{before}{behind}");
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let places = u32::try_from(behind.len()).ok()?;
    plain.then(|| digits.parse().ok().map(|digits| (digits, places)))?
}

fn whole(value: u128, divisor: u128) -> Option<u128> {
    value.is_multiple_of(divisor).then(|| value / divisor)
}

fn largest(mut value: u128, base: u128, suffixes: &[&str]) -> String {
    let mut power = 0;
    while value.is_multiple_of(base) && power + 1 < suffixes.len() {
        value /= base;
        power += 1;
    }
    format!("{value}{}", suffixes[power])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(amount: &str) -> String {
        canonical(&Quantity(amount.to_owned())).0
    }

    #[test]
    fn amounts_are_written_as_the_api_server_writes_them() {
        let table = [
            ("250m", "250m"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1.0", "1"),
            ("2", "2"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1500", "1500"),
            ("2000", "2k"),
            ("1.5G", "1500M"),
            ("512Mi", "512Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            (".5", "500m"),
            ("5.", "5"),
            ("1048576", "1048576"),
        ];
        for (written, canonical) in table {
            assert_eq!(text(written), canonical, "{written}");
        }
    }

    #[test]
    fn what_is_not_a_plain_amount_stays() {
        for amount in
            ["", ".", "1e3", "1E3", "-1", "+1", "0.0001", "100u", "1n", "x", "1Xi", "0.3Ki"]
        {
            assert_eq!(text(amount), amount);
        }
        let huge = format!("{}Ei", "9".repeat(60));
        assert_eq!(text(&huge), huge);
    }

    proptest! {
        #[test]
        fn a_second_time_changes_nothing(text_of in "[0-9]{0,6}(\\.[0-9]{0,4})?(m|k|M|G|Ki|Mi|Gi|Ti|)?") {
            let once = text(&text_of);
            prop_assert_eq!(text(&once), once);
        }

        #[test]
        fn it_never_panics(anything in ".{0,40}") {
            text(&anything);
        }
    }
}
