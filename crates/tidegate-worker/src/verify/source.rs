//! The recount: every message that the stream still holds up to the floor is a row, a dead letter, or
//! one of the counted duplicates and filtered records.

use tidegate_runtime::RunError;
use tidegate_runtime::secrets::Secrets;
use tidegate_source::{KnownMessage, count_headers_only, known_message, stream_facts};
use tidegate_types::{PartitionId, Position};

use super::report::VerifyReport;
use super::{Scope, filters};
use crate::source_setup;

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
        judge(scope, partition, (from, floor), whole, &seen, report);
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
    whole: bool,
    seen: &Recount,
    report: &mut VerifyReport,
) {
    let Some(state) = scope.state.partitions.get(&partition) else { return };
    let counters = &state.counters;
    // Dead letters that wait for their own commit are neither (P4), nor are rows that a repair took out (B10).
    let gone = state.removed + state.superseded;
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
