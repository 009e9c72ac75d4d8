//! The guarantee calculator: what a path gives, whatever was asked for.
//!
//! Pure: the configuration and what is known of stream and store go in, an [`Assessment`] comes out.
//! `validate` asks without facts, worker and agent with the facts they saw. A fact that is not known is
//! taken to be good and said to be assumed, so that knowing more can only lower the answer.
//!
//! Delivery and durability are two things: what the broker may lose after it acknowledged is a caveat
//! here and never lowers a guarantee.

use tidegate_types::{Guarantee, KeyPrecision, MissingKeyPolicy, Reason, Span};

use crate::{Partitioning, PipelineConfig};

/// Fewer copies than this can lose what was acknowledged when a server is lost.
const SAFE_REPLICAS: u32 = 3;

/// What is known of the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathFacts {
    /// What is known of the stream.
    pub stream: StreamFacts,
    /// What is known of the store.
    pub store: StoreFacts,
}

/// What is known of the stream; none where it was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamFacts {
    /// When the broker removes messages by itself.
    pub retention: Option<StreamRetention>,
    /// Which messages go when the stream is full.
    pub discard: Option<Discard>,
    /// Most messages of one subject; 0 when there is no such limit.
    pub max_messages_per_subject: Option<u64>,
    /// Whether a message may carry its own time to live.
    pub allow_message_ttl: Option<bool>,
    /// Whether a message may remove earlier ones by the rollup header.
    pub allow_rollup: Option<bool>,
    /// Whether messages cannot be deleted one by one.
    pub deny_delete: Option<bool>,
    /// Copies in the cluster.
    pub replicas: Option<u32>,
    /// Whether the broker syncs every write before it acknowledges.
    pub sync_always: Option<bool>,
    /// How long the broker remembers ids.
    pub duplicate_window: Option<Span>,
}

/// When the broker removes messages by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamRetention {
    /// By limits of size and age.
    Limits,
    /// When one consumer has acknowledged them.
    WorkQueue,
    /// When all consumers have acknowledged them.
    Interest,
}

/// Which messages go when the stream is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// The oldest.
    Old,
    /// None: new ones are refused.
    New,
}

/// What is known of the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreFacts {
    /// Whether a put that must not overwrite never does, as the probe saw it.
    pub conditional_put: Option<bool>,
}

/// What the path gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// What the configuration asks for.
    pub requested: Guarantee,
    /// What it gets: never more than it asks for.
    pub effective: Guarantee,
    /// The first hop, from source to table, that gives least; none when the request is met.
    pub weakest_hop: Option<WeakestHop>,
    /// The other hops that do not give what was asked for, in the order of the path.
    pub further_hops: Vec<WeakestHop>,
    /// What to know besides.
    pub caveats: Vec<Caveat>,
}

impl Assessment {
    /// Whether the path gives what was asked for.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.effective == self.requested
    }
}

/// A hop that gives less than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeakestHop {
    /// Which: `stream`, `partitioning`, `dedup` or `store`.
    pub hop: &'static str,
    /// Why it gives less.
    pub because: String,
    /// What would give more.
    pub instead: String,
}

impl std::fmt::Display for WeakestHop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.hop, self.because, self.instead)
    }
}

/// Something to know that does not change the guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caveat {
    /// The reason that condition, log and metric use, where there is one.
    pub reason: Option<Reason>,
    /// What it is.
    pub text: String,
}

/// Weighs a path.
#[must_use]
pub fn assess(config: &PipelineConfig, facts: &PathFacts) -> Assessment {
    let requested = config.guarantee;
    let mut hops = Vec::new();
    // Everything below costs the step from exactly once to at least once; a weaker request has it.
    if requested == Guarantee::ExactlyOnce {
        stream_hops(&facts.stream, &mut hops);
        partitioning_hop(config, &mut hops);
        dedup_hop(config, &mut hops);
        store_hop(&facts.store, &mut hops);
    }
    let effective = if hops.is_empty() { requested } else { Guarantee::AtLeastOnce };
    let mut hops = hops.into_iter();
    Assessment {
        requested,
        effective,
        weakest_hop: hops.next(),
        further_hops: hops.collect(),
        caveats: caveats(config, facts),
    }
}

fn hop(name: &'static str, because: impl Into<String>, instead: impl Into<String>) -> WeakestHop {
    WeakestHop { hop: name, because: because.into(), instead: instead.into() }
}

/// A stream that forgets unread messages, or lets others remove them, cannot promise that each arrives
/// (S1); one that removes them on acknowledgement forgets ids and orders redeliveries anew (P3).
fn stream_hops(stream: &StreamFacts, hops: &mut Vec<WeakestHop>) {
    if let Some(retention @ (StreamRetention::WorkQueue | StreamRetention::Interest)) =
        stream.retention
    {
        hops.push(hop(
            "stream",
            format!("its retention is {retention:?}, where positions are the broker's"),
            "use a stream with retention Limits, or ask for AtLeastOnce",
        ));
    }
    let rules = [
        (
            stream.discard == Some(Discard::Old),
            "it discards old messages when it is full, read or not",
            "set discard: new on the stream",
        ),
        (
            stream.max_messages_per_subject.is_some_and(|limit| limit > 0),
            "it keeps a limited number of messages of each subject, read or not",
            "remove max_msgs_per_subject from the stream",
        ),
        (
            stream.allow_message_ttl == Some(true),
            "messages may carry a time to live and vanish unread",
            "turn allow_msg_ttl off on the stream",
        ),
        (
            stream.allow_rollup == Some(true),
            "a message may remove earlier ones, read or not",
            "turn allow_rollup_hdrs off on the stream",
        ),
        (
            stream.deny_delete == Some(false),
            "messages may be deleted before they are read",
            "turn deny_delete on on the stream",
        ),
    ];
    hops.extend(
        rules
            .into_iter()
            .filter(|(broken, ..)| *broken)
            .map(|(_, because, instead)| hop("stream", because, instead)),
    );
}

/// The transform hashes subjects: copies of one id on two subjects never meet (S11).
fn partitioning_hop(config: &PipelineConfig, hops: &mut Vec<WeakestHop>) {
    if let Partitioning::Subject { id_subject_stable: false, .. } = config.source.partitioning {
        hops.push(hop(
            "partitioning",
            "the partition follows the subject, and one id may come on two subjects",
            "write idSubjectStable: true if one id always comes on one subject, or use one partition",
        ));
    }
}

/// Without ids the publisher's retries are new messages; short fingerprints drop a good row now and
/// then (D5).
fn dedup_hop(config: &PipelineConfig, hops: &mut Vec<WeakestHop>) {
    match &config.dedup {
        None => hops.push(hop(
            "dedup",
            "ids are not compared, so that a message sent twice is two rows",
            "write dedup",
        )),
        Some(window) if window.keys == KeyPrecision::Fingerprint => hops.push(hop(
            "dedup",
            "64-bit fingerprints may take two ids for one and drop a good row",
            "write keys: Exact",
        )),
        Some(_) => {}
    }
}

/// Without a conditional put two workers can both believe that they wrote version N of the log.
fn store_hop(store: &StoreFacts, hops: &mut Vec<WeakestHop>) {
    if store.conditional_put == Some(false) {
        hops.push(hop(
            "store",
            "it does not refuse to overwrite, so that two commits may take one place in the log",
            "use a store with conditional puts (If-None-Match)",
        ));
    }
}

fn caveats(config: &PipelineConfig, facts: &PathFacts) -> Vec<Caveat> {
    let mut caveats = Vec::new();
    durability(&facts.stream, &mut caveats);
    if config.guarantee == Guarantee::AtLeastOnce {
        at_least_once(facts, &mut caveats);
    }
    if config.dedup.is_none()
        && let Some(window) = facts.stream.duplicate_window
    {
        let text = format!("copies are dropped by the broker within {window}; later ones are rows");
        note(&mut caveats, None, text);
    }
    if let Some(window) = &config.dedup {
        if window.on_missing_key == MissingKeyPolicy::Accept {
            note(&mut caveats, None, "records without an id are rows that are compared with none");
        }
        if config.guarantee == Guarantee::AtLeastOnce && window.keys == KeyPrecision::Fingerprint {
            note(&mut caveats, None, "64-bit fingerprints may drop a good row now and then");
        }
    }
    assumed(config, facts, &mut caveats);
    caveats
}

fn note(caveats: &mut Vec<Caveat>, reason: Option<Reason>, text: impl Into<String>) {
    caveats.push(Caveat { reason, text: text.into() });
}

fn durability(stream: &StreamFacts, caveats: &mut Vec<Caveat>) {
    if let Some(replicas) = stream.replicas.filter(|replicas| *replicas < SAFE_REPLICAS) {
        let copies = if replicas == 1 { "one copy" } else { "two copies" };
        let text = format!(
            "the stream has {copies}: losing a server may lose acknowledged messages; use {SAFE_REPLICAS}"
        );
        note(caveats, Some(Reason::SourceNotDurable), text);
    }
    if stream.sync_always == Some(false) {
        let text = "the broker syncs to disk now and then: a power cut may lose acknowledged messages; set sync_interval: always";
        note(caveats, Some(Reason::SourceNotDurable), text);
    }
}

/// What exactly once refuses and at least once lives with.
fn at_least_once(facts: &PathFacts, caveats: &mut Vec<Caveat>) {
    let stream = &facts.stream;
    let drops = stream.discard == Some(Discard::Old)
        || stream.max_messages_per_subject.is_some_and(|limit| limit > 0)
        || stream.allow_message_ttl == Some(true)
        || stream.allow_rollup == Some(true)
        || stream.deny_delete == Some(false);
    if drops {
        let text = "the stream may drop unread messages: such a gap is reported, it cannot be prevented from here";
        note(caveats, Some(Reason::SourceUnsafe), text);
    }
    match stream.retention {
        Some(StreamRetention::WorkQueue) => {
            note(caveats, None, "on a WorkQueue stream, that no row is doubled cannot be proved");
        }
        Some(StreamRetention::Interest) => {
            let text = "on an Interest stream, messages published while there is no consumer are lost, and that no row is doubled cannot be proved";
            note(caveats, None, text);
        }
        _ => {}
    }
    if facts.store.conditional_put == Some(false) {
        let text = "the store may overwrite a commit: run one worker only";
        note(caveats, Some(Reason::CommitStoreUnsafe), text);
    }
}

/// Names what was not looked at, so that a good answer is not taken for a checked one.
fn assumed(config: &PipelineConfig, facts: &PathFacts, caveats: &mut Vec<Caveat>) {
    if config.guarantee != Guarantee::ExactlyOnce {
        return;
    }
    let stream = &facts.stream;
    let unknown: Vec<&str> = [
        (stream.retention.is_none(), "retention"),
        (stream.discard.is_none(), "discard"),
        (stream.max_messages_per_subject.is_none(), "max_msgs_per_subject"),
        (stream.allow_message_ttl.is_none(), "allow_msg_ttl"),
        (stream.allow_rollup.is_none(), "allow_rollup_hdrs"),
        (stream.deny_delete.is_none(), "deny_delete"),
        (facts.store.conditional_put.is_none(), "the store's conditional put"),
    ]
    .into_iter()
    .filter_map(|(unknown, name)| unknown.then_some(name))
    .collect();
    if !unknown.is_empty() {
        let text = format!("assumed, not looked at: {}", unknown.join(", "));
        note(caveats, None, text);
    }
}
