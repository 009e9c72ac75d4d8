//! Making, asking and removing consumers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::backoff;
use crate::connection::Connection;
use crate::error::{SourceError, code};
use crate::stream_facts::nanos;

/// Metadata keys (S10).
pub(crate) const LEDGER_KEY: &str = "tidegate.ledger";
pub(crate) const TABLE_KEY: &str = "tidegate.table";
/// What a consumer is for, when it is not a reader.
pub(crate) const ROLE_KEY: &str = "tidegate.role";
/// A consumer that only counts or looks, for a moment.
pub(crate) const ROLE_PROBE: &str = "probe";
/// A consumer that is never pulled and stands for a ledger.
pub(crate) const ROLE_REGISTRATION: &str = "registration";

/// How long the broker keeps a probe that was left behind.
const PROBE_LIFETIME: Duration = Duration::from_secs(30);

/// Where a new consumer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeliverFrom {
    Start,
    Sequence(u64),
    /// RFC 3339.
    Time(String),
}

/// What the broker waits for before a message counts as delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AckPolicy {
    None,
    /// Each message by itself.
    Explicit {
        wait: Duration,
        most_pending: usize,
    },
    /// Everything up to the acknowledged message; nothing is delivered twice.
    AllOnce {
        most_pending: usize,
    },
}

/// A consumer to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerSpec {
    pub(crate) name: String,
    pub(crate) from: DeliverFrom,
    pub(crate) acks: AckPolicy,
    pub(crate) filter: Option<String>,
    pub(crate) headers_only: bool,
    /// How long it outlives its last pull; none: for ever.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) durable: bool,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl ConsumerSpec {
    /// A short-lived consumer that looks at the stream from `from` on.
    pub(crate) fn probe(from: DeliverFrom, filter: Option<&str>) -> Self {
        Self {
            name: format!("tg-probe-{:016x}", backoff::random()),
            from,
            acks: AckPolicy::None,
            filter: filter.map(str::to_owned),
            headers_only: true,
            lifetime: Some(PROBE_LIFETIME),
            durable: false,
            metadata: BTreeMap::from([(ROLE_KEY.to_owned(), ROLE_PROBE.to_owned())]),
        }
    }
}

/// What the broker says about a consumer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ConsumerInfo {
    pub(crate) name: String,
    pub(crate) delivered: Delivered,
    pub(crate) num_pending: u64,
    #[serde(default)]
    pub(crate) num_ack_pending: u64,
    pub(crate) config: ConsumerConfig,
    /// The broker's clock at the answer.
    pub(crate) ts: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) consumer_seq: u64,
    pub(crate) stream_seq: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ConsumerConfig {
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Makes the consumer.
pub(crate) async fn create(
    connection: &Connection,
    stream: &str,
    spec: &ConsumerSpec,
) -> Result<ConsumerInfo, SourceError> {
    let subject = match &spec.filter {
        Some(filter) => format!("CONSUMER.CREATE.{stream}.{}.{filter}", spec.name),
        None => format!("CONSUMER.CREATE.{stream}.{}", spec.name),
    };
    let request = json!({"stream_name": stream, "config": configuration(spec)});
    connection.ask(&subject, &request).await
}

/// Asks for the consumer; none when there is none.
pub(crate) async fn info(
    connection: &Connection,
    stream: &str,
    name: &str,
) -> Result<Option<ConsumerInfo>, SourceError> {
    let answer = connection.ask(&format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await;
    match answer {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.has_code(code::CONSUMER_NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the consumer, if it is there.
pub(crate) async fn delete(
    connection: &Connection,
    stream: &str,
    name: &str,
) -> Result<(), SourceError> {
    let subject = format!("CONSUMER.DELETE.{stream}.{name}");
    match connection.ask::<Value>(&subject, &json!({})).await {
        Ok(_) => Ok(()),
        Err(error) if error.has_code(code::CONSUMER_NOT_FOUND) => Ok(()),
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct ListPage {
    total: usize,
    consumers: Option<Vec<ConsumerInfo>>,
}

/// Most consumers that are looked at: a stream with more is not one that we can reason about.
const MOST_CONSUMERS: usize = 10_000;

/// Every consumer of the stream.
pub(crate) async fn list(
    connection: &Connection,
    stream: &str,
) -> Result<Vec<ConsumerInfo>, SourceError> {
    let mut all = Vec::new();
    loop {
        let request = json!({"offset": all.len()});
        let page: ListPage = connection.ask(&format!("CONSUMER.LIST.{stream}"), &request).await?;
        let consumers = page.consumers.unwrap_or_default();
        let last_page = consumers.is_empty() || all.len() + consumers.len() >= page.total;
        all.extend(consumers);
        if last_page || all.len() >= MOST_CONSUMERS {
            return Ok(all);
        }
    }
}

/// Makes a probe, takes one look at it, and removes it.
pub(crate) async fn probe(
    connection: &Connection,
    stream: &str,
    from: DeliverFrom,
    filter: Option<&str>,
) -> Result<ConsumerInfo, SourceError> {
    let spec = ConsumerSpec::probe(from, filter);
    let info = create(connection, stream, &spec).await?;
    // A probe that cannot be removed now is removed by the broker a little later.
    if let Err(error) = delete(connection, stream, &spec.name).await {
        tracing::debug!(stream, consumer = spec.name, %error, "probe is left to the broker");
    }
    Ok(info)
}

fn configuration(spec: &ConsumerSpec) -> Value {
    let mut config = json!({
        "name": spec.name,
        "replay_policy": "instant",
        "headers_only": spec.headers_only,
        "metadata": spec.metadata,
    });
    let mut set = |key: &str, value: Value| config[key] = value;
    if spec.durable {
        set("durable_name", json!(spec.name));
    }
    if let Some(lifetime) = spec.lifetime {
        set("inactive_threshold", json!(nanos(lifetime)));
    }
    if let Some(filter) = &spec.filter {
        set("filter_subject", json!(filter));
    }
    match &spec.from {
        DeliverFrom::Start => set("deliver_policy", json!("all")),
        DeliverFrom::Sequence(sequence) => {
            set("deliver_policy", json!("by_start_sequence"));
            set("opt_start_seq", json!(sequence));
        }
        DeliverFrom::Time(time) => {
            set("deliver_policy", json!("by_start_time"));
            set("opt_start_time", json!(time));
        }
    }
    match &spec.acks {
        AckPolicy::None => set("ack_policy", json!("none")),
        AckPolicy::Explicit { wait, most_pending } => {
            set("ack_policy", json!("explicit"));
            set("ack_wait", json!(nanos(*wait)));
            set("max_ack_pending", json!(most_pending));
        }
        AckPolicy::AllOnce { most_pending } => {
            set("ack_policy", json!("all"));
            set("max_deliver", json!(1));
            set("max_ack_pending", json!(most_pending));
        }
    }
    config
}
