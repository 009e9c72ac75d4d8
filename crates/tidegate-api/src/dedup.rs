//! Which records count as the same one.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_types::{KeyPrecision, MissingKeyPolicy, Span};

use crate::vocabulary;

/// The deduplication window.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DedupSpec {
    /// Where a record's id stands. Default: the header `Nats-Msg-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeySpec>,
    /// How long an id is remembered, in stream time (the broker's publish times): a copy within it is
    /// dropped. Memory grows with it, about 20 bytes an id. Default 1h.
    #[serde(default = "default_window")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub window: Span,
    /// How much of an id is kept: Exact (default, 128 bits), or Fingerprint (64 bits), which halves the
    /// memory and may drop a good row with small probability, so that ExactlyOnce is not reached.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<KeyPrecision>")]
    pub keys: KeyPrecision,
    /// What happens to a record without an id: Accept (default) makes it a row that is compared with
    /// none, and counts it; DeadLetter sets it aside.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<MissingKeyPolicy>")]
    pub on_missing_key: MissingKeyPolicy,
}

impl Default for DedupSpec {
    fn default() -> Self {
        Self {
            key: None,
            window: default_window(),
            keys: KeyPrecision::default(),
            on_missing_key: MissingKeyPolicy::default(),
        }
    }
}

fn default_window() -> Span {
    Span::seconds(3_600)
}

/// Where an id stands.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Header') == has(self.header)")
        .message("header goes with dedup key type Header and with nothing else; write {type: Header, header: Nats-Msg-Id}"),
    validation = Rule::new("(self.type == 'Field') == has(self.field)")
        .message("field goes with dedup key type Field and with nothing else; write {type: Field, field: id}"),
)]
pub struct KeySpec {
    /// Header: in a header of the message, cheapest, since it needs no decoding. Field: in a column of
    /// the record.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// The header, such as `Nats-Msg-Id`. Required with Header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::header")]
    pub header: Option<String>,
    /// The column: of a plain type other than float and double, and no Identity partition column.
    /// Required with Field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::column")]
    pub field: Option<String>,
}

/// Where an id stands.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// In a message header.
    Header,
    /// In a column.
    Field,
}
