//! Days, months and times of day of the proleptic Gregorian calendar, in UTC.

pub(crate) const MICROS_PER_HOUR: i64 = 3_600_000_000;
pub(crate) const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
/// 0001-01-01, the first day that every reader of the table understands.
pub(crate) const FIRST_DAY: i64 = -719_162;
/// 9999-12-31, the last one.
pub(crate) const LAST_DAY: i64 = 2_932_896;

/// A calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

impl Day {
    /// The day that begins `days` days after 1970-01-01, for every day that microseconds can tell.
    /// Counts in years that begin in March, so that the leap day is the last of its year, and in eras
    /// of 400 years, which all have 146,097 days.
    pub(crate) fn from_epoch(days: i64) -> Self {
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let leap_corrected =
            day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096;
        let year_of_era = leap_corrected / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
    }

    /// Months since the year 0.
    pub(crate) fn month_number(self) -> i64 {
        self.year * 12 + self.month - 1
    }
}

/// `2026-06-01`.
pub(crate) fn print_day(days: i64) -> String {
    let Day { year, month, day } = Day::from_epoch(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-06-01-13`.
pub(crate) fn print_hour(hours: i64) -> String {
    format!("{}-{:02}", print_day(hours.div_euclid(24)), hours.rem_euclid(24))
}

/// `2026-06`.
pub(crate) fn print_month(month_number: i64) -> String {
    format!("{:04}-{:02}", month_number.div_euclid(12), month_number.rem_euclid(12) + 1)
}

/// `2026-06-01`, `separator`, `13:45:00.000001`.
pub(crate) fn print_instant(micros: i64, separator: char) -> String {
    let in_day = micros.rem_euclid(MICROS_PER_DAY);
    let (seconds, fraction) = (in_day / 1_000_000, in_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let day = print_day(micros.div_euclid(MICROS_PER_DAY));
    format!("{day}{separator}{hour:02}:{minute:02}:{second:02}.{fraction:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, printed) in [
            (FIRST_DAY, "0001-01-01"),
            (-719_468, "0000-03-01"),
            (-1, "1969-12-31"),
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_605, "2026-06-01"),
            (LAST_DAY, "9999-12-31"),
        ] {
            assert_eq!(print_day(days), printed);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut before = Day::from_epoch(FIRST_DAY - 1);
        for days in FIRST_DAY..=LAST_DAY {
            let day = Day::from_epoch(days);
            let next_day = day == Day { day: before.day + 1, ..before };
            let next_month = day.day == 1 && day.month_number() == before.month_number() + 1;
            assert!(next_day || (next_month && before.day >= 28), "{days}");
            before = day;
        }
    }

    #[test]
    fn instants_hours_and_months_are_printed_in_utc() {
        assert_eq!(print_instant(1_780_321_500_000_001, ' '), "2026-06-01 13:45:00.000001");
        assert_eq!(print_instant(-1, 'T'), "1969-12-31T23:59:59.999999");
        assert_eq!(print_hour(1_780_321_500_000_001 / MICROS_PER_HOUR), "2026-06-01-13");
        assert_eq!(print_hour(-1), "1969-12-31-23");
        assert_eq!(print_month(2026 * 12 + 5), "2026-06");
    }

    #[test]
    fn the_ends_of_time_are_printed_without_a_panic() {
        for micros in [i64::MIN, i64::MAX] {
            assert!(print_instant(micros, 'T').contains(':'));
        }
    }
}
