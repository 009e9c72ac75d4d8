//! The consumer behind a reader: its name, its life, and those of older epochs.

use std::time::Duration;

use tidegate_types::Position;

use crate::connection::Connection;
use crate::consumer::{self, AckPolicy, ConsumerSpec, DeliverFrom};
use crate::error::SourceError;
use crate::options::{ReadMode, ReaderOptions};
use crate::registration::{owner_hash, owner_metadata};

/// How long a consumer of an epoch outlives its last pull: longer than a broker's restart, short enough
/// that a worker that never comes back leaves nothing behind.
const LIFETIME: Duration = Duration::from_secs(300);

/// Everything that the consumers of one ledger, table and partition have in common. Two tables may hold
/// ledgers of one name, whose epochs say nothing about each other.
fn name_stem(options: &ReaderOptions) -> String {
    let hash = owner_hash(&options.ledger, &options.table_url);
    format!("tg-{hash:016x}-{}", options.partition)
}

/// The consumer's name. With a position in the log it carries the epoch, so that the pulls of a fenced
/// worker do not touch its successor's consumer; where the broker holds the position it must not.
pub(crate) fn consumer_name(options: &ReaderOptions) -> String {
    match options.mode {
        ReadMode::FromFloor => format!("{}-e{}", name_stem(options), options.epoch.0),
        ReadMode::AckAfterCommit | ReadMode::AckOnReceipt => name_stem(options),
    }
}

/// Makes the consumer anew, at cursor + 1.
pub(crate) async fn fresh(
    connection: &Connection,
    options: &ReaderOptions,
    name: &str,
    cursor: Position,
) -> Result<(), SourceError> {
    consumer::delete(connection, &options.stream, name).await?;
    let spec = specification(options, name, DeliverFrom::Sequence(cursor.next()));
    consumer::create(connection, &options.stream, &spec).await.map(drop)
}

/// Makes the consumer if it is not there. What it holds is the position, so it is never made anew.
pub(crate) async fn kept(
    connection: &Connection,
    options: &ReaderOptions,
    name: &str,
    cursor: Position,
) -> Result<(), SourceError> {
    if consumer::info(connection, &options.stream, name).await?.is_some() {
        return Ok(());
    }
    let from = match options.mode {
        // A WorkQueue stream allows nothing else, and what is in it was not acknowledged.
        ReadMode::AckAfterCommit => DeliverFrom::Start,
        ReadMode::FromFloor | ReadMode::AckOnReceipt => DeliverFrom::Sequence(cursor.next()),
    };
    let spec = specification(options, name, from);
    consumer::create(connection, &options.stream, &spec).await.map(drop)
}

/// Removes the consumers of older epochs. That this is not possible (a missing right, say) is no
/// obstacle: the broker removes them when nobody pulls.
pub(crate) async fn delete_older(connection: &Connection, options: &ReaderOptions) {
    let deleted = async {
        for info in consumer::list(connection, &options.stream).await? {
            if is_older(options, &info.name) {
                consumer::delete(connection, &options.stream, &info.name).await?;
            }
        }
        Ok::<_, SourceError>(())
    };
    if let Err(error) = deleted.await {
        tracing::debug!(stream = options.stream, %error, "older consumers are left to the broker");
    }
}

fn is_older(options: &ReaderOptions, name: &str) -> bool {
    let epoch = name.strip_prefix(&name_stem(options)).and_then(|rest| rest.strip_prefix("-e"));
    let epoch = epoch.and_then(|epoch| epoch.parse::<i64>().ok());
    options.mode == ReadMode::FromFloor && epoch.is_some_and(|epoch| epoch < options.epoch.0)
}

fn specification(options: &ReaderOptions, name: &str, from: DeliverFrom) -> ConsumerSpec {
    let most_pending = options.max_unacknowledged.max(2 * options.batch_messages);
    let (acks, lifetime) = match options.mode {
        ReadMode::FromFloor => (AckPolicy::None, Some(LIFETIME)),
        ReadMode::AckAfterCommit => {
            (AckPolicy::Explicit { wait: options.ack_wait, most_pending }, None)
        }
        ReadMode::AckOnReceipt => (AckPolicy::AllOnce { most_pending }, None),
    };
    ConsumerSpec {
        name: name.to_owned(),
        from,
        acks,
        filter: options.filter.clone(),
        headers_only: false,
        lifetime,
        durable: true,
        metadata: owner_metadata(&options.ledger, &options.table_url),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::{Epoch, Ledger, PartitionId};

    use super::*;

    #[test]
    fn only_consumers_of_older_epochs_of_the_same_partition_are_removed() {
        let ledger = Ledger::new("a.b").expect("valid");
        let mut options = ReaderOptions::new("S", ledger, "file:///t");
        (options.partition, options.epoch) = (PartitionId(1), Epoch(20));
        let name = consumer_name(&options);
        assert!(name.ends_with("-1-e20"), "{name}");
        let with = |partition: u32, epoch: i64| {
            let mut other = options.clone();
            (other.partition, other.epoch) = (PartitionId(partition), Epoch(epoch));
            consumer_name(&other)
        };
        assert!(is_older(&options, &with(1, 19)));
        let elsewhere = consumer_name(&ReaderOptions {
            table_url: "file:///u".into(),
            epoch: Epoch(3),
            ..options.clone()
        });
        for name in [with(1, 20), with(1, 21), with(11, 3), with(0, 3), elsewhere, "other".into()] {
            assert!(!is_older(&options, &name), "{name}");
        }
        let older = with(1, 19);
        options.mode = ReadMode::AckAfterCommit;
        assert!(consumer_name(&options).ends_with("-1"));
        assert!(!is_older(&options, &older));
    }
}
