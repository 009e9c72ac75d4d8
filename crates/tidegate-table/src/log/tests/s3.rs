//! The suite over a real S3 server, and doubt (P5) over a proxy that stores commits and then lies.

use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use tidegate_testing::fault::Fault::{Status, StoreLate, StoreThenCut, StoreThenStatus};
use tidegate_testing::fault::{Fault, Late, Matcher, Rule};
use tidegate_testing::{FaultProxy, eventually};

use super::conformance::suite;
use super::fixture::{created, file, setting, settle};
use crate::log::{CommitLog, Outcome};
use crate::store::testing::{server, table};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server; run by make test"]
async fn s3_is_a_log() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = server(folder.path()).await;
    suite(table(&server, &server.endpoint(), "suite").data).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server; run by make test"]
async fn p5_a_commit_that_s3_stored_and_answered_with_an_error_is_won_once() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = server(folder.path()).await;
    let proxy = FaultProxy::start(server.address(), 7).await.expect("the proxy starts");
    let faults: [Fault; 8] = [
        StoreThenStatus(500),
        StoreThenStatus(503),
        StoreThenCut,
        Fault::Cut,
        Status(503),
        Status(409),
        Status(412),
        StoreLate(Late::OnRelease),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let path = format!("table-{number}");
        let good = CommitLog::open(&table(&server, &server.endpoint(), &path));
        let base = created(&good).await;
        let store = table(&server, &proxy.endpoint(), &path);
        let bad = CommitLog::open(&store);
        let mut data = setting(&[("floor", 7)]);
        data.adds = vec![file("day=2026-06-01/a.parquet", Some("2026-06-01"), 5)];
        let prepared = bad.prepare(&base, &data).await.expect("prepared");
        let rule = proxy.add(Rule::new(Matcher::commits(), fault).times(1));
        let outcome = settle(&bad, &prepared).await;
        assert!(matches!(outcome, Outcome::Won), "{fault:?}: {outcome:?}");
        assert_eq!(proxy.hits(rule), 1, "{fault:?} was met");
        proxy.release();
        if matches!(fault, StoreLate(_)) {
            let arrived = async || !proxy.late_statuses().is_empty();
            eventually("the late copy arrives", Duration::from_secs(20), arrived)
                .await
                .expect("it was released");
            assert_eq!(proxy.late_statuses(), [412], "the version exists");
        }
        let (after, entries) = good.refresh(&base).await.expect("refreshed");
        assert_eq!((after.version(), entries.len()), (1, 1), "{fault:?}: exactly once");
        assert_eq!(entries[0].bytes, *prepared.bytes());
        let stored = Path::from("_delta_log/00000000000000000001.json");
        let bytes = store.data.get(&stored).await.expect("there").bytes().await.expect("whole");
        assert_eq!(bytes, *prepared.bytes(), "{fault:?}: a late copy changed nothing");
        proxy.clear();
    }
}
