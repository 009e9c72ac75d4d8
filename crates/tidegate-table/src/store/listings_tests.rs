//! Listings over a connection whose other end answers as the tests say.

use std::net::{Ipv4Addr, SocketAddr};

use futures::TryStreamExt;
use object_store::ObjectMeta;
use tidegate_testing::FaultProxy;
use tidegate_testing::fault::{Fault, Matcher, Rule};

use super::testing::table_at;

const EMPTY: &str =
    "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
const FIRST: &str = "<ListBucketResult><IsTruncated>true</IsTruncated>\
     <NextContinuationToken>next</NextContinuationToken><Contents><Key>t/a</Key><Size>1</Size>\
     <LastModified>2026-06-01T00:00:00Z</LastModified></Contents></ListBucketResult>";
const SECOND: &str = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>t/b</Key><Size>1</Size>\
     <LastModified>2026-06-01T00:00:00Z</LastModified></Contents></ListBucketResult>";

/// Nobody is behind it.
async fn alone() -> FaultProxy {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    FaultProxy::start(nobody, 7).await.expect("the proxy starts")
}

fn answer(proxy: &FaultProxy, page: &str, body: &'static str, times: u64) {
    let matcher = Matcher::method("GET").containing(page);
    proxy.add(Rule::new(matcher, Fault::Answer(body)).times(times));
}

#[tokio::test]
async fn an_answer_that_is_no_listing_is_asked_for_again_on_every_page() {
    let proxy = alone().await;
    let (first, second) = ("prefix=", "continuation-token=");
    for page in [second, first] {
        for wrong in [
            "<html>login</html>",
            "<Error><Code>AccessDenied</Code></Error>",
            "<ListBucketResult/>",
        ] {
            answer(&proxy, page, wrong, 1);
        }
        answer(&proxy, page, if page == first { FIRST } else { SECOND }, 1);
    }
    let store = table_at(&proxy.endpoint(), "t");
    let listed: Vec<ObjectMeta> = store.data.list(None).try_collect().await.expect("listed");
    let names: Vec<_> = listed.iter().map(|meta| meta.location.as_ref()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(proxy.requests(), 8);
}

#[tokio::test]
async fn an_answer_that_stays_no_listing_is_an_error_that_names_the_server() {
    let proxy = alone().await;
    answer(&proxy, "prefix=", "<html>login</html>", 1);
    answer(&proxy, "prefix=", EMPTY, 1);
    // This client asks once.
    let store = table_at(&proxy.endpoint(), "t").commit;
    let listed: Result<Vec<ObjectMeta>, _> = store.list(None).try_collect().await;
    let error = listed.expect_err("no listing").to_string();
    let server = proxy.endpoint().replace("http://", "");
    assert!(error.contains(&server) && error.contains("<html>login"), "{error}");
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.expect("a listing");
    assert!(listed.is_empty());
}
