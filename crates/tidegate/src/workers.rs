//! From pipelines to workers: who reads which partitions, and with how much memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_config::PipelineConfig;
use tidegate_telemetry::{MetricFamilies, PipelineMetrics};
use tidegate_types::{ByteSize, PartitionId};
use tidegate_worker::{StreamCare, WorkerOptions};

use crate::memory;

/// What the workers of one process have in common.
#[derive(Debug)]
pub(crate) struct Staffing {
    /// Workers of each pipeline, at most.
    pub(crate) workers: u32,
    /// Bytes that all workers together may buffer; none: as the machine allows.
    pub(crate) memory: Option<ByteSize>,
    /// Stop at what the streams held at the start.
    pub(crate) until_caught_up: bool,
    /// Where Secrets lie as files.
    pub(crate) secrets_dir: Option<PathBuf>,
    /// Where windows are spilled.
    pub(crate) data_dir: PathBuf,
}

/// One pipeline and its workers.
pub(crate) struct Job {
    pub(crate) config: PipelineConfig,
    pub(crate) workers: Vec<(WorkerOptions, Arc<PipelineMetrics>)>,
}

impl Staffing {
    /// Turns pipelines into workers.
    pub(crate) fn assign(
        &self,
        configs: Vec<PipelineConfig>,
        families: &MetricFamilies,
    ) -> Vec<Job> {
        let shares: Vec<_> = configs
            .iter()
            .map(|config| share_partitions(config.source.partitioning.count(), self.workers))
            .collect();
        let workers = shares.iter().map(Vec::len).sum();
        let memory = memory::share(self.memory.unwrap_or_else(memory::process_budget), workers);
        let host = host_name();
        let job = |(config, shares): (PipelineConfig, Vec<_>)| {
            if shares.len() < self.workers as usize {
                tracing::info!(
                    pipeline = config.name,
                    partitions = shares.len(),
                    "there are fewer partitions than workers, the others are not started"
                );
            }
            let workers = shares.into_iter().zip(0_u32..).map(|(partitions, index)| {
                let options = WorkerOptions {
                    config: config.clone(),
                    worker_name: format!("{host}/{}/{index}", config.ledger),
                    assignment_generation: None,
                    partitions,
                    until_caught_up: self.until_caught_up,
                    secrets_dir: self.secrets_dir.clone(),
                    spill_dir: spill_dir(&self.data_dir, &config, index),
                    memory_budget: memory,
                    // One of them is enough.
                    stream_care: if index == 0 { StreamCare::All } else { StreamCare::Reader },
                    decoder_probe: Some(this_program()),
                };
                (options, Arc::new(families.worker(&config.name, index)))
            });
            Job { workers: workers.collect(), config }
        };
        configs.into_iter().zip(shares).map(job).collect()
    }
}

/// Deals the partitions out in turn, to no more workers than there are partitions. A worker alone
/// takes all, whatever their number.
fn share_partitions(partitions: u32, workers: u32) -> Vec<Option<Vec<PartitionId>>> {
    let workers = workers.min(partitions).max(1);
    if workers == 1 {
        return vec![None];
    }
    let of = |worker| (worker..partitions).step_by(workers as usize).map(PartitionId).collect();
    (0..workers).map(|worker| Some(of(worker))).collect()
}

fn spill_dir(data_dir: &Path, config: &PipelineConfig, worker: u32) -> PathBuf {
    data_dir.join("spill").join(config.ledger.as_str()).join(worker.to_string())
}

/// The file that this process runs, even when another release has taken its place meanwhile.
pub(crate) fn this_program() -> PathBuf {
    format!("/proc/{}/exe", std::process::id()).into()
}

/// Tests put two hosts on one machine with `TIDEGATE_HOST`; the shipped binary does not look.
fn host_name() -> String {
    if let Some(name) = std::env::var("TIDEGATE_HOST").ok().filter(|_| cfg!(debug_assertions)) {
        return name;
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_partition_has_exactly_one_worker() {
        for (partitions, workers) in [(2, 2), (8, 3), (5, 256), (256, 7)] {
            let shares = share_partitions(partitions, workers);
            assert_eq!(shares.len(), workers.min(partitions) as usize);
            let dealt: Vec<_> = shares.into_iter().flatten().flatten().collect();
            let distinct: BTreeSet<_> = dealt.iter().copied().collect();
            assert_eq!(dealt.len(), partitions as usize);
            assert_eq!(distinct, (0..partitions).map(PartitionId).collect());
        }
    }

    #[test]
    fn shares_differ_by_at_most_one() {
        let sizes: Vec<_> =
            share_partitions(8, 3).iter().map(|share| share.as_ref().map(Vec::len)).collect();
        assert_eq!(sizes, [Some(3), Some(3), Some(2)]);
    }

    #[test]
    fn a_worker_alone_takes_all() {
        assert_eq!(share_partitions(1, 4), [None]);
        assert_eq!(share_partitions(8, 1), [None]);
    }
}
