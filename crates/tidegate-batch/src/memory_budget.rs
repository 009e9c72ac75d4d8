//! How much memory a process may fill, and with what.

use tidegate_types::ByteSize;

/// What the limit leaves beside the budget: code, stacks, connections, the allocator's own waste, and
/// growing buffers that exist twice for a moment.
const RESERVED_QUARTERS: u64 = 1;
/// Without a limit of its own the process is a guest on somebody's machine.
const GUEST_DIVISOR: u64 = 4;
/// Enough for any pipeline; a guest takes no more.
const GUEST_LIMIT: ByteSize = ByteSize::mib(4_096);

/// The byte budget of one process. Everything buffered counts against a share; a full share stops
/// fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// All shares together.
    pub total: ByteSize,
    /// Messages that were received and not decoded: an eighth.
    pub fetch: ByteSize,
    /// Decoded batches that are not in a file yet, those of the batch that commits included: a quarter.
    pub decode: ByteSize,
    /// Row groups and upload buffers of open files: a quarter.
    pub open_files: ByteSize,
    /// Ids of the duplicate windows of all partitions: the rest, three eighths.
    pub window: ByteSize,
}

impl MemoryBudget {
    /// Derives the budget from the text of the cgroup's limit file (`memory.max`, or
    /// `memory.limit_in_bytes` before version 2) and from the machine's memory. Text that is no number
    /// (`max`) and numbers beyond the machine mean that there is no limit.
    #[must_use]
    pub fn derive(cgroup_limit: Option<&str>, machine: ByteSize) -> Self {
        let limit = cgroup_limit
            .and_then(|text| text.trim().parse::<u64>().ok())
            .filter(|limit| *limit < machine.0);
        Self::of(match limit {
            Some(limit) => ByteSize(limit / 4 * (4 - RESERVED_QUARTERS)),
            None => GUEST_LIMIT.min(ByteSize(machine.0 / GUEST_DIVISOR)),
        })
    }

    /// Splits `total` into shares.
    #[must_use]
    pub fn of(total: ByteSize) -> Self {
        let eighths = |n: u64| ByteSize(total.0 / 8 * n);
        let (fetch, decode, open_files) = (eighths(1), eighths(2), eighths(2));
        let window = ByteSize(total.0 - fetch.0 - decode.0 - open_files.0);
        Self { total, fetch, decode, open_files, window }
    }

    /// The window's share for each of `partitions`.
    #[must_use]
    pub fn window_per_partition(&self, partitions: u32) -> ByteSize {
        ByteSize(self.window.0 / u64::from(partitions.max(1)))
    }
}

/// The machine's memory out of the text of `/proc/meminfo`.
#[must_use]
pub fn total_memory(meminfo: &str) -> Option<ByteSize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1_024).map(ByteSize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_budget_comes_from_the_limit_or_else_from_the_machine() {
        let machine = ByteSize::mib(8_192);
        for (text, total) in [
            (Some("536870912\n"), ByteSize::mib(384)),
            (Some("max\n"), ByteSize::mib(2_048)),
            (Some("9223372036854771712\n"), ByteSize::mib(2_048)),
            (Some(""), ByteSize::mib(2_048)),
            (None, ByteSize::mib(2_048)),
        ] {
            assert_eq!(MemoryBudget::derive(text, machine).total, total, "{text:?}");
        }
        let large = MemoryBudget::derive(None, ByteSize::mib(1 << 20));
        assert_eq!(large.total, ByteSize::mib(4_096), "a guest is modest");
    }

    #[test]
    fn the_machine_s_memory_is_read() {
        let text = "MemTotal:       24315836 kB\nMemFree:         1234567 kB\n";
        assert_eq!(total_memory(text), Some(ByteSize(24_315_836 * 1_024)));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
        assert_eq!(total_memory("MemTotal: 99999999999999999999 kB"), None);
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_total_and_never_exceed_the_limit(limit: u64, machine: u64) {
            let budget = MemoryBudget::derive(Some(&limit.to_string()), ByteSize(machine));
            let shares = [budget.fetch, budget.decode, budget.open_files, budget.window];
            prop_assert_eq!(shares.iter().map(|share| share.0).sum::<u64>(), budget.total.0);
            prop_assert!(budget.total.0 <= machine.min(limit.max(machine / 4)));
        }
    }
}
