//! Making streams, coverage, starts, registration, trim and recount against a real broker.

mod common;

use std::time::Duration;

use common::{
    Broker, STREAM, TABLE, floors, ledger, open, options, partition_options, read_all, spec,
};
use serde_json::json;
use tidegate_source::{
    Coverage, EmptyTo, PartitionReader, Partitioning, ReaderOptions, Registration, SourceError,
    StartAt, StreamFacts, StreamSpec, TrimDecision, TrimFacts, check_coverage, count_headers_only,
    ensure_stream, forget_ledger, next_message, partition_filter, pending_after, readers,
    register_ledger, registered_ledgers, resolve_start, stream_facts, trim, trim_decision,
    unsafe_settings,
};
use tidegate_types::{Ledger, Position, StreamTime};

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_stream_of_ours_is_safe_and_is_kept_as_the_specification_says() {
    let broker = Broker::with_stream(Partitioning::Subject { partitions: 8 }).await;
    let connection = &broker.connection;
    let facts = stream_facts(connection, STREAM).await.expect("facts");
    assert!(facts.owned);
    assert_eq!(unsafe_settings(&facts), Vec::<String>::new());

    let mut wanted = spec(Partitioning::Subject { partitions: 8 });
    let same = ensure_stream(connection, &wanted).await.expect("nothing to do");
    assert_eq!(StreamFacts { as_of: facts.as_of, ..same }, facts);
    wanted.max_age = Some(Duration::from_secs(3_600));
    wanted.max_bytes = Some(1 << 20);
    wanted.subjects.push("more.>".into());
    let changed = ensure_stream(connection, &wanted).await.expect("updated");
    assert_eq!(changed.max_age, wanted.max_age);
    assert_eq!(changed.max_bytes, wanted.max_bytes);
    assert_eq!(changed.subjects.len(), 2);
    assert_eq!(changed.created, facts.created);

    let other = StreamSpec { partitioning: Partitioning::Subject { partitions: 4 }, ..wanted };
    assert!(matches!(
        ensure_stream(connection, &other).await,
        Err(SourceError::PartitioningChanged { .. })
    ));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_stream_that_is_not_ours_is_left_alone() {
    let broker = Broker::start().await;
    broker.foreign_stream(json!({"max_age": 5_000_000_000_u64})).await;
    let result = ensure_stream(&broker.connection, &spec(Partitioning::None)).await;
    assert!(matches!(result, Err(SourceError::NotOurs { .. })), "{result:?}");
    let facts = stream_facts(&broker.connection, STREAM).await.expect("facts");
    assert_eq!(facts.max_age, Some(Duration::from_secs(5)));
    let missing = stream_facts(&broker.connection, "NOTHING").await;
    assert!(matches!(missing, Err(SourceError::StreamMissing { stream }) if stream == "NOTHING"));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s3_a_message_under_no_partitions_filter_is_noticed() {
    let broker = Broker::start().await;
    broker.foreign_stream(json!({})).await;
    let connection = &broker.connection;
    let partitioning =
        Partitioning::Declared { partitions: 2, pattern: "clicks.{partition}".into() };
    let filters: Vec<_> = (0..2).map(|k| partition_filter(&partitioning, k)).collect();
    broker.publish("clicks.0", 1, 30).await;
    broker.publish("clicks.1", 31, 20).await;
    assert_eq!(check_coverage(connection, STREAM, &filters).await.ok(), Some(Coverage::Exact));
    broker.publish("clicks.2", 51, 3).await;
    let result = check_coverage(connection, STREAM, &filters).await;
    assert!(
        matches!(result, Err(SourceError::SubjectsOutsidePartitions { outside: 3, .. })),
        "{result:?}"
    );
    assert_eq!(check_coverage(connection, STREAM, &[None]).await.ok(), Some(Coverage::Exact));
    assert!(readers(connection, STREAM).await.expect("a list").is_empty(), "probes are gone");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s3_messages_stored_before_the_transform_are_noticed() {
    let broker = Broker::with_stream(Partitioning::Subject { partitions: 8 }).await;
    let filters: Vec<_> = (0..8).map(|k| Some(format!("{k}.>"))).collect();
    broker.publish_subjects(0, 100).await;
    let connection = &broker.connection;
    assert_eq!(check_coverage(connection, STREAM, &filters).await.ok(), Some(Coverage::Exact));

    let info = broker.api(&format!("STREAM.INFO.{STREAM}"), json!({})).await;
    let mut config = info["config"].clone();
    let transform = config["subject_transform"].take();
    broker.api(&format!("STREAM.UPDATE.{STREAM}"), config.clone()).await;
    broker.publish_subjects(100, 2).await;
    config["subject_transform"] = transform;
    broker.api(&format!("STREAM.UPDATE.{STREAM}"), config).await;
    let result = check_coverage(connection, STREAM, &filters).await;
    assert!(
        matches!(result, Err(SourceError::SubjectsOutsidePartitions { outside: 2, .. })),
        "{result:?}"
    );
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p6_every_start_becomes_a_position() {
    let broker = Broker::with_stream(Partitioning::None).await;
    let connection = &broker.connection;
    let start =
        |start| async move { resolve_start(connection, STREAM, start).await.expect("an answer") };
    for empty in [StartAt::All, StartAt::New, StartAt::Sequence(1)] {
        assert_eq!(start(empty).await, Position(0), "{empty:?}");
    }
    assert_eq!(start(StartAt::Time(StreamTime(0))).await, Position(0));
    broker.publish("clicks.a", 1, 20).await;
    let mut reader = open(connection, options(), 0).await;
    let messages = read_all(&mut reader).await;
    broker.purge_below(6).await;
    assert_eq!(start(StartAt::All).await, Position(5));
    assert_eq!(start(StartAt::New).await, Position(20));
    assert_eq!(start(StartAt::Sequence(11)).await, Position(10));
    let at = messages[12].time;
    let by_time = start(StartAt::Time(at)).await;
    let expected = messages.iter().find(|message| message.time >= at).expect("message 13");
    // Times are in microseconds here and in nanoseconds there: never later than asked for.
    assert!(by_time.0 < expected.sequence && by_time.0 + 2 >= expected.sequence, "{by_time:?}");
    let late = StreamTime(messages[19].time.0 + 1_000_000_000);
    assert_eq!(start(StartAt::Time(late)).await, Position(20));
    assert_eq!(start(StartAt::Time(StreamTime(1))).await, Position(5));
    assert!(matches!(
        resolve_start(connection, STREAM, StartAt::Sequence(99)).await,
        Err(SourceError::StartBeyondEnd { .. })
    ));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s4_what_waits_behind_a_floor_is_counted_without_a_worker() {
    let broker = Broker::with_stream(Partitioning::Subject { partitions: 2 }).await;
    broker.publish_subjects(0, 100).await;
    let connection = &broker.connection;
    let mut waiting = 0;
    for k in 0..2 {
        let filter = format!("{k}.>");
        waiting +=
            pending_after(connection, STREAM, Some(&filter), Position(40)).await.expect("a count");
        let next = next_message(connection, STREAM, Some(&filter), 41).await.expect("an answer");
        assert!(next.is_some_and(|sequence| sequence > 40));
        assert_eq!(next_message(connection, STREAM, Some(&filter), 101).await.expect("none"), None);
    }
    assert_eq!(waiting, 60);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s10_every_reader_is_known_and_trim_waits_for_strangers() {
    let broker = Broker::with_stream(Partitioning::None).await;
    let connection = &broker.connection;
    broker.publish("clicks.a", 1, 100).await;
    let other = Ledger::new("other.ledger").expect("valid");
    register_ledger(connection, STREAM, &ledger(), TABLE).await.expect("registered");
    register_ledger(connection, STREAM, &ledger(), TABLE).await.expect("twice is once");
    register_ledger(connection, STREAM, &other, "s3://elsewhere").await.expect("registered");
    let expected = [
        Registration { ledger: ledger().to_string(), table_url: TABLE.into() },
        Registration { ledger: other.to_string(), table_url: "s3://elsewhere".into() },
    ];
    assert_eq!(registered_ledgers(connection, STREAM).await.expect("a list"), expected);

    let floors = floors(&[("analytics.clicks", 80)]);
    let decide = || async {
        let registrations = registered_ledgers(connection, STREAM).await.expect("a list");
        let readers = readers(connection, STREAM).await.expect("a list");
        trim_decision(&TrimFacts {
            table_url: TABLE,
            floors: &floors,
            registrations: &registrations,
            readers: &readers,
            first_sequence: 1,
            limits_retention: true,
            keep_from_sequence: 1_000,
        })
    };
    assert!(
        matches!(decide().await, TrimDecision::Blocked { other } if other.contains("elsewhere"))
    );
    forget_ledger(connection, STREAM, &other).await.expect("forgotten");

    let reader = open(connection, options(), 0).await;
    assert_eq!(decide().await, TrimDecision::Purge { below: 79 }, "our own reader is no stranger");
    broker
        .api(
            &format!("CONSUMER.CREATE.{STREAM}.stranger"),
            json!({"stream_name": STREAM,
                "config": {"name": "stranger", "durable_name": "stranger", "ack_policy": "none"}}),
        )
        .await;
    assert!(
        matches!(decide().await, TrimDecision::Blocked { other } if other.contains("stranger"))
    );
    broker.api(&format!("CONSUMER.DELETE.{STREAM}.stranger"), json!({})).await;
    reader.close().await;
    assert!(readers(connection, STREAM).await.expect("a list").is_empty());

    assert_eq!(trim(connection, STREAM, 79).await.expect("purged"), 78);
    assert_eq!(trim(connection, STREAM, 0).await.expect("nothing"), 0, "0 is not everything");
    let facts = stream_facts(connection, STREAM).await.expect("facts");
    assert_eq!((facts.first_sequence, facts.messages), (79, 22));
    // Another specification of ours does not take the entry away.
    let changed = StreamSpec { max_bytes: Some(1 << 30), ..spec(Partitioning::None) };
    ensure_stream(connection, &changed).await.expect("updated");
    assert_eq!(registered_ledgers(connection, STREAM).await.expect("a list").len(), 1);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_range_is_counted_again_from_headers_alone() {
    let broker = Broker::with_stream(Partitioning::Subject { partitions: 2 }).await;
    broker.publish("clicks.a", 1, 2_500).await;
    broker.publish_subjects(0, 500).await;
    let mut sequences = Vec::new();
    let mut ids = 0;
    for k in 0..2 {
        let filter = format!("{k}.>");
        let mut scan = count_headers_only(
            &broker.connection,
            STREAM,
            Some(&filter),
            (101, 2_900),
            Some("Nats-Msg-Id"),
        );
        while let Some(batch) = scan.next_batch().await.expect("a batch") {
            ids += batch.iter().filter(|message| message.id.is_some()).count();
            sequences.extend(batch.iter().map(|message| message.sequence));
        }
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (101..=2_900).collect::<Vec<_>>());
    assert_eq!(ids, 2_400);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_partition_without_messages_is_caught_up_at_once() {
    let broker = Broker::with_stream(Partitioning::Subject { partitions: 2 }).await;
    let mut reader = open(&broker.connection, partition_options(1, Some("1.>".into())), 0).await;
    assert!(read_all(&mut reader).await.is_empty());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s10_without_the_right_to_change_the_stream_a_consumer_registers_the_ledger() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let users = r#"authorization { users: [
        {user: admin, password: a}
        {user: worker, password: w, permissions: {publish: {deny: ["$JS.API.STREAM.UPDATE.>"]}}}
    ] }"#;
    let server = common::start_server(store.path().to_owned(), 0, users).await;
    let connect = |user: &str, password: &str| {
        tidegate_source::Connection::connect(tidegate_source::ConnectOptions {
            servers: vec![server.url()],
            credentials: Some(tidegate_source::Credentials::UserPassword {
                user: user.into(),
                password: password.into(),
            }),
            ..Default::default()
        })
    };
    let admin = connect("admin", "a").await.expect("connects");
    ensure_stream(&admin, &spec(Partitioning::None)).await.expect("made");
    let worker = connect("worker", "w").await.expect("connects");
    register_ledger(&worker, STREAM, &ledger(), TABLE).await.expect("registered");
    let facts = stream_facts(&admin, STREAM).await.expect("facts");
    assert!(!facts.metadata.keys().any(|key| key.contains("ledger")), "{:?}", facts.metadata);
    let expected = [Registration { ledger: ledger().to_string(), table_url: TABLE.into() }];
    assert_eq!(registered_ledgers(&admin, STREAM).await.expect("a list"), expected);
    forget_ledger(&admin, STREAM, &ledger()).await.expect("forgotten");
    assert!(registered_ledgers(&admin, STREAM).await.expect("a list").is_empty());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s5_what_others_read_and_trimmed_is_no_gap_for_a_partition_that_is_known_to_be_empty() {
    let broker = Broker::with_stream(Partitioning::Subject { partitions: 2 }).await;
    let connection = &broker.connection;
    broker.publish("clicks.a", 1, 100).await;
    let busy = if next_message(connection, STREAM, Some("0.>"), 1).await.expect("asked").is_some() {
        0
    } else {
        1
    };
    let idle = 1 - busy;
    let options = partition_options(idle, Some(format!("{idle}.>")));
    let empty_to = options.empty_to.clone();
    let mut reader = open(connection, options.clone(), 0).await;
    assert!(read_all(&mut reader).await.is_empty());
    // The floor moves, and the stream is trimmed to it while the reading is still on its way back.
    empty_to.note(Position(90));
    trim(connection, STREAM, 90).await.expect("trimmed");
    broker.publish_subjects(0, 20).await;
    let read = read_all(&mut reader).await;
    assert!(!read.is_empty(), "some of twenty subjects are of this partition");
    // Beyond it nothing is known, and what is gone there may have been the partition's.
    trim(connection, STREAM, 95).await.expect("trimmed");
    let known = ReaderOptions { empty_to: EmptyTo::default(), ..options };
    known.empty_to.note(Position(90));
    let opened = PartitionReader::open(connection, known, Position(0), None).await;
    assert!(matches!(opened, Err(SourceError::Gap { from: 91, to: 94, .. })));
}
