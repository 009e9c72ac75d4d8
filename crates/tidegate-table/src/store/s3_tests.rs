//! The two clients over a real S3 server, and over a proxy that loses answers.

use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use tidegate_testing::FaultProxy;
use tidegate_testing::fault::{Fault, Matcher, Rule};
use tidegate_types::Nonce;

use super::probe;
use super::testing::{ROWS, rows, server, table, write};

/// The table of every test here.
const TABLE: &str = "some/table";
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server; run by make test"]
async fn s3_passes_the_probe_and_nothing_of_it_stays() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = server(folder.path()).await;
    let store = table(&server, &server.endpoint(), TABLE);
    probe(&store, Nonce::from_random(2)).await.expect("fit");
    assert_eq!(store.data.list(None).count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server; run by make test"]
async fn a_file_of_several_parts_is_whole_whatever_request_is_lost() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = server(folder.path()).await;
    let proxy = FaultProxy::start(server.address(), 7).await.expect("the proxy starts");
    let store = table(&server, &proxy.endpoint(), TABLE);
    let part = || Matcher::method("PUT").containing("partNumber=2");
    let complete = || Matcher::method("POST").containing("uploadId=");
    let faults = [
        (part(), Fault::Status(503)),
        (part(), Fault::StoreThenCut),
        (complete(), Fault::Status(503)),
        (complete(), Fault::StoreThenStatus(500)),
        (complete(), Fault::StoreThenCut),
    ];
    for (number, (matcher, fault)) in (0..).zip(faults) {
        let rule = proxy.add(Rule::new(matcher, fault).times(1));
        let file = write(&store.data, number).await.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(proxy.hits(rule), 1, "{fault:?} was met");
        assert!(file.size > 10 << 20, "several parts");
        assert_eq!(rows(&store.data, &file).await, ROWS, "{fault:?}");
    }
    assert_eq!(store.data.list(None).count().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server; run by make test"]
async fn p5_the_commit_client_never_repeats_a_put() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = server(folder.path()).await;
    let proxy = FaultProxy::start(server.address(), 7).await.expect("the proxy starts");
    let store = table(&server, &proxy.endpoint(), TABLE);
    for (number, fault) in [Fault::StoreThenStatus(500), Fault::Status(503), Fault::StoreThenCut]
        .into_iter()
        .enumerate()
    {
        let name = format!("{number}.json");
        let rule = proxy.add(Rule::new(Matcher::method("PUT").containing(&name), fault));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let answer = store.commit.put_opts(&Path::from(name), "{}".into(), options).await;
        let error = answer.expect_err("the answer was lost");
        assert!(!matches!(error, object_store::Error::AlreadyExists { .. }), "{error}");
        assert_eq!(proxy.hits(rule), 1, "{fault:?}: one attempt");
    }
    let stored = Path::from("0.json");
    assert!(store.commit.head(&stored).await.is_ok(), "it was stored, and we were not told");
}
