//! A streaming source: a NATS JetStream stream.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_types::{ByteSize, Span};

use crate::vocabulary;

/// A JetStream stream.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.partitioning.type != 'Subject' || has(self.subjects)")
        .message("partitioning Subject needs subjects, because only a stream that Tidegate keeps is transformed; write subjects, or use partitioning Declared or None")
        .field_path(".partitioning"),
    validation = Rule::new("!has(self.retention) || has(self.subjects)")
        .message("retention has no effect on a stream that Tidegate does not keep; remove it, or write subjects")
        .field_path(".retention"),
)]
pub struct JetStreamSpec {
    /// Addresses of the NATS servers, `nats://host:4222` or `tls://host:4222`, 1 to 16. Absent under
    /// `tidegate run`: a server that it starts itself. Required in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::servers")]
    pub servers: Option<Vec<String>>,
    /// The name of the stream. Cannot be changed.
    #[schemars(schema_with = "vocabulary::stream")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the stream cannot be changed, because positions in the log are positions in this stream; make another pipeline"))]
    pub stream: String,
    /// The stream's subjects, 1 to 64. Present: Tidegate creates the stream and keeps its
    /// configuration. Absent: the stream must exist and is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::subjects")]
    pub subjects: Option<Vec<String>>,
    /// How the stream is split into ordered partitions, each read by one worker at a time.
    #[serde(default)]
    pub partitioning: PartitioningSpec,
    /// Limits of the stream. Only with `subjects`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionSpec>,
    /// How long the broker itself remembers ids; kept in its memory, so short. The long window is
    /// `dedup`. Default 2m. No effect without `subjects`.
    #[serde(default = "default_duplicate_window")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub duplicate_window: Span,
    /// Removes committed messages from the stream. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trim: Option<TrimSpec>,
    /// Where a ledger that the table does not know yet begins. No effect once it has a position.
    #[serde(default)]
    pub start_from: StartFromSpec,
    /// What to do when the stream is not the one that the log knows (deleted and made again, or
    /// restored from an older copy): Halt (default) stops and says so, NewIncarnation begins again
    /// with the new stream's sequences.
    #[serde(default)]
    pub on_source_reset: OnSourceReset,
    /// What to do when messages vanished before they were read: Halt (default) stops and names the
    /// range, RecordAndContinue writes it down and goes on behind it.
    #[serde(default)]
    pub on_gap: OnGap,
    /// Credentials of the workers. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsSpec>,
    /// Credentials for creating, configuring and trimming the stream. Default: those of `credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_credentials: Option<CredentialsSpec>,
    /// TLS towards the servers. Default: as their addresses ask, with the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

fn default_duplicate_window() -> Span {
    Span::seconds(120)
}

/// How the stream is split.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'None' || !has(self.partitions)")
        .message("partitioning None is one partition; remove partitions, or write type: Subject or type: Declared")
        .field_path(".partitions"),
    validation = Rule::new("self.type == 'None' || has(self.partitions)")
        .message("partitioning Subject and Declared need the number of partitions; write partitions: four times the workers you expect"),
    validation = Rule::new("(self.type == 'Declared') == has(self.subjectPattern)")
        .message("subjectPattern goes with partitioning Declared and with nothing else; write type: Declared and subjectPattern: clicks.{partition}.>, or remove it"),
    validation = Rule::new("self.type == 'Subject' || !has(self.idSubjectStable)")
        .message("idSubjectStable goes with partitioning Subject only; remove it")
        .field_path(".idSubjectStable"),
    validation = Rule::new("self.type == oldSelf.type && has(self.partitions) == has(oldSelf.partitions) && (!has(self.partitions) || self.partitions == oldSelf.partitions) && has(self.subjectPattern) == has(oldSelf.subjectPattern) && (!has(self.subjectPattern) || self.subjectPattern == oldSelf.subjectPattern)")
        .message("partitioning cannot be changed, because every partition has its position in the log; make another pipeline"),
)]
pub struct PartitioningSpec {
    /// None (default): one partition. Subject: the stream's subject transform puts the partition's
    /// number in front of the subject, by a hash of the subject; needs `subjects`. Declared: the
    /// subjects carry the number already, see `subjectPattern`. Cannot be changed.
    #[serde(rename = "type", default)]
    pub partitioning_type: PartitioningType,
    /// How many partitions, 1 to 256: the most workers that can share the pipeline. Required with
    /// Subject and Declared; cannot be changed, so choose four times the workers you expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub partitions: Option<u32>,
    /// Your word that one id always comes on one subject, so that its copies meet in one partition.
    /// ExactlyOnce with Subject asks for it. Default false; only with Subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_subject_stable: Option<bool>,
    /// The subjects of one partition, with `{partition}` for its number from 0, such as
    /// `clicks.{partition}.>`. Required with Declared; cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::subject_pattern")]
    pub subject_pattern: Option<String>,
}

/// How a stream is split.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PartitioningType {
    /// One partition.
    #[default]
    None,
    /// By the stream's subject transform.
    Subject,
    /// By the subjects themselves.
    Declared,
}

/// Limits of a stream that Tidegate keeps.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionSpec {
    /// Most bytes of the stream; beyond it publishers are refused (503) until there is room. Default:
    /// no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::size")]
    pub max_bytes: Option<ByteSize>,
    /// Age at which messages are removed, read or not: it must outlast your worst outage. Default: no
    /// limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub max_age: Option<Span>,
    /// Copies of the stream in a NATS cluster, 1 to 5. Default 1. Fewer than 3 is reported, because
    /// the broker may then lose what it acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: Option<u32>,
}

/// Removing committed messages.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrimSpec {
    /// How long committed messages stay in the stream, by their publish time. Not less than
    /// `duplicateWindow` and ten minutes. Nothing is trimmed while somebody else reads the stream.
    #[schemars(schema_with = "vocabulary::duration")]
    pub keep: Span,
}

/// Where reading begins.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Sequence') == has(self.sequence)")
        .message("sequence goes with startFrom type Sequence and with nothing else; write {type: Sequence, sequence: 1234}, or remove it"),
    validation = Rule::new("(self.type == 'Time') == has(self.time)")
        .message("time goes with startFrom type Time and with nothing else; write {type: Time, time: \"2026-01-01T00:00:00Z\"}, or remove it"),
)]
pub struct StartFromSpec {
    /// All (default): at the oldest message that the stream holds. New: behind the newest. Sequence:
    /// at `sequence`. Time: at `time`.
    #[serde(rename = "type", default)]
    pub start_type: StartType,
    /// The stream sequence of the first message to read. Only with Sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub sequence: Option<u64>,
    /// The publish time of the first message to read, RFC 3339. Only with Time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::instant")]
    pub time: Option<String>,
}

/// Where reading begins.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StartType {
    /// At the oldest message.
    #[default]
    All,
    /// Behind the newest message.
    New,
    /// At a sequence.
    Sequence,
    /// At a publish time.
    Time,
}

/// What to do when the stream is another one.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnSourceReset {
    /// Stop.
    #[default]
    Halt,
    /// Begin a new incarnation.
    NewIncarnation,
}

/// What to do when unread messages are gone.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnGap {
    /// Stop.
    #[default]
    Halt,
    /// Write the range down and go on behind it.
    RecordAndContinue,
}

/// Where credentials stand.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSpec {
    /// The Secret in the pipeline's namespace, with the keys `creds`, or `nkey`, or `username` and
    /// `password`, or `token`.
    pub secret_ref: SecretRef,
}

/// A Secret in the pipeline's namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name. Under `tidegate run` the folder of that name in `--secrets-dir`.
    #[schemars(schema_with = "vocabulary::object_name")]
    pub name: String,
}

/// TLS towards the broker.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// The certificate authorities to trust. Default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// The Secret with `tls.crt` and `tls.key`, for brokers that ask clients for a certificate.
    /// Default: none is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretRef>,
}

/// Where certificate authorities stand.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// ConfigMap (default) or Secret.
    #[serde(default)]
    pub kind: CaKind,
    /// The object's name, in the pipeline's namespace.
    #[schemars(schema_with = "vocabulary::object_name")]
    pub name: String,
    /// The key whose value is the PEM file. Default ca.crt.
    #[serde(default = "default_ca_key")]
    #[schemars(schema_with = "vocabulary::object_key")]
    pub key: String,
}

/// The kind of the object with the authorities.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CaKind {
    /// A `ConfigMap`.
    #[default]
    ConfigMap,
    /// A Secret.
    Secret,
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}
