//! A streamed table: what workers would have committed, made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use tidegate_config::{Repairs, Trigger, WriteMode};
use tidegate_runtime::Random;
use tidegate_table::files::layout::{DataPath, FileName, object_of_log_path};
use tidegate_table::files::reader::read_columns;
use tidegate_table::files::system::{
    RowCoordinates, SystemColumns, file_schema, source_name, table_schema,
};
use tidegate_table::files::{DataFile, FileWriter, WriteOptions};
use tidegate_table::ledger::{
    LedgerState, PartitionState, RepairRecord, StreamFloors, progress_txns,
};
use tidegate_table::log::{CommitKind, CommitRequest, CommitTag, Outcome, RetryPolicy, TableSpec};
use tidegate_types::{
    Counters, DataInterval, Epoch, Incarnation, Ledger, PartitionId, Position, Span, StreamTime,
};

use super::lake::Lake;
use super::source::{Row, columns};
use crate::options::TransferOptions;

const SECOND: i64 = 1_000_000;
const COLUMNS: SystemColumns = SystemColumns { dedup: true, id_in_header: false };

/// A message that became a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) sequence: u64,
    /// When it was published, in seconds.
    pub(super) published: i64,
    pub(super) row: Row,
}

/// A lake whose table a stream of two partitions writes, and which runs repair.
pub(super) struct Streamed {
    pub(super) lake: Arc<Lake>,
    pub(super) life: Incarnation,
    /// Under which it streams.
    pub(super) ledger: Ledger,
}

pub(super) fn clicks() -> Ledger {
    Ledger::new("shop.clicks").expect("valid")
}

impl Streamed {
    /// An empty table; lateness half an hour, ids compared for one.
    pub(super) async fn new() -> Self {
        let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
        lake.set(|config| {
            config.repairs = Some(Repairs {
                pipeline: "shop/clicks".to_owned(),
                ledger: clicks(),
                event_time: "at".to_owned(),
                allowed_lateness: Span::seconds(1_800),
                window: Some(Span::seconds(3_600)),
                partitions: 2,
            });
        });
        let life = Incarnation::derive("CLICKS", "", 0);
        let stream = Self { lake, life, ledger: clicks() };
        let spec = TableSpec::new(Arc::new(table_schema(&columns(), &[], COLUMNS)), Vec::new());
        let request = stream.request(CommitKind::Create, BTreeMap::new(), Vec::new());
        let log = stream.lake.log();
        let created = log.prepare_create(&spec, &request).await.expect("prepared");
        let forever = std::future::pending();
        log.settle(&created, &RetryPolicy::default(), forever).await.expect("settled");
        stream
    }

    fn request(
        &self,
        kind: CommitKind,
        txns: BTreeMap<String, i64>,
        adds: Vec<DataFile>,
    ) -> CommitRequest {
        let tag =
            CommitTag { ledger: self.ledger.clone(), kind, nonce: Random::from_system().nonce() };
        CommitRequest { txns, adds, ..CommitRequest::new(tag) }
    }

    /// A worker's commit: the messages as one file, and the partition's progress.
    pub(super) async fn commit(&self, partition: u32, sent: &[Sent]) {
        let k = PartitionId(partition);
        let file = self.file(k, sent).await;
        loop {
            let snapshot = self.lake.snapshot().await;
            let state = LedgerState::read(snapshot.txns(), &self.ledger, self.life).expect("ours");
            let before = state.partition(k);
            let rows = sent.len() as u64;
            let more = Counters { read: rows, rows, ..Counters::default() };
            let newest = sent.iter().map(|sent| sent.published * SECOND).max().unwrap_or(0);
            let after = PartitionState {
                floor: sent.last().map(|sent| Position(sent.sequence)),
                counters: before.counters + more,
                time: before.time.max(StreamTime(newest)),
                ..before
            };
            let txns = progress_txns(&self.ledger, self.life, k, &before, &after);
            let txns = txns.into_iter().collect();
            let request = self.request(CommitKind::Data, txns, vec![file.clone()]);
            let log = self.lake.log();
            let prepared = log.prepare(&snapshot, &request).await.expect("prepared");
            let forever = std::future::pending();
            let outcome = log.settle(&prepared, &RetryPolicy::default(), forever).await;
            if matches!(outcome, Ok(Outcome::Won)) {
                return;
            }
        }
    }

    async fn file(&self, partition: PartitionId, sent: &[Sent]) -> DataFile {
        let long = |of: fn(&Row) -> i64| {
            Arc::new(Int64Array::from_iter_values(sent.iter().map(|sent| of(&sent.row))))
        };
        let times = sent.iter().map(|sent| sent.row.at * SECOND);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        let rows = RecordBatch::try_new(
            columns(),
            vec![long(|row| row.id), Arc::new(times), long(|row| row.value)],
        );
        let coordinates = RowCoordinates {
            source: &source_name(&self.ledger, self.life),
            partition,
            sequences: &sent.iter().map(|sent| sent.sequence).collect::<Vec<_>>(),
            ordinals: None,
            ids: &vec![None; sent.len()],
            times: &sent.iter().map(|s| StreamTime(s.published * SECOND)).collect::<Vec<_>>(),
        };
        let rows = COLUMNS.append(&rows.expect("columns"), &coordinates).expect("fits");
        let nonce = Random::from_system().nonce();
        let name = FileName { ledger: self.ledger.clone(), epoch: Epoch(1), nonce, number: 0 };
        let store = Arc::clone(&self.lake.store.data);
        let schema = Arc::new(file_schema(&rows.schema(), &[]));
        let (path, options) = (DataPath::new(&[], &name), WriteOptions::default());
        let mut file = FileWriter::create(store, path, schema, BTreeMap::new(), &options);
        file.write(&rows).await.expect("written");
        file.finish().await.expect("finished")
    }

    /// Every row with what its `_tg_src` says behind the ledger's name, sorted.
    pub(super) async fn rows(&self) -> Vec<(Row, String)> {
        let (snapshot, store) = (self.lake.snapshot().await, &self.lake.store.data);
        let mut rows = Vec::new();
        for file in self.lake.log().live_files(&snapshot).await.expect("readable") {
            let path = object_of_log_path(&file.path).expect("ours");
            let wanted = ["id", "at", "value", "_tg_src"];
            let batches = read_columns(store, &path, &wanted).await.expect("readable");
            let batches: Vec<RecordBatch> = batches.try_collect().await.expect("readable");
            for batch in batches {
                let column = |name| batch.column_by_name(name).expect("there");
                let (ids, values) = (
                    column("id").as_primitive::<Int64Type>(),
                    column("value").as_primitive::<Int64Type>(),
                );
                let times = column("at").as_primitive::<TimestampMicrosecondType>();
                let sources = column("_tg_src").as_string::<i32>();
                for n in 0..batch.num_rows() {
                    assert!(times.is_valid(n) && sources.is_valid(n));
                    let row = Row {
                        id: ids.value(n),
                        at: times.value(n) / SECOND,
                        value: values.value(n),
                    };
                    let source = sources.value(n).rsplit('/').next().expect("a part");
                    rows.push((row, source.to_owned()));
                }
            }
        }
        rows.sort_unstable();
        rows
    }

    /// The rows alone.
    pub(super) async fn values(&self) -> Vec<Row> {
        self.rows().await.into_iter().map(|(row, _)| row).collect()
    }

    /// What the log says of the partition.
    pub(super) async fn partition(&self, partition: u32) -> PartitionState {
        let snapshot = self.lake.snapshot().await;
        let state = LedgerState::read(snapshot.txns(), &self.ledger, self.life).expect("ours");
        state.partition(PartitionId(partition))
    }

    /// The records, the newest first.
    pub(super) async fn records(&self) -> Vec<RepairRecord> {
        let floors = StreamFloors::read(self.lake.snapshot().await.txns(), &self.ledger);
        let newest = floors.expect("ours").record;
        let store = self.lake.store.data.as_ref();
        let (records, broken) = RepairRecord::chain(store, &self.ledger, newest).await;
        assert!(broken.is_none(), "{broken:?}");
        records
    }

    /// What holds at any time, over all lives: the counters say how many streamed rows there are, and the
    /// records which went.
    pub(super) async fn is_consistent(&self) {
        let of_runs = |source: &str| source.starts_with('g');
        let streamed =
            self.rows().await.iter().filter(|(_, source)| !of_runs(source)).count() as u64;
        let floors = StreamFloors::read(self.lake.snapshot().await.txns(), &self.ledger);
        let floors = floors.expect("ours");
        let (mut expected, mut superseded) = (0, 0);
        for now in floors.lives.values().flat_map(BTreeMap::values) {
            assert!(now.counters.conserved());
            expected += now.counters.rows - now.superseded;
            superseded += now.superseded;
        }
        assert_eq!(streamed, expected, "rows against counters");
        let recorded: u64 = self.records().await.iter().map(RepairRecord::removed_rows).sum();
        assert_eq!(recorded, superseded, "rows that records took out");
    }

    pub(super) fn options(&self, interval: DataInterval) -> TransferOptions {
        self.lake.options(Trigger::Repair, Some(interval))
    }
}
