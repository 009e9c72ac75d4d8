//! Messages that keep coming, whoever dies: new ones, late copies of old ones, and poison.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use tidegate_source::{Connection, PublishOptions, Publisher};
use tidegate_testing::Random;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A little traffic each so often: 400 messages a second.
const TICK: Duration = Duration::from_millis(20);
const FRESH: u64 = 8;
/// More than the stream's `duplicateWindow`: the broker has forgotten the id by then.
const COPY_AFTER: Duration = Duration::from_millis(400);
/// Copies come mostly soon after their originals, while workers die over them.
const NEAR: u64 = 600;

/// What was published so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Published {
    /// Ids `e-0` and so on.
    pub(crate) ids: u64,
    /// Poisonous messages.
    pub(crate) poison: u64,
    /// Messages that the broker confirmed to have stored, copies included.
    pub(crate) stored: u64,
}

/// The publisher.
pub(crate) struct Traffic {
    published: Arc<Mutex<Published>>,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Traffic {
    pub(crate) fn start(connection: Connection, random: Random) -> Self {
        let published = Arc::new(Mutex::new(Published::default()));
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(connection, random, Arc::clone(&published), stop.clone()));
        Self { published, stop, task }
    }

    /// Silence until the guard goes; everything before it is stored.
    pub(crate) async fn pause(&self) -> OwnedMutexGuard<Published> {
        Arc::clone(&self.published).lock_owned().await
    }

    /// Whether it still publishes; its fault otherwise.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.task.await.context("the publisher died")?
    }
}

async fn run(
    connection: Connection,
    mut random: Random,
    published: Arc<Mutex<Published>>,
    stop: CancellationToken,
) -> Result<()> {
    let mut old = Old::default();
    let mut clock = tokio::time::interval(TICK);
    // After a pause or an outage the rate stays as it is.
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        clock.tick().await;
        let mut published = published.lock().await;
        tick(&connection, &mut random, &mut old, &mut published).await?;
    }
    Ok(())
}

/// Which ids are old enough for a copy.
#[derive(Default)]
struct Old {
    young: VecDeque<(Instant, u64)>,
    end: u64,
}

impl Old {
    /// The number of ids that the broker no longer remembers.
    fn end(&mut self) -> u64 {
        while self.young.front().is_some_and(|(sent, _)| sent.elapsed() > COPY_AFTER) {
            self.end = self.young.pop_front().map_or(self.end, |(_, end)| end);
        }
        self.end
    }
}

async fn tick(
    connection: &Connection,
    random: &mut Random,
    old: &mut Old,
    published: &mut Published,
) -> Result<()> {
    let mut publisher = Publisher::new(connection, PublishOptions::default());
    for number in published.ids..published.ids + FRESH {
        send(&mut publisher, number).await?;
    }
    published.ids += FRESH;
    let end = old.end();
    if end > 0 && random.below(2) == 0 {
        let near = end.saturating_sub(NEAR);
        send(&mut publisher, near + random.below(end - near)).await?;
        send(&mut publisher, random.below(end)).await?;
    }
    if random.below(4) == 0 {
        poison(&mut publisher, published.poison).await?;
        published.poison += 1;
    }
    let report = publisher.finish().await.context("publish")?;
    published.stored += report.stored;
    old.young.push_back((Instant::now(), published.ids));
    Ok(())
}

/// One subject an id, so that its copies meet in one partition.
async fn send(publisher: &mut Publisher, number: u64) -> Result<()> {
    let id = format!("e-{number}");
    let subject = format!("crash.good.{}", number % 64);
    let body = format!(r#"{{"id":"{id}","device":"d-{}","value":{number}}}"#, number % 7);
    publisher.publish(&subject, Bytes::from(body), Some(&id)).await.context("publish")
}

/// Malformed, of a wrong type, or without a value; each with bytes of its own.
async fn poison(publisher: &mut Publisher, number: u64) -> Result<()> {
    let body = match number % 3 {
        0 => format!(r#"{{"id":"p-{number}","value":1"#),
        1 => format!(r#"{{"id":"p-{number}","value":"much"}}"#),
        _ => format!(r#"{{"id":"p-{number}","device":"d"}}"#),
    };
    let id = number.is_multiple_of(2).then(|| format!("p-{number}"));
    let subject = format!("crash.poison.{}", number % 16);
    publisher.publish(&subject, Bytes::from(body), id.as_deref()).await.context("publish")
}
