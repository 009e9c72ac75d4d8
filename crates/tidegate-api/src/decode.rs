//! From bytes to records: format, schema and filter.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_types::{
    BadRowPolicy, ByteSize, Coercion, Evolution, PayloadCompression, UnknownFields,
};

use crate::vocabulary;

/// How bytes become records.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecodeSpec {
    /// The format of a message: JSON (default), one object a message.
    #[serde(default)]
    pub format: Format,
    /// What happens to a message, or a record of a file, that cannot be a row: DeadLetter (default) sets
    /// it aside, Halt stops the pipeline before it or fails the run.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<BadRowPolicy>")]
    pub on_error: BadRowPolicy,
    /// Whether values of a neighbouring type are taken: None (default), or Lossless, which reads
    /// numbers and booleans from text and numbers into text columns where nothing is lost.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<Coercion>")]
    pub coercion: Coercion,
    /// How the payload is compressed: None (default), Gzip or Zstd.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<PayloadCompression>")]
    pub compression: PayloadCompression,
    /// What a message may cost; what is beyond is a dead letter.
    #[serde(default)]
    pub limits: LimitsSpec,
}

/// The format of a message.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Format {
    /// One JSON object a message, UTF-8.
    #[default]
    JSON,
}

/// What a message may cost.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Largest payload in bytes, before and after decompression; at most 64Mi. Default 1Mi.
    #[serde(default = "default_max_bytes")]
    #[schemars(schema_with = "vocabulary::size")]
    pub max_bytes: ByteSize,
    /// Deepest nesting of objects and arrays, 1 to 128, undeclared fields included. Default 64.
    #[serde(default = "default_max_depth")]
    #[schemars(range(min = 1, max = 128))]
    pub max_depth: u32,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { max_bytes: default_max_bytes(), max_depth: default_max_depth() }
    }
}

fn default_max_bytes() -> ByteSize {
    ByteSize::mib(1)
}

fn default_max_depth() -> u32 {
    64
}

/// What a record looks like.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaSpec {
    /// Where the schema comes from: Declared (default), by `fields`.
    #[serde(default)]
    pub mode: SchemaMode,
    /// Which changes of `fields` an existing table takes: AddColumns (default), new nullable columns
    /// and new members of structs; or Frozen, none.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<Evolution>")]
    pub evolution: Evolution,
    /// What happens to fields of a record that `fields` does not declare: Ignore (default) drops and
    /// counts them, Capture keeps them as JSON text in the column `_tg_extra`, DeadLetter refuses the
    /// record.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<UnknownFields>")]
    pub unknown_fields: UnknownFields,
    /// The table's columns in their order, 1 to 512. Default, where the source describes itself: all
    /// that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 512),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub fields: Vec<FieldSpec>,
}

/// Where the schema comes from.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SchemaMode {
    /// From `fields`.
    #[default]
    Declared,
}

/// One column.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldSpec {
    /// The column's name, without spaces and ,;{}()= , not beginning with `_tg_`. Unique, whatever its
    /// case.
    #[schemars(schema_with = "vocabulary::column")]
    pub name: String,
    /// The column's type: string, long, integer, short, byte, float, double, decimal(18,2), boolean,
    /// binary, date, timestamp, timestamp_ntz, `struct<lat: double, tags: list<string>>`,
    /// `list<string>` or `map<string, long>`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 4096))]
    pub data_type: String,
    /// Whether a record without a value here is a dead letter; of a database it fails the run. The column
    /// stays nullable all the same. Default false.
    #[serde(default)]
    pub required: bool,
    /// Where the value stands in the record, such as `$.position.lat`. Only with JSON: messages of a
    /// stream and NDJSON files. Default: the field of the record that has the column's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::record_path")]
    pub from: Option<String>,
}

/// Which records are kept.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterSpec {
    /// A CEL expression over `record`, such as `record.channel == 'web'`. Records for which it is
    /// false are counted and dropped; a record for which it fails is a dead letter.
    #[schemars(length(min = 1, max = 4096))]
    pub cel: String,
}
