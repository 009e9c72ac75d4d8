//! How many bytes this process may buffer: the files that the budget is derived from.

use tidegate_batch::{MemoryBudget, total_memory};
use tidegate_types::ByteSize;

/// Where the limit of a container stands, newer kernels first.
const LIMIT_FILES: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// The machine, when nothing says how large it is: every machine of today is larger.
const SMALL_MACHINE: ByteSize = ByteSize::mib(2_048);

/// The budget of the whole process, from its container's limit or the machine's memory.
pub(crate) fn process_budget() -> ByteSize {
    let read = |file: &str| std::fs::read_to_string(file).ok();
    let limit = LIMIT_FILES.iter().find_map(|file| read(file));
    let machine = read("/proc/meminfo").as_deref().and_then(total_memory);
    MemoryBudget::derive(limit.as_deref(), machine.unwrap_or(SMALL_MACHINE)).total
}

/// A worker's part of the process' budget.
pub(crate) fn share(budget: ByteSize, workers: usize) -> ByteSize {
    ByteSize(budget.0 / u64::try_from(workers.max(1)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_budget() {
        assert!(process_budget() > ByteSize::mib(16));
    }

    #[test]
    fn workers_share_the_budget() {
        assert_eq!(share(ByteSize(1000), 4), ByteSize(250));
        assert_eq!(share(ByteSize(1000), 0), ByteSize(1000));
    }
}
