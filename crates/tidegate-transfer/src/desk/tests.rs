//! A coordinator and readers in one process, which speak through a desk that may fail.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tidegate_config::{GivenUp, Placement, RunReport, Trigger, WriteMode};
use tidegate_runtime::RunError;
use tidegate_runtime::secrets::Secrets;
use tidegate_types::Reason;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::{Desk, Silence};
use super::messages::{ChunkFailure, ChunkResult, DeskAnswer, Pass, Terms, columns_mark};
use super::reader::{ChunkReader, ReaderEdges};
use super::standing::Opening;
use super::{ChunkDesk, ChunkOptions, DeskToken, Reply};
use crate::attempt;
use crate::chunk_outcome::ChunkOutcome;
use crate::chunks::PlannedChunks;
use crate::confirm::confirm;
use crate::decide::testing::hours;
use crate::layout::Layout;
use crate::options::TransferOptions;
use crate::progress::Progress;
use crate::run::{Edges, Run};
use crate::source::{Sources, request};
use crate::steps::Steps;
use crate::tests::lake::{Lake, rows_of};
use crate::tests::source::{Fault, MemorySources, columns};

/// What tells a desk without a run.
const NONCE: &str = "00000000000000ab";

/// What goes wrong between reader and desk.
#[derive(Debug, Default)]
struct Wire {
    desk: Arc<ChunkDesk>,
    /// So many outcomes arrive, and their answers are lost.
    hide_answers: AtomicU32,
    /// So many outcomes are cut short on the way.
    cut_short: AtomicU32,
    /// Nobody answers.
    dead: AtomicBool,
    /// What was brought last.
    heard: Arc<Mutex<Vec<u8>>>,
}

fn one_less(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Desk for Wire {
    fn ask<'a>(&'a self, what: &'a str) -> BoxFuture<'a, Result<Reply, Silence>> {
        Box::pin(async move {
            if self.dead.load(Ordering::SeqCst) {
                return Err("connection refused".to_owned());
            }
            Ok(self.desk.order(what))
        })
    }

    fn bring<'a>(&'a self, outcome: &'a [u8]) -> BoxFuture<'a, Result<Reply, Silence>> {
        Box::pin(async move {
            if self.dead.load(Ordering::SeqCst) {
                return Err("connection refused".to_owned());
            }
            if one_less(&self.cut_short) {
                return Ok(self.desk.take(&outcome[..outcome.len() / 2]));
            }
            *self.heard.lock().expect("not poisoned") = outcome.to_vec();
            let reply = self.desk.take(outcome);
            if one_less(&self.hide_answers) { Err("reset".to_owned()) } else { Ok(reply) }
        })
    }
}

/// An attempt whose chunks are read by others.
struct Attempt {
    lake: Arc<Lake>,
    wire: Arc<Wire>,
    reports: watch::Receiver<RunReport>,
    coordinator: JoinHandle<Result<RunReport, RunError>>,
}

type Read = JoinHandle<Result<RunReport, RunError>>;

impl Attempt {
    fn begin(lake: &Arc<Lake>, options: TransferOptions) -> Self {
        let wire = Arc::new(Wire::default());
        let edges = Edges {
            store: lake.store.clone(),
            sources: Arc::new(MemorySources(Arc::clone(&lake.database))),
            secrets: Secrets::new(None),
            steps: Steps::default(),
        };
        let (sender, reports) = watch::channel(RunReport::default());
        let run = Run::new(options, edges, Progress::new(sender)).at(Some(Arc::clone(&wire.desk)));
        let coordinator = tokio::spawn(run.run());
        Self { lake: Arc::clone(lake), wire, reports, coordinator }
    }

    /// What the operator would find at `/status`.
    async fn nonce(&mut self) -> String {
        let planned = |report: &RunReport| report.desk.is_some();
        let report = self.reports.wait_for(planned).await.expect("it plans");
        report.desk.clone().expect("open").nonce
    }

    fn reader(&self, nonce: &str, chunk: u32) -> ChunkReader {
        let options = ChunkOptions {
            config: self.lake.config(),
            coordinator: String::new(),
            nonce: nonce.to_owned(),
            token: DeskToken::default(),
            chunk,
            secrets_dir: None,
            cancel: CancellationToken::new(),
        };
        let edges = ReaderEdges {
            store: self.lake.store.clone(),
            sources: Arc::new(MemorySources(Arc::clone(&self.lake.database))),
            secrets: Secrets::new(None),
            desk: Arc::clone(&self.wire) as Arc<dyn Desk>,
            steps: Steps::default(),
        };
        ChunkReader::new(options, edges, Progress::new(watch::Sender::new(RunReport::default())))
    }

    fn read(&self, nonce: &str, chunk: u32) -> Read {
        tokio::spawn(self.reader(nonce, chunk).run())
    }

    async fn end(self) -> Result<RunReport, RunError> {
        self.coordinator.await.expect("ended")
    }
}

fn lake() -> Arc<Lake> {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| config.placement = Placement::Pods);
    lake.database.put(rows_of(0, 60, 1));
    Arc::new(lake)
}

fn hour(lake: &Lake) -> TransferOptions {
    lake.options(Trigger::Scheduled, Some(hours(0, 1)))
}

async fn ended(read: Read) -> Result<RunReport, RunError> {
    read.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_elsewhere_read_the_coordinators_snapshot_and_it_alone_commits() {
    let lake = lake();
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    // What comes now is not of the snapshot.
    lake.database.put(rows_of(0, 90, 2).skip(60));
    let reads: Vec<_> = [2, 0].map(|chunk| attempt.read(&nonce, chunk)).into();
    for read in reads {
        assert_eq!(ended(read).await.expect("read").reason, "Ok");
    }
    {
        let report = attempt.reports.borrow();
        assert_eq!((report.chunks_done, report.chunks, report.rows_read), (2, 3, 40));
    }
    assert!(lake.rows().await.is_empty(), "nothing is visible before all is there");
    ended(attempt.read(&nonce, 1)).await.expect("read");
    let report = attempt.end().await.expect("committed");
    assert_eq!((report.rows_read, report.rows_committed, report.generation), (60, 60, 1));
    assert_eq!(report.desk, None, "nobody need come any more");
    assert_eq!(lake.database.joined.load(Ordering::SeqCst), 3);
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_two_readers_of_one_chunk_end_with_one_set_of_rows() {
    let lake = lake();
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    lake.database.fail(1, Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) });
    let slow = attempt.read(&nonce, 1);
    reached.notified().await;
    // Its node is not heard of, so that the Job makes another one.
    assert_eq!(ended(attempt.read(&nonce, 1)).await.expect("read").reason, "Ok");
    go.notify_one();
    assert_eq!(ended(slow).await.expect("no fault").reason, "AlreadyComplete");
    assert_eq!(ended(attempt.read(&nonce, 1)).await.expect("no fault").reason, "AlreadyComplete");
    for chunk in [0, 2] {
        ended(attempt.read(&nonce, chunk)).await.expect("read");
    }
    let desk = Arc::clone(&attempt.wire.desk);
    attempt.end().await.expect("committed");
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
    // A third one comes when all is over: that is no fault of its.
    let late = desk.order(&format!("{nonce}/1"));
    let said = serde_json::from_str::<DeskAnswer>(&late.body).expect("said");
    assert_eq!((late.status, said), (200, DeskAnswer::AlreadyThere));
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_reader_of_an_older_attempt_is_turned_away() {
    let lake = lake();
    let options = hour(&lake);
    let mut first = Attempt::begin(&lake, options.clone());
    let old = first.nonce().await;
    first.coordinator.abort();
    let mut second = Attempt::begin(&lake, options);
    let nonce = second.nonce().await;
    assert_ne!(old, nonce);
    // The old attempt's reader finds the new coordinator at the old one's address.
    let error = ended(second.read(&old, 0)).await.expect_err("another attempt's");
    assert_eq!((error.reason(), error.exit_code()), (Reason::GenerationLost, 65));
    // Or it had its order before, and brings what it read under the old snapshot.
    for (generation, snapshot, nonce) in
        [(2, "snapshot-2", &old), (1, "snapshot-2", &nonce), (2, "snapshot-1", &nonce)]
    {
        let (snapshot, nonce) = (snapshot.to_owned(), nonce.clone());
        let pass = Pass { generation, snapshot, nonce };
        let failure = ChunkFailure::of(&RunError::permanent(Reason::SourceRefused, "no privilege"));
        let outcome = ChunkResult { pass, chunk: 0, result: Err(failure) };
        let reply = second.wire.desk.take(&outcome.to_bytes().expect("written"));
        assert_eq!(reply.status, 409, "{reply:?}");
    }
    for chunk in 0..3 {
        ended(second.read(&nonce, chunk)).await.expect("read");
    }
    assert_eq!(second.end().await.expect("committed").generation, 2);
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
}

/// The coordinator died, and what its readers read of pinned files is not read again.
#[tokio::test(flavor = "multi_thread")]
async fn b5_chunks_of_files_outlive_their_coordinator() {
    let lake = lake();
    lake.database.dead_each.store(10, Ordering::SeqCst);
    *lake.database.fingerprint.lock().expect("not poisoned") = Some("the files".to_owned());
    let options = hour(&lake);
    let mut first = Attempt::begin(&lake, options.clone());
    let nonce = first.nonce().await;
    for chunk in [0, 2] {
        ended(first.read(&nonce, chunk)).await.expect("read");
    }
    first.coordinator.abort();
    let mut second = Attempt::begin(&lake, options);
    let nonce = second.nonce().await;
    {
        let report = second.reports.borrow();
        assert_eq!((report.chunks_done, report.rows_read, report.dead_letters), (2, 40, 4));
    }
    assert_eq!(ended(second.read(&nonce, 2)).await.expect("no fault").reason, "AlreadyComplete");
    assert_eq!(ended(second.read(&nonce, 1)).await.expect("read").reason, "Ok");
    let report = second.end().await.expect("committed");
    assert_eq!((report.rows_read, report.rows_committed, report.dead_letters), (60, 54, 6));
    assert_eq!(lake.database.read.load(Ordering::SeqCst), 3);
    assert_eq!(lake.sources().await, ["shop.orders/g1"; 54]);
    assert_eq!(lake.dead_letters().await.len(), 6);
}

/// A snapshot holds rows; columns may change all the same, as those of a view do.
#[tokio::test(flavor = "multi_thread")]
async fn b5_a_reader_that_finds_other_columns_than_the_coordinator_writes_nothing() {
    let lake = lake();
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    ended(attempt.read(&nonce, 0)).await.expect("as they were");
    lake.database.has_more_columns.store(true, Ordering::SeqCst);
    let error = ended(attempt.read(&nonce, 1)).await.expect_err("another table");
    assert_eq!((error.reason(), error.exit_code()), (Reason::SourceChanged, 75));
    let error = attempt.end().await.expect_err("so is it for the attempt");
    assert_eq!(error.reason(), Reason::SourceChanged);
    assert!(lake.rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_and_an_outcome_that_is_cut_short_cost_time_and_no_row() {
    let lake = lake();
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    attempt.wire.hide_answers.store(1, Ordering::SeqCst);
    assert_eq!(ended(attempt.read(&nonce, 0)).await.expect("read").reason, "AlreadyComplete");
    attempt.wire.cut_short.store(1, Ordering::SeqCst);
    let error = ended(attempt.read(&nonce, 1)).await.expect_err("cut short");
    assert_eq!(error.exit_code(), 75, "{error:?}");
    for chunk in [1, 2] {
        assert_eq!(ended(attempt.read(&nonce, chunk)).await.expect("read").reason, "Ok");
    }
    attempt.end().await.expect("committed");
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_nobody_can_read_ends_the_attempt_at_once_with_its_reason() {
    for (fault, reason, code) in
        [(Fault::Refuses, Reason::SourceRefused, 65), (Fault::Breaks, Reason::SnapshotLost, 75)]
    {
        let lake = lake();
        let mut attempt = Attempt::begin(&lake, hour(&lake));
        let nonce = attempt.nonce().await;
        lake.database.lost.store(code == 75, Ordering::SeqCst);
        lake.database.fail(1, fault);
        let read = ended(attempt.read(&nonce, 1)).await.expect_err("it cannot be read");
        assert_eq!(read.reason(), reason);
        let error = attempt.end().await.expect_err("given up");
        assert_eq!((error.reason(), error.exit_code()), (reason, code));
        assert!(error.to_string().starts_with("chunk 1 (each row number 1): "), "{error}");
        assert!(lake.rows().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_job_was_given_up_ends_and_says_why() {
    let lake = lake();
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    let told =
        |nonce: &str| serde_json::json!({"nonce": nonce, "chunk": 2, "message": "failed thrice"});
    let others = attempt.wire.desk.give_up(told("0000000000000001").to_string().as_bytes());
    assert_eq!(others.status, 409);
    assert_eq!(attempt.wire.desk.give_up(told(&nonce).to_string().as_bytes()).status, 200);
    let error = ended(attempt.read(&nonce, 0)).await.expect_err("over");
    assert_eq!(error.reason(), Reason::GenerationLost);
    let error = attempt.end().await.expect_err("given up");
    assert_eq!((error.reason(), error.exit_code()), (Reason::ChunksFailed, 75));
    assert_eq!(error.to_string(), "chunk 2 (each row number 2): failed thrice");
}

fn given_up(nonce: &str, chunk: Option<u32>, permanent: Option<&str>) -> Vec<u8> {
    let (nonce, message) = (nonce.to_owned(), "failed thrice".to_owned());
    let told = GivenUp { nonce, chunk, message, permanent: permanent.map(str::to_owned) };
    serde_json::to_vec(&told).expect("written")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_given_up_for_good_ends_the_attempt_for_good() {
    for (what, chunk, permanent, expected) in [
        ("for good", Some(2), Some("SourceRefused"), (Reason::SourceRefused, 65)),
        ("an unknown reason", Some(2), Some("FromTheFuture"), (Reason::RunFailed, 65)),
        ("for now", Some(2), None, (Reason::ChunksFailed, 75)),
        ("the Job as a whole", None, Some("SourceRefused"), (Reason::ChunksFailed, 75)),
        ("a chunk that is there", Some(0), Some("SourceRefused"), (Reason::ChunksFailed, 75)),
    ] {
        let lake = lake();
        let mut attempt = Attempt::begin(&lake, hour(&lake));
        let nonce = attempt.nonce().await;
        ended(attempt.read(&nonce, 0)).await.expect("read");
        attempt.wire.desk.give_up(&given_up(&nonce, chunk, permanent));
        let error = attempt.end().await.expect_err("given up");
        assert_eq!((error.reason(), error.exit_code()), expected, "{what}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_failure_behind_the_outcome_that_won_is_too_late() {
    let lake = lake();
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    lake.database.fail(1, Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) });
    let second = tokio::spawn(attempt.reader(&nonce, 1).bringing_at_most(0).run());
    reached.notified().await;
    ended(attempt.read(&nonce, 1)).await.expect("the first one wins");
    // What the second one has is more than may be brought.
    go.notify_one();
    assert_eq!(ended(second).await.expect("no fault").reason, "AlreadyComplete");
    for chunk in [0, 2] {
        ended(attempt.read(&nonce, chunk)).await.expect("read");
    }
    attempt.end().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_is_too_large_ends_the_attempt_for_good() {
    let lake = lake();
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    let reader = attempt.reader(&nonce, 1).bringing_at_most(0);
    let read = reader.run().await.expect_err("too large");
    assert_eq!((read.reason(), read.exit_code()), (Reason::ResourceExhausted, 65));
    let error = attempt.end().await.expect_err("given up");
    assert_eq!((error.reason(), error.exit_code()), (Reason::ResourceExhausted, 65));
    assert!(error.to_string().contains("bulk.chunking.targetRows"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_is_closed_when_its_coordinator_is_told_to_stop() {
    let lake = lake();
    let options = hour(&lake);
    let cancel = options.cancel.clone();
    let mut attempt = Attempt::begin(&lake, options);
    let nonce = attempt.nonce().await;
    let (desk, reports) = (Arc::clone(&attempt.wire.desk), attempt.reports.clone());
    assert_eq!(desk.order(&format!("{nonce}/1")).status, 200);
    cancel.cancel();
    assert_eq!(attempt.end().await.expect_err("told").reason(), Reason::Interrupted);
    assert_eq!(desk.order(&format!("{nonce}/1")).status, 409);
    assert_eq!(reports.borrow().desk, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_written_elsewhere_is_never_committed() {
    let lake = lake();
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    for chunk in [0, 1] {
        ended(attempt.read(&nonce, chunk)).await.expect("read");
    }
    let elsewhere = Lake::new(WriteMode::ReplaceInterval);
    let mut reader = attempt.reader(&nonce, 2);
    reader.writes_to(elsewhere.store.clone());
    reader.run().await.expect("it does not know");
    let error = attempt.end().await.expect_err("it is not there");
    assert_eq!((error.reason(), error.exit_code()), (Reason::CountMismatch, 65));
    assert!(error.to_string().contains("is not in the table"), "{error}");
    assert!(lake.rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_no_reader_brings_makes_no_row() {
    type Forge = fn(&mut ChunkOutcome);
    let forgeries: [(&str, Forge); 4] = [
        ("more rows than the file has", |outcome| {
            outcome.files[0].rows += 1;
            (outcome.written, outcome.counts.rows) = (outcome.written + 1, outcome.counts.rows + 1);
        }),
        ("a file of another chunk", |outcome| outcome.number = 1),
        ("a partition where it does not lie", |outcome| {
            let values = &mut outcome.files[0].partition_values;
            values.insert("day".to_owned(), Some("2026-06-01".to_owned()));
        }),
        ("the same file twice", |outcome| {
            let file = outcome.files[0].clone();
            outcome.written += file.rows;
            outcome.counts.rows += file.rows;
            outcome.files.push(file);
        }),
    ];
    for (what, forge) in forgeries {
        let lake = lake();
        let (store, config) = (lake.store.clone(), lake.config());
        let layout = Layout::new(&config, &columns()).expect("columns");
        let (config, store, layout) = (&config, &store, &layout);
        let expected = attempt::Attempt {
            config,
            store,
            layout,
            interval: Some(hours(0, 1)),
            generation: 1,
            keeping: None,
        };
        let mut attempt = Attempt::begin(&lake, hour(&lake));
        let nonce = attempt.nonce().await;
        let heard = Arc::clone(&attempt.wire.heard);
        ended(attempt.read(&nonce, 0)).await.expect("read");
        let bytes = heard.lock().expect("not poisoned").clone();
        let brought = || ChunkResult::from_bytes(&bytes).expect("readable").result.expect("read");
        let (honest, mut hidden, mut forged) = (brought(), brought(), brought());
        hidden.files[0].stats = serde_json::json!({"maxValues": {"id": -1}});
        let confirmed = confirm(expected, vec![hidden]).await.expect(what);
        assert_eq!(confirmed[0].files, honest.files, "rows cannot be hidden by wrong statistics");
        forge(&mut forged);
        let error = confirm(expected, vec![forged]).await.expect_err(what);
        assert_eq!(error.reason(), Reason::CountMismatch, "{what}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_coordinator_is_gone_leaves_before_long() {
    tokio::time::timeout(Duration::from_secs(30), async {
        let lake = lake();
        let mut attempt = Attempt::begin(&lake, hour(&lake));
        let nonce = attempt.nonce().await;
        let reader = attempt.reader(&nonce, 0);
        attempt.coordinator.abort();
        attempt.wire.dead.store(true, Ordering::SeqCst);
        let error = reader.patient_for(Duration::from_millis(300)).run().await;
        let error = error.expect_err("nobody is there");
        assert_eq!((error.reason(), error.exit_code()), (Reason::ChunksFailed, 75));
    })
    .await
    .expect("soon");
}

/// A desk with a snapshot of its own, on which chunks wait, and how the waiting ends.
async fn waiting(
    lake: &Lake,
    token: &str,
) -> (Arc<ChunkDesk>, JoinHandle<Result<usize, RunError>>) {
    let sources = MemorySources(Arc::clone(&lake.database));
    let request = request(&lake.config(), &Secrets::new(None), Some(hours(0, 1)));
    let snapshot = sources.open(request).await.expect("opened");
    let (nonce, id) = (NONCE.to_owned(), snapshot.id().to_owned());
    let opening = Opening {
        terms: Terms {
            pass: Pass { generation: 1, snapshot: id, nonce },
            ticket: snapshot.ticket().expect("it can be joined"),
            interval: None,
            columns: columns_mark(&snapshot.columns()),
            keeping: None,
        },
        chunks: PlannedChunks {
            all: snapshot.plan().await.expect("planned").chunks,
            kept: Vec::new(),
        },
        parallelism: 4,
        progress: Progress::new(watch::Sender::new(RunReport::default())),
    };
    let desk = Arc::new(ChunkDesk::new(DeskToken::new(token.to_owned())));
    let gathering = {
        let desk = Arc::clone(&desk);
        async move { desk.hand_out(opening, snapshot.as_ref()).await.map(|outcomes| outcomes.len()) }
    };
    (desk, tokio::spawn(gathering))
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_hears_of_nobody_gives_up() {
    let begun = tokio::time::Instant::now();
    let (desk, gathering) = waiting(&lake(), "").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let alive = desk.order(&format!("{NONCE}/1/alive"));
    assert_eq!(serde_json::from_str::<DeskAnswer>(&alive.body).expect("said"), DeskAnswer::Taken);
    let error = gathering.await.expect("ended").expect_err("forsaken");
    assert_eq!((error.reason(), error.exit_code()), (Reason::ChunksFailed, 75));
    assert!(error.to_string().contains("3 of 3 chunks are missing"), "{error}");
    assert!(error.to_string().contains("the operator"), "{error}");
    let waited = begun.elapsed().as_secs();
    assert!((1_500..1_560).contains(&waited), "a sign of life counts: {waited}");
    assert_eq!(desk.order(&format!("{NONCE}/1")).status, 409, "it is over");
}

#[tokio::test(start_paused = true)]
async fn b6_a_desk_hands_nothing_out_from_the_first_failure_on() {
    let (desk, gathering) = waiting(&lake(), "").await;
    tokio::task::yield_now().await;
    assert_eq!(desk.order(&format!("{NONCE}/1")).status, 200);
    assert_eq!(desk.give_up(&given_up(NONCE, None, None)).status, 200);
    assert_eq!(desk.order(&format!("{NONCE}/1")).status, 409, "the coordinator has not looked yet");
    gathering.await.expect("ended").expect_err("given up");
}

#[tokio::test(start_paused = true)]
async fn a_desk_serves_nobody_who_knows_only_what_its_status_shows() {
    let (desk, gathering) = waiting(&lake(), "the-secret").await;
    tokio::task::yield_now().await;
    let key = format!("{NONCE}the-secret");
    for (shown, status) in [(NONCE, 409), (key.as_str(), 200)] {
        assert_eq!(desk.order(&format!("{shown}/1")).status, status, "{shown}");
        let (nonce, snapshot) = (shown.to_owned(), "snapshot-0".to_owned());
        let pass = Pass { generation: 1, snapshot, nonce };
        let failure = ChunkFailure::of(&RunError::permanent(Reason::SourceRefused, "forged"));
        let outcome = ChunkResult { pass, chunk: 1, result: Err(failure) };
        let told = outcome.to_bytes().expect("written");
        assert_eq!(desk.give_up(&given_up(shown, None, None)).status, status, "{shown}");
        if status != 200 {
            assert_eq!(desk.take(&told).status, status, "{shown}");
        }
    }
    assert!(!format!("{desk:?}").contains("the-secret"));
    gathering.await.expect("ended").expect_err("given up");
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_is_looked_at_however_often_outcomes_come() {
    let lake = lake();
    let (desk, gathering) = waiting(&lake, "").await;
    lake.database.lost.store(true, Ordering::SeqCst);
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        desk.changed.notify_one();
    }
    assert!(gathering.is_finished(), "nobody looked for 160 seconds");
    let error = gathering.await.expect("ended").expect_err("lost");
    assert_eq!(error.reason(), Reason::SnapshotLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_travel_with_their_chunk() {
    let lake = lake();
    lake.database.dead_each.store(10, Ordering::SeqCst);
    let mut attempt = Attempt::begin(&lake, hour(&lake));
    let nonce = attempt.nonce().await;
    for chunk in 0..3 {
        ended(attempt.read(&nonce, chunk)).await.expect("read");
    }
    let report = attempt.end().await.expect("committed");
    assert_eq!((report.rows_read, report.rows_committed, report.dead_letters), (60, 54, 6));
    assert_eq!(lake.dead_letters().await.len(), 6);
}
