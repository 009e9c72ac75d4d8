//! What waits in the stream behind the floors (S4), asked of the broker.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use tidegate_source::{
    Connection, RetentionKind, SourceError, StreamFacts, next_message, next_message_time,
    pending_after,
};
use tidegate_types::{PartitionId, Position, StreamTime};

/// Partitions that are asked about at once.
const AT_ONCE: usize = 8;

/// One partition as it was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    floor: Position,
    /// The stream's last sequence before the question.
    last_sequence: u64,
    pending: u64,
    /// The broker's time before the question, when nothing waited.
    caught_up: Option<StreamTime>,
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Backlog {
    looks: BTreeMap<PartitionId, Look>,
    /// When the oldest message behind a floor was published.
    oldest: Option<StreamTime>,
}

/// The partitions that are asked about.
#[derive(Clone, Copy)]
pub(super) struct Partitions<'a> {
    /// What each reads; none: the whole stream.
    pub(super) filters: &'a BTreeMap<PartitionId, Option<String>>,
    /// Where those are that have begun.
    pub(super) floors: &'a BTreeMap<PartitionId, Position>,
}

impl Backlog {
    /// Messages.
    pub(super) fn messages(&self) -> u64 {
        self.looks.values().map(|look| look.pending).sum()
    }

    /// Seconds since the oldest was published, at `now` in microseconds since 1970; 0 when none waits.
    pub(super) fn seconds(&self, now: i64) -> u64 {
        let age = self.oldest.map_or(0, |oldest| now.saturating_sub(oldest.0));
        u64::try_from(age / 1_000_000).unwrap_or(0)
    }

    /// The instant before which everything published to a partition is behind its floor: when it was asked,
    /// where nothing waited, and else when the oldest message that waits anywhere was published. Whoever asks
    /// later is never told an earlier one, and needs no memory for that.
    pub(super) fn caught_up(&self) -> impl Iterator<Item = (PartitionId, StreamTime)> + '_ {
        self.looks.iter().filter_map(|(k, look)| Some((*k, look.caught_up.or(self.oldest)?)))
    }

    /// Asks about every partition of which the look before is not the answer. `facts` are of before.
    pub(super) async fn ask(
        connection: &Connection,
        facts: &StreamFacts,
        Partitions { filters, floors }: Partitions<'_>,
        before: Option<&Self>,
    ) -> Result<Self, SourceError> {
        if facts.retention != RetentionKind::Limits {
            return Self::of_unacknowledged(connection, facts, filters).await;
        }
        let asked = filters.iter().map(|(partition, filter)| async move {
            let floor = floors.get(partition).copied().unwrap_or_default();
            let known = before.and_then(|before| before.looks.get(partition));
            let look = match settled(facts, floor, known) {
                Some(look) => look,
                None => look(connection, facts, filter.as_deref(), floor).await?,
            };
            Ok::<_, SourceError>((*partition, look))
        });
        let looks: BTreeMap<_, _> =
            futures::stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
        let waiting = looks.iter().filter(|(_, look)| look.pending > 0);
        let from: Vec<_> = waiting.map(|(k, look)| (look.floor, &filters[k])).collect();
        let oldest = oldest(connection, &facts.name, from).await?;
        Ok(Self { looks, oldest })
    }

    /// Of a stream from which messages go as they are acknowledged: everything in it waits. A second
    /// consumer that counts would be refused there, so the partitions are not told apart.
    async fn of_unacknowledged(
        connection: &Connection,
        facts: &StreamFacts,
        filters: &BTreeMap<PartitionId, Option<String>>,
    ) -> Result<Self, SourceError> {
        let caught_up = facts.as_of.filter(|_| facts.messages == 0);
        let (floor, last_sequence) = (Position::default(), facts.last_sequence);
        let mut pending = facts.messages;
        let look = |partition: &PartitionId| {
            let pending = std::mem::take(&mut pending);
            (*partition, Look { floor, last_sequence, pending, caught_up })
        };
        let looks = filters.keys().map(look).collect();
        let from = match facts.messages {
            0 => Vec::new(),
            _ => vec![(Position(facts.first_sequence.saturating_sub(1)), &None)],
        };
        Ok(Self { looks, oldest: oldest(connection, &facts.name, from).await? })
    }
}

/// The answer when the stream has nothing new since the floor or since the look before.
fn settled(facts: &StreamFacts, floor: Position, known: Option<&Look>) -> Option<Look> {
    let last_sequence = facts.last_sequence;
    let nothing = Look { floor, last_sequence, pending: 0, caught_up: facts.as_of };
    if floor.0 >= last_sequence {
        return Some(nothing);
    }
    let known = known.filter(|k| k.floor == floor && k.last_sequence == last_sequence)?;
    if known.pending == 0 { Some(nothing) } else { Some(*known) }
}

async fn look(
    connection: &Connection,
    facts: &StreamFacts,
    filter: Option<&str>,
    floor: Position,
) -> Result<Look, SourceError> {
    let last_sequence = facts.last_sequence;
    let pending = pending_after(connection, &facts.name, filter, floor).await?;
    let pending = match pending {
        // A consumer that lags behind may count nothing: only the stream's leader knows (S4).
        0 => {
            u64::from(next_message(connection, &facts.name, filter, floor.next()).await?.is_some())
        }
        counted => counted,
    };
    let caught_up = facts.as_of.filter(|_| pending == 0);
    Ok(Look { floor, last_sequence, pending, caught_up })
}

/// When the first message behind any of these floors was published. Sequences rise with time, so the
/// partitions are asked from the lowest floor on, until no other can have an older message.
async fn oldest(
    connection: &Connection,
    stream: &str,
    mut from: Vec<(Position, &Option<String>)>,
) -> Result<Option<StreamTime>, SourceError> {
    from.sort_by_key(|(floor, _)| *floor);
    let mut oldest: Option<(u64, StreamTime)> = None;
    for (floor, filter) in from {
        if oldest.is_some_and(|(sequence, _)| sequence <= floor.next()) {
            break;
        }
        let next = next_message_time(connection, stream, filter.as_deref(), floor.next()).await?;
        oldest = match (oldest, next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    Ok(oldest.map(|(_, time)| time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_with(pending: u64) -> Look {
        Look { floor: Position(5), last_sequence: 9, pending, caught_up: None }
    }

    #[test]
    fn an_age_is_of_the_oldest_message_and_never_negative() {
        let backlog = Backlog { oldest: Some(StreamTime(2_000_000)), ..Backlog::default() };
        assert_eq!(backlog.seconds(9_500_000), 7);
        assert_eq!(backlog.seconds(0), 0, "clocks differ");
        assert_eq!(Backlog::default().seconds(9_500_000), 0);
    }

    #[test]
    fn what_was_complete_once_is_complete_for_whoever_looks_later() {
        let at = |seconds: i64| StreamTime(seconds * 1_000_000);
        let caught_up = |seconds| Look { caught_up: Some(at(seconds)), ..look_with(0) };
        let through = |looks: [Look; 2], oldest| {
            let looks = [PartitionId(0), PartitionId(1)].into_iter().zip(looks).collect();
            let backlog = Backlog { looks, oldest };
            let known: Vec<_> = backlog.caught_up().map(|(_, time)| time).collect();
            assert_eq!(known.len(), 2, "of every partition");
            known.into_iter().min()
        };
        let before = through([caught_up(100), caught_up(100)], None);
        // A message came since; another process looks and knows nothing of the look before.
        let after = through([look_with(3), caught_up(130)], Some(at(120)));
        assert_eq!((before, after), (Some(at(100)), Some(at(120))));
        let later = through([look_with(3), look_with(1)], Some(at(120)));
        assert_eq!(later, Some(at(120)));
    }

    #[test]
    fn what_waits_adds_up_over_the_partitions() {
        let looks =
            BTreeMap::from([(PartitionId(0), look_with(3)), (PartitionId(1), look_with(4))]);
        assert_eq!(Backlog { looks, oldest: None }.messages(), 7);
    }
}
