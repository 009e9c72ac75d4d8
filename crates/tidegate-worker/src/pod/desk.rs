//! Where assignments arrive, by the mounted file and by POST: the highest generation wins.

use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tidegate_config::Assignment;
use tidegate_types::{Epoch, PartitionId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::options::AssignmentGeneration;

/// An assignment that is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is not an assignment of this pipeline.
    #[error("not an assignment of this pipeline: {problem}")]
    Malformed {
        /// What is wrong.
        problem: String,
    },
    /// A newer one is known, or another one of the same generation.
    #[error("generation {current} is followed already")]
    Superseded {
        /// The generation that is followed.
        current: i64,
    },
}

/// The newest assignment of a pipeline. Cloning shares it.
#[derive(Debug, Clone)]
pub struct AssignmentDesk {
    partitions: u32,
    newest: watch::Sender<Option<Assignment>>,
    generation: AssignmentGeneration,
}

impl AssignmentDesk {
    /// A desk of a pipeline with so many partitions; no assignment is known yet.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let newest = watch::Sender::new(None);
        Self { partitions, newest, generation: AssignmentGeneration::default() }
    }

    /// Takes an assignment as JSON; its generation. One that is known already is taken once more.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the one that is followed stays.
    pub fn offer(&self, json: &[u8]) -> Result<i64, Refusal> {
        let offered = parse(json, self.partitions)?;
        let generation = offered.generation;
        let mut refusal = None;
        self.newest.send_if_modified(|newest| match weigh(newest.as_ref(), &offered) {
            Ok(Weighed::Newer) => {
                self.generation.set(generation);
                *newest = Some(offered);
                true
            }
            Ok(Weighed::Known) => false,
            Err(refused) => {
                refusal = Some(refused);
                false
            }
        });
        refusal.map_or(Ok(generation), Err)
    }

    /// The generation that is followed; 0 before the first assignment.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation.get()
    }

    /// The same as it rises.
    pub(super) fn shared_generation(&self) -> AssignmentGeneration {
        self.generation.clone()
    }

    /// The partitions of a worker, in ascending order; none before the first assignment.
    pub(super) fn partitions_of(&self, worker: &str) -> Vec<PartitionId> {
        let newest = self.newest.borrow();
        let mut mine = newest.as_ref().map_or(&[][..], |it| it.partitions_of(worker)).to_vec();
        mine.sort_unstable();
        mine
    }

    /// Waits until the worker's partitions are others than these.
    pub(super) async fn reassigned(&self, worker: &str, from: &[PartitionId]) {
        let mut newest = self.newest.subscribe();
        while self.partitions_of(worker) == from {
            if newest.changed().await.is_err() {
                // It cannot be: the sender is in `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// How an assignment stands to the one that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weighed {
    Newer,
    Known,
}

fn weigh(newest: Option<&Assignment>, offered: &Assignment) -> Result<Weighed, Refusal> {
    match newest {
        None => Ok(Weighed::Newer),
        Some(newest) if offered.generation > newest.generation => Ok(Weighed::Newer),
        Some(newest) if newest == offered => Ok(Weighed::Known),
        Some(newest) => Err(Refusal::Superseded { current: newest.generation }),
    }
}

/// Reads an assignment; nothing that could not be claimed passes.
fn parse(json: &[u8], partitions: u32) -> Result<Assignment, Refusal> {
    let malformed = |problem: String| Refusal::Malformed { problem };
    let assignment: Assignment =
        serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
    let generation = assignment.generation;
    if generation < 1 || Epoch::default().next(generation).is_none() {
        return Err(malformed(format!("generation {generation} is none")));
    }
    let mut seen = vec![false; partitions as usize];
    for partition in assignment.workers.iter().flat_map(|worker| &worker.partitions) {
        match seen.get_mut(partition.0 as usize) {
            None => return Err(malformed(format!("there is no partition {partition}"))),
            Some(true) => return Err(malformed(format!("partition {partition} stands twice"))),
            Some(seen) => *seen = true,
        }
    }
    Ok(assignment)
}

/// Takes the assignment in `file` whenever its content changes, until stopped. The file may be missing
/// at times: a mounted folder is replaced as a whole.
pub async fn watch_file(
    desk: AssignmentDesk,
    file: &Path,
    period: Duration,
    stop: CancellationToken,
) {
    let mut known = Vec::new();
    loop {
        match tokio::fs::read(file).await {
            Ok(content) if content != known => {
                match desk.offer(&content) {
                    Ok(generation) => info!(generation, "assignment read from its file"),
                    // The kubelet brings news later than a POST.
                    Err(Refusal::Superseded { current }) => {
                        debug!(current, "the assignment in its file is older");
                    }
                    Err(error) => {
                        warn!(file = %file.display(), %error, "assignment cannot be used");
                    }
                }
                known = content;
            }
            Ok(_) => {}
            Err(error) => debug!(file = %file.display(), %error, "no assignment in its file"),
        }
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(generation: i64, workers: &[(&str, &[u32])]) -> Vec<u8> {
        let workers: Vec<_> = workers
            .iter()
            .map(|(name, partitions)| serde_json::json!({"name": name, "partitions": partitions}))
            .collect();
        serde_json::json!({"generation": generation, "workers": workers}).to_string().into_bytes()
    }

    #[test]
    fn the_highest_generation_wins() {
        let desk = AssignmentDesk::new(4);
        assert_eq!(desk.partitions_of("a"), []);
        assert_eq!(desk.offer(&json(3, &[("a", &[2, 0]), ("b", &[1, 3])])), Ok(3));
        assert_eq!(desk.partitions_of("a"), [PartitionId(0), PartitionId(2)]);
        let superseded = Err(Refusal::Superseded { current: 3 });
        assert_eq!(desk.offer(&json(2, &[("a", &[1])])), superseded, "older");
        assert_eq!(desk.offer(&json(3, &[("a", &[1])])), superseded, "another of the same");
        assert_eq!(desk.offer(&json(3, &[("a", &[2, 0]), ("b", &[1, 3])])), Ok(3), "the same");
        assert_eq!(desk.partitions_of("a"), [PartitionId(0), PartitionId(2)]);
        assert_eq!(desk.offer(&json(9, &[("b", &[0])])), Ok(9));
        assert_eq!((desk.partitions_of("a"), desk.generation()), (vec![], 9));
    }

    #[test]
    fn what_could_not_be_claimed_is_refused() {
        let desk = AssignmentDesk::new(2);
        for (bad, says) in [
            (b"{".to_vec(), "EOF"),
            (b"[]".to_vec(), "invalid length"),
            (b"{\"generation\": 1}".to_vec(), "workers"),
            (json(0, &[]), "generation 0"),
            (json(-1, &[]), "generation -1"),
            (json(i64::MAX, &[]), "is none"),
            (json(1, &[("a", &[2])]), "no partition 2"),
            (json(1, &[("a", &[0]), ("b", &[0])]), "stands twice"),
            (json(1, &[("a", &[0, 0])]), "stands twice"),
        ] {
            let refusal = desk.offer(&bad).expect_err("malformed").to_string();
            assert!(refusal.contains(says), "{refusal}");
        }
        assert_eq!(desk.generation(), 0);
    }

    #[tokio::test]
    async fn only_a_change_of_the_own_partitions_matters() {
        let desk = AssignmentDesk::new(4);
        desk.offer(&json(1, &[("a", &[0])])).expect("taken");
        let own = [PartitionId(0)];
        let change = desk.reassigned("a", &own);
        tokio::pin!(change);
        assert!(futures::poll!(&mut change).is_pending());
        desk.offer(&json(2, &[("a", &[0]), ("b", &[1])])).expect("taken");
        assert!(futures::poll!(&mut change).is_pending(), "only the generation rose");
        assert_eq!(desk.shared_generation().get(), 2);
        desk.offer(&json(3, &[("b", &[0, 1])])).expect("taken");
        change.await;
    }

    #[tokio::test]
    async fn a_mounted_file_is_followed_through_replacement() {
        const PERIOD: Duration = Duration::from_millis(5);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("assignment.json");
        let desk = AssignmentDesk::new(4);
        let stop = CancellationToken::new();
        let watching = tokio::spawn({
            let (desk, file, stop) = (desk.clone(), file.clone(), stop.clone());
            async move { watch_file(desk, &file, PERIOD, stop).await }
        });
        let put = |content: Vec<u8>| {
            std::fs::write(folder.path().join("new"), content).expect("writable");
            std::fs::rename(folder.path().join("new"), &file).expect("writable");
        };
        put(b"not yet".to_vec());
        put(json(1, &[("a", &[1])]));
        desk.reassigned("a", &[]).await;
        std::fs::remove_file(&file).expect("it was there");
        put(json(2, &[("a", &[1, 2])]));
        desk.reassigned("a", &[PartitionId(1)]).await;
        assert_eq!(desk.generation(), 2);
        stop.cancel();
        watching.await.expect("it ends");
    }
}
