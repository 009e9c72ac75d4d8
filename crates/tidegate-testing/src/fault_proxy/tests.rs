//! Each fault against a store of a few lines, and the one that matters most against a real one.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::*;
use crate::fault::Matcher;
use crate::{S3Server, Scratch, eventually};

const LONG: Duration = Duration::from_secs(20);

/// A store that answers 200 and keeps what it was given; GET of what it has not answers 404.
type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

async fn start_store() -> (SocketAddr, Objects) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let objects = Objects::default();
    let kept = Arc::clone(&objects);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(answer_one(BufReader::new(client), Arc::clone(&kept)));
        }
    });
    (address, objects)
}

async fn answer_one(mut client: BufReader<TcpStream>, objects: Objects) {
    let request = Request::read(&mut client).await.unwrap().unwrap();
    let target = request.head.target().to_owned();
    let answer = if request.head.method() == "PUT" {
        objects.lock().unwrap().insert(target, request.body);
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()
    } else {
        let body = objects.lock().unwrap().get(&target).cloned();
        body.map_or_else(
            || error_answer(404),
            |body| {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                [head.as_bytes(), &body].concat()
            },
        )
    };
    client.write_all(&answer).await.unwrap();
}

/// A client's connection: all answers until its end, which comes as the client asks for nothing more.
async fn talk(proxy: &FaultProxy, text: &str) -> String {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut answers, mut requests) = stream.into_split();
    let ask = async {
        // One that is cut takes no more.
        let _ = requests.write_all(text.as_bytes()).await;
        let _ = requests.shutdown().await;
    };
    let mut answer = Vec::new();
    let talked = async { tokio::join!(ask, answers.read_to_end(&mut answer)) };
    // A cut connection may end in an error.
    let (_, _) = tokio::time::timeout(LONG, talked).await.expect("the connection ends");
    String::from_utf8(answer).unwrap()
}

fn put(path: &str, body: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")
}

fn stored(objects: &Objects, path: &str) -> bool {
    objects.lock().unwrap().contains_key(path)
}

#[tokio::test]
async fn without_rules_several_requests_pass_over_one_connection() {
    let (store, objects) = start_store().await;
    let proxy = FaultProxy::start(store, 1).await.unwrap();
    let answer = talk(&proxy, &[put("/a", "text"), get("/a"), get("/b")].concat()).await;
    assert!(answer.contains("\r\n\r\ntext"), "{answer}");
    assert!(answer.contains("404 NoSuchKey"), "{answer}");
    assert!(stored(&objects, "/a"));
    assert_eq!(proxy.requests(), 3);
    assert!(proxy.events().iter().all(|event| event.answered == Answered::Store));
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let cases = [
        (Fault::StoreThenStatus(500), true, "HTTP/1.1 500 InternalError"),
        (Fault::StoreThenCut, true, ""),
        (Fault::Status(503), false, "HTTP/1.1 503 SlowDown"),
        (Fault::Status(412), false, "HTTP/1.1 412 PreconditionFailed"),
        (Fault::Cut, false, ""),
        (Fault::Hang, false, ""),
        (Fault::StoreLate(Late::OnRelease), false, ""),
        (Fault::Delay(Duration::from_millis(1)), true, "HTTP/1.1 200 OK"),
    ];
    for (fault, is_stored, beginning) in cases {
        let (store, objects) = start_store().await;
        let proxy = FaultProxy::start(store, 1).await.unwrap();
        let rule = proxy.add(Rule::new(Matcher::method("PUT").suffix("/a"), fault));
        let answer = talk(&proxy, &put("/x/a", "text")).await;
        assert!(answer.starts_with(beginning), "{fault:?}: {answer}");
        assert_eq!(answer.is_empty(), beginning.is_empty(), "{fault:?}: {answer}");
        assert_eq!(stored(&objects, "/x/a"), is_stored, "{fault:?}");
        assert_eq!(proxy.hits(rule), 1, "{fault:?}");
        assert_eq!(proxy.events()[0].rule, Some(rule));
    }
}

#[tokio::test]
async fn a_connection_that_hangs_stays_until_the_client_has_had_enough() {
    for fault in [Fault::Hang, Fault::StoreThenHang] {
        let (store, _) = start_store().await;
        let proxy = FaultProxy::start(store, 1).await.unwrap();
        let rule = proxy.add(Rule::new(Matcher::any(), fault));
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_all(put("/a", "text").as_bytes()).await.unwrap();
        eventually("it hangs", LONG, async || proxy.hits(rule) == 1).await.unwrap();
        let mut answer = Vec::new();
        let short = Duration::from_millis(100);
        assert!(tokio::time::timeout(short, client.read_to_end(&mut answer)).await.is_err());
        client.shutdown().await.unwrap();
        let end = tokio::time::timeout(LONG, client.read_to_end(&mut answer)).await;
        assert_eq!((end.unwrap().unwrap(), answer.len()), (0, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_request_that_was_given_up_lands_when_it_is_released() {
    let (store, objects) = start_store().await;
    let proxy = FaultProxy::start(store, 1).await.unwrap();
    proxy.add(Rule::new(Matcher::any(), Fault::StoreLate(Late::OnRelease)));
    assert_eq!(talk(&proxy, &put("/a", "late")).await, "");
    assert!(!stored(&objects, "/a"));
    proxy.clear();
    proxy.release();
    eventually("the late write", LONG, async || proxy.late_statuses() == [200]).await.unwrap();
    assert!(stored(&objects, "/a"));
}

#[tokio::test]
async fn an_answer_is_cut_in_its_middle() {
    let (store, _) = start_store().await;
    let proxy = FaultProxy::start(store, 1).await.unwrap();
    proxy.add(Rule::new(Matcher::method("GET"), Fault::TruncateAnswer(3)));
    let answer = talk(&proxy, &[put("/a", "textual"), get("/a")].concat()).await;
    assert!(answer.contains("content-length: 7") && answer.ends_with("\r\n\r\ntex"), "{answer}");
}

#[tokio::test]
async fn a_share_of_requests_fails_and_a_cleared_proxy_is_well() {
    let (store, _) = start_store().await;
    let proxy = FaultProxy::start(store, 5).await.unwrap();
    let rule = proxy.add(Rule::new(Matcher::any(), Fault::Status(503)).percent(50));
    talk(&proxy, &put("/a", "").repeat(100)).await;
    let hits = proxy.hits(rule);
    assert!((30..70).contains(&hits), "{hits}");
    proxy.clear();
    assert!(talk(&proxy, &put("/a", "")).await.starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.hits(rule), hits);
}

#[tokio::test]
#[ignore = "needs seaweedfs; run by make test"]
async fn a_commit_whose_answer_was_lost_is_there_and_cannot_be_made_again() {
    let scratch = Scratch::new("proxy").unwrap();
    let server = S3Server::start(scratch.path(), "lake").await.unwrap();
    let proxy = FaultProxy::start(server.address(), 1).await.unwrap();
    let store = server.store(Some(&proxy.endpoint())).unwrap();
    let path = object_store::path::Path::from("t/_delta_log/00000000000000000000.json");
    let create = |text: &'static str| {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, text.into(), options)
    };

    let cut = proxy.add(Rule::new(Matcher::commits(), Fault::StoreThenCut).times(1));
    assert!(matches!(create("mine").await, Err(Error::Generic { .. })));
    assert_eq!(proxy.hits(cut), 1);
    assert!(matches!(create("other").await, Err(Error::AlreadyExists { .. })));
    assert_eq!(&store.get(&path).await.unwrap().bytes().await.unwrap()[..], b"mine");

    store.delete(&path).await.unwrap();
    proxy.add(Rule::new(Matcher::commits(), Fault::StoreLate(Late::OnRelease)).times(1));
    assert!(create("late").await.is_err());
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    proxy.release();
    eventually("the late write", LONG, async || proxy.late_statuses() == [200]).await.unwrap();
    assert_eq!(&store.get(&path).await.unwrap().bytes().await.unwrap()[..], b"late");
}
