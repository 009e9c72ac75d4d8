//! The end of a round: everything that was published, exactly once, by the word of strangers.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_source::{count_headers_only, leader_last_sequence};
use tidegate_testing::readers::{Engine, TableReading};

use crate::traffic::Published;
use crate::world::{STREAM, World};

const LONG: Duration = Duration::from_secs(120);

/// What the publisher can say of its own messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Each message was stored as often as the broker confirmed.
    Exact,
    /// The broker died over confirmations: poison, which has no place in the window, may be stored
    /// twice. The stream is asked how often.
    PoisonMayBeStoredTwice,
    /// Messages were removed from the stream: what is left of it is counted.
    Trimmed,
}

/// Lets a last worker catch up and looks at the table.
pub(crate) async fn judge(world: &mut World, promise: Promise) -> Result<()> {
    let published = world.traffic.pause().await;
    let mut last = world.live(|command| command.argument("--until-caught-up"))?;
    let status = last.wait(LONG).await?;
    ensure!(status.success(), "the last worker failed: {status}\n{}", last.output());
    let poison = match promise {
        Promise::Exact | Promise::Trimmed => published.poison,
        Promise::PoisonMayBeStoredTwice => stored_poison(world).await?,
    };
    let seen = world.question().engines(&[Engine::Deltalake, Engine::DuckDb]).with_ids();
    check_rows(&seen.agreed().await?, &published, poison)?;
    check_counters(world, &published, poison, promise).await?;
    verify(world, promise).await
}

async fn verify(world: &World, promise: Promise) -> Result<()> {
    let (code, output) = world.verify(LONG).await?;
    let proven = code == Some(0) && output.contains("\nok: ");
    let only_trimmed = || {
        let mut doubts = output.lines().filter(|line| line.trim_start().starts_with("unproven"));
        code == Some(2) && doubts.all(|line| line.contains("what was before it is gone"))
    };
    let good = if promise == Promise::Trimmed { only_trimmed() } else { proven };
    ensure!(good, "verify, exit code {code:?}:\n{output}");
    Ok(())
}

fn check_rows(seen: &TableReading, published: &Published, poison: u64) -> Result<()> {
    let mut expected: Vec<_> = (0..published.ids).map(|number| format!("e-{number}")).collect();
    expected.sort();
    let missing = expected.iter().filter(|id| seen.ids.binary_search(id).is_err()).count();
    ensure!(
        seen.ids == expected,
        "{} rows for {} ids, {missing} missing, {} identities",
        seen.rows,
        expected.len(),
        seen.distinct_identities
    );
    ensure!(seen.null_ids == 0 && seen.distinct_identities == seen.rows, "a row is doubled");
    let dead = &seen.dead_letters;
    ensure!(dead.rows == poison, "{} dead letters, {poison} were poison", dead.rows);
    ensure!(dead.distinct_identities == dead.rows, "a dead letter is doubled");
    let mut digests = dead.payload_digests.clone();
    digests.dedup();
    ensure!(digests.len() as u64 == published.poison, "poison of one kind is missing");
    Ok(())
}

/// The counters of the log against the publisher's; and late copies did reach us.
async fn check_counters(
    world: &mut World,
    published: &Published,
    poison: u64,
    promise: Promise,
) -> Result<()> {
    let log = world.log.refresh().await?;
    let of = |counter| u64::try_from(log.sum(counter)).unwrap_or_default();
    let (read, rows, dead, copies) = (of("in"), of("rows"), of("dead"), of("dup"));
    ensure!(read == rows + dead + copies, "{read} ≠ {rows} + {dead} + {copies}");
    ensure!(rows == published.ids && dead == poison, "{rows} rows and {dead} dead are counted");
    ensure!(copies > 0, "no late copy got past the broker");
    ensure!(
        promise == Promise::PoisonMayBeStoredTwice || read == published.stored,
        "{read} messages were read of {}",
        published.stored
    );
    Ok(())
}

async fn stored_poison(world: &World) -> Result<u64> {
    let to = leader_last_sequence(&world.connection, STREAM).await?;
    let filter = Some("*.crash.poison.*");
    let mut scan = count_headers_only(&world.connection, STREAM, filter, (1, to), None);
    let mut count = 0;
    while let Some(seen) = scan.next_batch().await? {
        count += seen.len() as u64;
    }
    Ok(count)
}
