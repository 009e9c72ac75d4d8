//! The recount: every message that the stream still holds up to the floor is a row, a dead letter, or
//! one of the counted duplicates and filtered records.

use object_store::ObjectStore;
use tidegate_runtime::RunError;
use tidegate_runtime::secrets::Secrets;
use tidegate_source::{KnownMessage, count_headers_only, known_message, stream_facts};
use tidegate_table::ledger::{Cut, RepairRecord};
use tidegate_table::replace::RemovedRange;
use tidegate_types::{Incarnation, PartitionId, Position};

use super::report::VerifyReport;
use super::{Scope, filters};
use crate::source_setup;

/// What repairs took out of an incarnation.
struct Replaced {
    incarnation: Incarnation,
    /// None where a record cannot be used.
    records: Option<Vec<RepairRecord>>,
}

impl Replaced {
    async fn read(scope: &Scope<'_>, store: &dyn ObjectStore) -> Self {
        let ledger = &scope.config.ledger;
        let (records, broken) = RepairRecord::chain(store, ledger, scope.state.record).await;
        Self { incarnation: scope.incarnation, records: broken.is_none().then_some(records) }
    }

    /// The most rows of messages at `from` and above that repairs took out of a partition, of which it
    /// counts `superseded` altogether.
    fn at_most(&self, partition: PartitionId, from: u64, superseded: u64) -> u64 {
        let Some(records) = &self.records else { return superseded };
        let own = |cut: &&Cut| cut.incarnation == self.incarnation && cut.partition == partition;
        let cuts = records.iter().flat_map(|record| &record.cuts).filter(own);
        cuts.flat_map(|cut| &cut.removed).map(|range| rows_from(range, from)).sum()
    }
}

/// The most rows of a range that can be of messages at `from` and above.
fn rows_from(range: &RemovedRange, from: u64) -> u64 {
    if from <= range.from {
        return range.rows;
    }
    let messages = range.to.saturating_add(1).saturating_sub(from);
    range.rows.min(messages)
}

/// What the recount of one partition saw.
#[derive(Default)]
struct Recount {
    messages: u64,
    /// Messages that are neither row nor dead letter.
    elsewhere: u64,
}

/// Recounts the incarnation if the stream still is the one that it was read from.
pub(super) async fn recount(
    scope: &Scope<'_>,
    secrets: &Secrets,
    store: &dyn ObjectStore,
    report: &mut VerifyReport,
) -> Result<(), RunError> {
    let source = &scope.config.source;
    let name = "tidegate verify".to_owned();
    let connection = source_setup::connect(source, secrets, false, name).await?;
    let facts = stream_facts(&connection, &source.stream).await?;
    let known = &scope.state.incarnations;
    let newest = source_setup::newest_known(&facts, |k| known.contains_key(k));
    if newest != Some(scope.incarnation) {
        let detail = format!("{} was read from an earlier life of the stream", scope.source);
        report.not_provable("source", detail);
        return Ok(());
    }
    let replaced = Replaced::read(scope, store).await;
    for (partition, filter) in filters(scope.config) {
        let Some(state) = scope.state.partitions.get(&partition) else { continue };
        let floor = state.floor.unwrap_or_default();
        if facts.last_sequence < floor.0 {
            let last = facts.last_sequence;
            report.damaged(
                "source",
                format!("the stream ends at {last}, partition {partition} was read to {floor}"),
            );
            continue;
        }
        check_floor_message(
            &connection,
            &facts.name,
            partition,
            (floor, state.fingerprint),
            report,
        )
        .await?;
        let start = scope.history.initial.get(&partition).copied();
        let from = facts.first_sequence.max(start.map_or(1, Position::next));
        let mut scan =
            count_headers_only(&connection, &facts.name, filter.as_deref(), (from, floor.0), None);
        let rows = scope.rows.of(&scope.source, partition);
        let dead = scope.dead.of(&scope.source, partition);
        let mut seen = Recount::default();
        while let Some(batch) = scan.next_batch().await? {
            for message in batch {
                seen.messages += 1;
                let found = rows.contains(message.sequence) || dead.contains(message.sequence);
                seen.elsewhere += u64::from(!found);
            }
        }
        let whole = start.is_some_and(|start| from == start.next());
        let gone = state.removed + replaced.at_most(partition, from, state.superseded);
        judge(scope, partition, (from, floor), (whole, gone), &seen, report);
        *report.source_messages.get_or_insert(0) += seen.messages;
    }
    report.checked(format!("the messages that stream {} still holds, one by one", facts.name));
    Ok(())
}

async fn check_floor_message(
    connection: &tidegate_source::Connection,
    stream: &str,
    partition: PartitionId,
    (floor, fingerprint): (Position, i64),
    report: &mut VerifyReport,
) -> Result<(), RunError> {
    if fingerprint == 0 || floor == Position(0) {
        return Ok(());
    }
    let expected = KnownMessage { sequence: floor.0, fingerprint };
    let found = known_message(connection, stream, floor.0).await?;
    if found.is_some_and(|found| found != expected) {
        report.damaged(
            "source",
            format!("another message stands at the floor {floor} of partition {partition}"),
        );
    }
    Ok(())
}

/// Rows that are not there may be what a recorded edit removed (T3).
fn missing(scope: &Scope<'_>, detail: String, report: &mut VerifyReport) {
    if scope.history.foreign_edits {
        report.not_provable("source", detail);
    } else {
        report.damaged("source", detail);
    }
}

fn judge(
    scope: &Scope<'_>,
    partition: PartitionId,
    (from, floor): (u64, Position),
    (whole, gone): (bool, u64),
    seen: &Recount,
    report: &mut VerifyReport,
) {
    let Some(state) = scope.state.partitions.get(&partition) else { return };
    let counters = &state.counters;
    // Dead letters that wait for their own commit are neither (P4), nor are rows that a repair took out (B10).
    let dropped = counters.duplicate + counters.filtered + scope.hidden(partition) + gone;
    if seen.elsewhere > dropped {
        let detail = format!(
            "partition {partition}: {} messages from {from} to {floor} are neither row nor dead letter, \
             and only {dropped} were counted as duplicate, filtered or taken out",
            seen.elsewhere
        );
        missing(scope, detail, report);
    } else if whole && (seen.messages != counters.read || seen.elsewhere != dropped) {
        let detail = format!(
            "partition {partition}: the stream holds {} messages from {from} to {floor}, {} were counted; \
             {} are neither row nor dead letter, {dropped} were counted as duplicate, filtered or taken out",
            seen.messages, counters.read, seen.elsewhere
        );
        // Others can change which rows are there, not how many messages were counted.
        if seen.messages == counters.read {
            missing(scope, detail, report);
        } else {
            report.damaged("source", detail);
        }
    } else if !whole {
        let detail = format!(
            "partition {partition}: the stream begins at {from}; what was before it is gone and cannot be recounted"
        );
        report.not_provable("source", detail);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_table::ledger::RepairedTime;
    use tidegate_types::{DataInterval, Ledger};

    use super::*;

    fn record(life: Incarnation, partition: u32, removed: &[RemovedRange]) -> RepairRecord {
        let at = |second| jiff::Timestamp::from_second(second).expect("in range");
        let (partition, floor) = (PartitionId(partition), Position(100));
        let removed = removed.to_vec();
        RepairRecord {
            before: None,
            interval: DataInterval::new(at(0), at(3600)).expect("not empty"),
            event_time: "at".to_owned(),
            by: Ledger::new("l").expect("valid"),
            generation: 1,
            rows: 0,
            replaced: 0,
            cuts: vec![Cut { incarnation: life, partition, floor, removed }],
            repaired: RepairedTime::default(),
        }
    }

    #[test]
    fn t3_rows_that_were_repaired_before_the_streams_first_message_excuse_nothing_behind_it() {
        let (life, other) = (Incarnation::derive("S", "", 0), Incarnation::derive("S", "", 1));
        let range = |from, to, rows| RemovedRange { from, to, rows };
        let records = vec![
            record(life, 0, &[range(1, 10, 8), range(20, 29, 6)]),
            record(life, 0, &[range(40, 40, 1)]),
            record(life, 1, &[range(1, 50, 50)]),
            record(other, 0, &[range(1, 50, 50)]),
        ];
        let mut replaced = Replaced { incarnation: life, records: Some(records) };
        for (from, expected) in [(1, 15), (11, 7), (20, 7), (24, 7), (28, 3), (30, 1), (41, 0)] {
            assert_eq!(replaced.at_most(PartitionId(0), from, 15), expected, "from {from}");
        }
        // Which rows went is not known any more.
        replaced.records = None;
        assert_eq!(replaced.at_most(PartitionId(0), 41, 15), 15);
    }
}
