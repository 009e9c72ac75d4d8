//! Dead letters on their way to their own table (P4).
//!
//! The file is written before the main commit that names it and becomes visible after it, by whoever
//! holds a partition of the ledger. There is one decision, the main commit; this only follows it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use bytes::Bytes;
use tidegate_runtime::{Random, RunError, failpoint};
use tidegate_table::dead_letter::{
    self, DeadLetterFooter, RollForward, decide_roll_forward, pending,
};
use tidegate_table::files::layout::DataPath;
use tidegate_table::files::{WriteOptions, describe_file, write_file};
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::{
    CommitKind, CommitLog, CommitRequest, CommitTag, Outcome, RetryPolicy, TableSnapshot,
};
use tidegate_types::{Incarnation, Ledger, Nonce, PartitionId, Reason, StreamTime};
use tracing::debug;

/// A record that is no row, as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    pub(crate) partition: PartitionId,
    pub(crate) sequence: u64,
    pub(crate) subject: Box<str>,
    pub(crate) time: StreamTime,
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    pub(crate) payload: Bytes,
    pub(crate) id: Option<Bytes>,
}

/// The dead-letter table of one ledger.
pub(crate) struct DeadLetters {
    pub(crate) log: CommitLog,
    pub(crate) ledger: Ledger,
    pub(crate) incarnation: Incarnation,
    /// `_tg_src` of the rows.
    pub(crate) source: String,
    /// The last snapshot read; none before the table was needed.
    pub(crate) snapshot: Option<TableSnapshot>,
}

impl DeadLetters {
    /// Writes the dead letters of a batch as one file, invisible until the main commit names `nonce`.
    pub(crate) async fn write(
        &self,
        nonce: Nonce,
        partitions: &[PartitionId],
        dead: &[DeadLetter],
    ) -> Result<(), RunError> {
        let footer = DeadLetterFooter {
            ledger: self.ledger.clone(),
            incarnation: self.incarnation,
            partitions: partitions.to_vec(),
            nonce,
        };
        let options = WriteOptions { metadata: footer.to_key_values(), ..WriteOptions::default() };
        let rows = self.rows(nonce, dead)?;
        let path = DataPath::dead_letters(&self.ledger, nonce);
        let store = Arc::clone(self.log.store());
        write_file(store, path, dead_letter::stream_schema(), &[rows], &options).await?;
        Ok(())
    }

    fn rows(&self, nonce: Nonce, dead: &[DeadLetter]) -> Result<RecordBatch, RunError> {
        let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let long = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let times = dead.iter().map(|d| d.time.0);
        let ids: Vec<Option<&[u8]>> = dead.iter().map(|d| d.id.as_deref()).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::new_repeated(&self.source, dead.len())),
            Arc::new(Int32Array::from_iter_values(dead.iter().map(|d| int(d.partition.0)))),
            Arc::new(Int64Array::from_iter_values(dead.iter().map(|d| long(d.sequence)))),
            Arc::new(Int32Array::from_value(0, dead.len())),
            Arc::new(StringArray::from_iter_values(dead.iter().map(|d| &d.subject))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(dead.iter().map(|d| d.reason.as_str()))),
            Arc::new(StringArray::from_iter_values(dead.iter().map(|d| &d.detail))),
            Arc::new(BinaryArray::from_iter_values(dead.iter().map(|d| &d.payload))),
            Arc::new(BinaryArray::from(ids)),
            Arc::new(StringArray::new_repeated(nonce.to_string(), dead.len())),
        ];
        RecordBatch::try_new(dead_letter::stream_schema(), columns).map_err(|source| {
            RunError::permanent(Reason::TableMismatch, "dead letters could not be laid out")
                .because(source)
        })
    }

    /// Commits every file that the main table, at `main_log`, names and the dead-letter table lacks.
    pub(crate) async fn roll_forward(
        &mut self,
        main_log: &CommitLog,
        main: &TableSnapshot,
        random: &mut Random,
    ) -> Result<(), RunError> {
        let state = self.state_of(main)?;
        if state.partitions.values().all(|partition| partition.dead_letter.is_none()) {
            return Ok(());
        }
        for nonce in pending(&state, &self.known_state()?).into_keys() {
            self.roll_one_forward(nonce, main_log, main, random).await?;
        }
        Ok(())
    }

    async fn roll_one_forward(
        &mut self,
        nonce: Nonce,
        main_log: &CommitLog,
        main: &TableSnapshot,
        random: &mut Random,
    ) -> Result<(), RunError> {
        let path = DataPath::dead_letters(&self.ledger, nonce);
        let (file, entries) =
            describe_file(self.log.store(), &path, &dead_letter::stream_schema()).await?;
        let footer = DeadLetterFooter::from_key_values(&entries).map_err(|source| {
            let what = format!("dead-letter file {} is damaged", path.in_log());
            RunError::permanent(Reason::DeadLetterCommitPending, what).because(source)
        })?;
        let mut main = main.clone();
        loop {
            let snapshot = self.fresh_snapshot(random).await?;
            // Others roll forward too: the main table may have moved on to later dead letters, which are in
            // already. Only read after this table it shows whether these still lack, however long ago
            // this table was read for the first time.
            main = main_log.refresh(&main).await?.0;
            let state = self.state_of(&main)?;
            let txns = match decide_roll_forward(&footer, &state, &self.known_state()?) {
                RollForward::Commit(txns) => txns,
                RollForward::Done | RollForward::NotCommitted => return Ok(()),
            };
            let tag = self.tag(random);
            let adds = vec![file.clone()];
            let request = CommitRequest { txns, adds, ..CommitRequest::new(tag) };
            failpoint::hit("dead_letters.before_commit");
            let prepared = self.log.prepare(&snapshot, &request).await?;
            let forever = std::future::pending();
            let outcome = self.log.settle(&prepared, &RetryPolicy::default(), forever).await?;
            failpoint::hit("dead_letters.after_commit");
            debug!(%nonce, ?outcome, "dead letters rolled forward");
            if matches!(outcome, Outcome::Won) {
                self.fresh_snapshot(random).await?;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(u64::from(5 + random.up_to(45)))).await;
        }
    }

    fn tag(&self, random: &mut Random) -> CommitTag {
        let kind = CommitKind::DeadLetters;
        CommitTag { ledger: self.ledger.clone(), kind, nonce: random.nonce() }
    }

    fn known_state(&self) -> Result<LedgerState, RunError> {
        self.snapshot
            .as_ref()
            .map_or_else(|| Ok(LedgerState::default()), |known| self.state_of(known))
    }

    fn state_of(&self, snapshot: &TableSnapshot) -> Result<LedgerState, RunError> {
        Ok(LedgerState::read(snapshot.txns(), &self.ledger, self.incarnation)?)
    }

    /// The newest snapshot; the table is made when it is not there yet.
    async fn fresh_snapshot(&mut self, random: &mut Random) -> Result<TableSnapshot, RunError> {
        let snapshot = match &self.snapshot {
            Some(snapshot) => self.log.refresh(snapshot).await?.0,
            None => {
                let tag = self.tag(random);
                let spec = dead_letter::table_spec();
                tidegate_runtime::table::open_or_create(&self.log, &spec, &CommitRequest::new(tag))
                    .await?
            }
        };
        self.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::datatypes::{DataType, Field, Schema};
    use object_store::memory::InMemory;
    use tidegate_table::ledger::{PositionField, TxnName};
    use tidegate_table::log::TableSpec;
    use url::Url;

    use super::*;
    use tidegate_runtime::table::open_or_create;

    fn ledger() -> Ledger {
        Ledger::new("l").expect("valid")
    }

    /// A main table, and the dead letters of `workers` workers beside it.
    struct Lake {
        main: CommitLog,
        workers: Vec<DeadLetters>,
        random: Random,
    }

    impl Lake {
        async fn new(workers: usize) -> Self {
            let root = Url::parse("memory:///t/").expect("a url");
            let table = || CommitLog::new(Arc::new(InMemory::new()), root.clone());
            let (main, dead) = (table(), table());
            let incarnation = Incarnation::derive("S", "", 0);
            let worker = || DeadLetters {
                log: dead.clone(),
                ledger: ledger(),
                incarnation,
                source: "l/0".into(),
                snapshot: None,
            };
            let workers = (0..workers).map(|_| worker()).collect();
            let mut lake = Self { main: main.clone(), workers, random: Random::from_system() };
            let columns = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
            let spec = TableSpec::new(Arc::new(columns), vec![]);
            let first = lake.request(BTreeMap::new());
            open_or_create(&main, &spec, &first).await.expect("a table");
            lake
        }

        fn request(&mut self, txns: BTreeMap<String, i64>) -> CommitRequest {
            let nonce = self.random.nonce();
            let tag = CommitTag { ledger: ledger(), kind: CommitKind::Data, nonce };
            CommitRequest { txns, ..CommitRequest::new(tag) }
        }

        async fn main_now(&self) -> TableSnapshot {
            self.main.load().await.expect("readable").expect("there")
        }

        /// A main commit of a partition that carries one dead letter; the table after it.
        async fn commit(&mut self, partition: u32, number: i64) -> TableSnapshot {
            let (partition, nonce) =
                (PartitionId(partition), Nonce::from_txn(number).expect("one"));
            let letter = DeadLetter {
                partition,
                sequence: number.unsigned_abs(),
                subject: "s".into(),
                time: StreamTime(0),
                reason: Reason::MissingKey,
                detail: String::new(),
                payload: Bytes::new(),
                id: None,
            };
            let worker = &self.workers[0];
            worker.write(nonce, &[partition], &[letter]).await.expect("written");
            let name = TxnName::Position(
                ledger(),
                worker.incarnation,
                partition,
                PositionField::DeadLetter,
            );
            let request = self.request(BTreeMap::from([(name.to_string(), number)]));
            let now = self.main_now().await;
            let prepared = self.main.prepare(&now, &request).await.expect("prepared");
            let never = std::future::pending();
            let won = self.main.settle(&prepared, &RetryPolicy::default(), never).await;
            assert!(matches!(won, Ok(Outcome::Won)), "{won:?}");
            self.main_now().await
        }

        async fn roll(&mut self, worker: usize, main: &TableSnapshot) {
            let Self { main: log, workers, random } = self;
            workers[worker].roll_forward(log, main, random).await.expect("rolled forward");
        }

        async fn files(&self) -> usize {
            let log = &self.workers[0].log;
            let snapshot = log.load().await.expect("readable").expect("there");
            let added = log.history(0).await.expect("readable");
            let live = log.live_files(&snapshot).await.expect("readable").len();
            let adds: usize = added.iter().map(|entry| entry.adds.len()).sum();
            assert_eq!(adds, live, "a file was added twice");
            live
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn p4_what_others_rolled_forward_is_not_added_again_by_one_who_looks_at_an_older_main_table()
     {
        let mut lake = Lake::new(2).await;
        // Partition 0 is the first worker's, partition 1 the second's.
        let main = lake.commit(0, 5).await;
        lake.roll(0, &main).await;
        let seen_by_second = lake.commit(1, 6).await;
        // Before the second has brought in its own, the first goes on.
        let main = lake.commit(0, 7).await;
        lake.roll(0, &main).await;
        lake.roll(1, &seen_by_second).await;
        // Its next batch comes before it reads the main table again, while nobody else does anything.
        lake.roll(1, &seen_by_second).await;
        lake.roll(1, &seen_by_second).await;
        assert_eq!(lake.files().await, 3);
    }
}
