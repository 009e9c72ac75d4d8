//! Time since boot, suspensions included: the clock that ages of snapshots are measured with (P8).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A reading of the boot clock (`CLOCK_BOOTTIME`). It goes on while the machine or the virtual
/// machine sleeps and nobody can set it, so a process that was stopped for a day knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(Duration);

impl BootTime {
    /// Reads the clock. Where there is no `/proc/uptime`, it is the time since the first reading,
    /// which does not count suspensions.
    #[must_use]
    pub fn now() -> Self {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let uptime = std::fs::read_to_string("/proc/uptime").ok().and_then(|text| parse(&text));
        Self(uptime.unwrap_or_else(|| FIRST.get_or_init(Instant::now).elapsed()))
    }

    /// A reading that lies `since_boot` after boot.
    #[cfg(test)]
    pub(super) const fn from_duration(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// How long before `now` this reading was taken; zero when it lies ahead.
    #[must_use]
    pub fn age(self, now: Self) -> Duration {
        now.0.saturating_sub(self.0)
    }
}

/// The first number of `/proc/uptime`, in seconds.
fn parse(text: &str) -> Option<Duration> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_of_uptime_is_seconds_since_boot() {
        assert_eq!(parse("350735.47 234388.90\n"), Some(Duration::from_millis(350_735_470)));
        for bad in ["", "x 1", "-1 0", "inf"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let first = BootTime::now();
        assert!(BootTime::now() >= first);
        let later = BootTime(first.0 + Duration::from_secs(5));
        assert_eq!(first.age(later), Duration::from_secs(5));
        assert_eq!(later.age(first), Duration::ZERO);
    }
}
