//! Test number one: the store does what it is asked and the answer never arrives.

use tidegate_testing::readers::Engine;
use tidegate_testing::{Fault, Matcher, Rule};

use crate::lake::{Lake, went_on_by_itself};

/// What happens to a commit's PUT, and to how many of them.
const FAULTS: [(Fault, u64); 7] = [
    (Fault::StoreThenStatus(500), 3),
    (Fault::StoreThenStatus(503), 1),
    (Fault::StoreThenCut, 3),
    // The client gives up after ten seconds.
    (Fault::StoreThenHang, 1),
    // Refused without having landed: another writer of the same name was met.
    (Fault::Status(409), 2),
    (Fault::Status(500), 2),
    (Fault::Cut, 2),
];

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn p5_a_commit_whose_answer_is_lost_is_neither_doubled_nor_lost() {
    let mut lake = Lake::start("lost").await;
    let mut worker = lake.spawn("worker");
    lake.ingest(50, &worker).await;
    for (fault, times) in FAULTS {
        let rule = lake.add(Rule::new(Matcher::commits(), fault).times(times));
        while lake.proxy.hits(rule) < times {
            lake.ingest(40, &worker).await;
        }
        lake.proxy.clear();
    }
    lake.ingest(50, &worker).await;
    lake.drain(&mut worker).await;

    went_on_by_itself(&worker);
    // No batch was made twice.
    let said = worker.output();
    assert_eq!(said.matches("batch sealed").count(), lake.data_commits().await, "{said}");
    lake.nothing_is_lost_or_doubled(&[Engine::Deltalake, Engine::DuckDb]).await;
}
