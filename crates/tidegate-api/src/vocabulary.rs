//! How the shared words look in the schema: sizes, durations and enums as bounded strings, with a hint
//! for whoever writes one wrongly.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use tidegate_types::{
    AfterRepairPolicy, BadRowPolicy, Coercion, Compression, Evolution, Guarantee, KeyPrecision,
    LatePolicy, MissingKeyPolicy, PayloadCompression, UnknownFields,
};

/// A text form that a pattern in the schema describes.
pub(crate) struct TextForm {
    /// The pattern as it stands in the schema.
    pub(crate) pattern: &'static str,
    /// What the text should have been, after "is not".
    pub(crate) name: &'static str,
    /// What to write instead.
    pub(crate) instead: &'static str,
}

/// Durations. The digits are bounded so that every text that matches also fits.
pub(crate) const DURATION: TextForm = TextForm {
    pattern: r"^([0-9]{1,9}(h|ms|m|s))+$",
    name: "a duration",
    instead: "write numbers with h, m, s or ms, such as 90s, 2h or 1h30m",
};
/// Byte sizes. The digits are bounded so that every text that matches also fits into 64 bits.
pub(crate) const SIZE: TextForm = TextForm {
    pattern: r"^([0-9]{1,15}|[0-9]{1,7}(Ki|Mi|Gi|Ti|k|M|G|T))$",
    name: "a size",
    instead: "write a whole number of bytes in quotes, or one with Ki, Mi, Gi or Ti, such as 256Mi",
};
/// Ledger names.
pub(crate) const LEDGER: TextForm = TextForm {
    pattern: r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
    name: "a ledger name",
    instead: "write a-z, 0-9, '.' and '-', starting and ending with a letter or digit",
};
/// Names of Secrets and `ConfigMap`s.
pub(crate) const OBJECT_NAME: TextForm = TextForm {
    pattern: r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
    name: "the name of a Kubernetes object",
    instead: "write a-z, 0-9, '-' and '.', starting and ending with a letter or digit",
};
/// Keys in Secrets and `ConfigMap`s.
pub(crate) const OBJECT_KEY: TextForm = TextForm {
    pattern: r"^[-._a-zA-Z0-9]+$",
    name: "a key of a Secret or ConfigMap",
    instead: "write letters, digits, '-', '_' and '.', such as ca.crt",
};
/// Addresses of NATS servers.
pub(crate) const SERVER: TextForm = TextForm {
    pattern: r"^(nats|tls)://[^\s/@]+$",
    name: "the address of a NATS server",
    instead: "write nats://host:4222 or tls://host:4222; user and password belong into the Secret of `credentials`",
};
/// Stream names.
pub(crate) const STREAM: TextForm = TextForm {
    pattern: r"^[^\s.*>/\\]+$",
    name: "a stream name",
    instead: "leave out spaces, '.', '*', '>', '/' and '\\'",
};
/// Subjects with wildcards.
pub(crate) const SUBJECT: TextForm = TextForm {
    pattern: r"^[^\s.]+(\.[^\s.]+)*$",
    name: "a subject",
    instead: "write tokens joined by dots, such as clicks.>",
};
/// Column names that Delta takes without column mapping.
pub(crate) const COLUMN: TextForm = TextForm {
    pattern: r"^[^ ,;{}()\n\t=]+$",
    name: "a column name",
    instead: "leave out spaces, tabs, line breaks and the characters ,;{}()=",
};
/// Places in a record.
pub(crate) const RECORD_PATH: TextForm = TextForm {
    pattern: r"^\$(\.[^.\s\[\]]+)+$",
    name: "a path into the record",
    instead: "write $ and the members on the way, such as $.position.lat",
};
/// Addresses of tables.
pub(crate) const TABLE_URL: TextForm = TextForm {
    pattern: r"^(s3://[^/\s?#@]+(/[^\s?#]*)?|abfss://[^/\s?#@:]+@[^/\s?#@:]+(/[^\s?#]*)?|file:[^?#\n\r\t]+)$",
    name: "the address of a table",
    instead: "write s3://bucket/path, abfss://container@account.dfs.core.windows.net/path or file:///absolute/path (file:./path from the working directory)",
};
/// Addresses of folders with files.
pub(crate) const FILES_URL: TextForm = TextForm {
    pattern: r"^((s3|gs)://[^/\s?#@]+(/[^\s?#]*)?|abfss://[^/\s?#@:]+@[^/\s?#@:]+(/[^\s?#]*)?|file:[^?#\n\r\t]+)$",
    name: "the address of a folder with files",
    instead: "write s3://bucket/path, gs://bucket/path, abfss://container@account.dfs.core.windows.net/path or file:///absolute/path (file:./path from the working directory)",
};
/// Addresses of object stores.
pub(crate) const ENDPOINT: TextForm = TextForm {
    pattern: r"^https?://[^\s/?#@]+/?$",
    name: "the address of an object store",
    instead: "write https://host or http://host:port, without a path",
};
/// Tables of a database.
pub(crate) const RELATION: TextForm = TextForm {
    pattern: r"^[^\x00-\x1f]+$",
    name: "the name of a table",
    instead: "write name or schema.name, as the database spells it",
};
/// Columns of a database; they become no folders, so that they may be named as they like.
pub(crate) const SOURCE_COLUMN: TextForm = TextForm {
    pattern: r"^[^\x00-\x1f\x7f]+$",
    name: "the name of a column",
    instead: "write it as the database spells it",
};
/// Roles of a database.
pub(crate) const ROLE: TextForm = TextForm {
    pattern: r"^[^\x00-\x1f\x22]+$",
    name: "the name of a role",
    instead: "write it as the database spells it",
};
/// Patterns of paths.
pub(crate) const GLOB: TextForm = TextForm {
    pattern: r"^[^/\x00-\x1f][^\x00-\x1f]*$",
    name: "a pattern of paths below the address",
    instead: "write it without a slash in front, such as dt=%Y-%m-%d/*.csv",
};
/// Cron expressions.
pub(crate) const CRON: TextForm = TextForm {
    pattern: r"^[^\s]+( [^\s]+){4}$",
    name: "a cron expression",
    instead: "write five fields with one space between them, minute, hour, day of month, month and day of week, such as 0 * * * *",
};
/// Time zones.
pub(crate) const TIME_ZONE: TextForm = TextForm {
    pattern: r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
    name: "a time zone",
    instead: "write an IANA name such as Europe/Berlin, or UTC",
};
/// Message header names.
pub(crate) const HEADER: TextForm = TextForm {
    pattern: r"^[!-9;-~]+$",
    name: "a message header",
    instead: "write a header name such as Nats-Msg-Id",
};
/// Values of labels.
pub(crate) const LABEL: TextForm = TextForm {
    pattern: r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
    name: "the value of a label",
    instead: "write letters, digits, '-', '_' and '.', starting and ending with a letter or digit",
};
/// Kubernetes' quantities, as its own definitions have them.
pub(crate) const QUANTITY: TextForm = TextForm {
    pattern: r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
    name: "a quantity",
    instead: "write a number with its unit, such as 500m for CPUs or 512Mi for memory",
};

/// Every form, to find the hint for a pattern.
pub(crate) const FORMS: [&TextForm; 22] = [
    &DURATION,
    &SIZE,
    &LEDGER,
    &OBJECT_NAME,
    &OBJECT_KEY,
    &SERVER,
    &STREAM,
    &SUBJECT,
    &COLUMN,
    &RECORD_PATH,
    &TABLE_URL,
    &FILES_URL,
    &ENDPOINT,
    &RELATION,
    &SOURCE_COLUMN,
    &ROLE,
    &GLOB,
    &CRON,
    &TIME_ZONE,
    &HEADER,
    &LABEL,
    &QUANTITY,
];

fn text(form: &TextForm, longest: u32) -> Schema {
    json_schema!({"type": "string", "pattern": form.pattern, "minLength": 1, "maxLength": longest})
}

macro_rules! text_schemas {
    ($($function:ident = $form:ident, $longest:literal;)+) => {
        $(pub(crate) fn $function(_: &mut SchemaGenerator) -> Schema { text(&$form, $longest) })+
    };
}

text_schemas! {
    duration = DURATION, 32;
    size = SIZE, 16;
    ledger = LEDGER, 120;
    object_name = OBJECT_NAME, 253;
    object_key = OBJECT_KEY, 253;
    stream = STREAM, 255;
    subject_pattern = SUBJECT, 255;
    column = COLUMN, 255;
    record_path = RECORD_PATH, 512;
    table_url = TABLE_URL, 1024;
    files_url = FILES_URL, 1024;
    endpoint = ENDPOINT, 512;
    relation = RELATION, 260;
    source_column = SOURCE_COLUMN, 255;
    glob = GLOB, 1024;
    cron = CRON, 128;
    time_zone = TIME_ZONE, 64;
    header = HEADER, 128;
}

fn set_of(form: &TextForm, longest: u32, most: u32) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "pattern": form.pattern, "minLength": 1, "maxLength": longest},
        "minItems": 1,
        "maxItems": most,
        "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn servers(_: &mut SchemaGenerator) -> Schema {
    set_of(&SERVER, 255, 16)
}

pub(crate) fn subjects(_: &mut SchemaGenerator) -> Schema {
    set_of(&SUBJECT, 255, 64)
}

pub(crate) fn roles(_: &mut SchemaGenerator) -> Schema {
    set_of(&ROLE, 128, 16)
}

/// A map as labels and annotations are, with rules about its keys beside that of their form.
fn map_of(values: &Value, rules: &[(&str, &str)]) -> Schema {
    let form =
        r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
    let keys = format!("key.matches('{form}')");
    let misnamed = "a key is not one that Kubernetes takes; write letters, digits, '-', '_' and '.', with a domain and '/' in front where needed";
    let rules: Vec<Value> = [(keys.as_str(), misnamed)]
        .iter()
        .chain(rules)
        .map(
            |(rule, message)| json!({"rule": format!("self.all(key, {rule})"), "message": message}),
        )
        .collect();
    json_schema!({
        "type": "object",
        "additionalProperties": values,
        "maxProperties": 32,
        "x-kubernetes-validations": rules,
    })
}

fn label_values() -> Value {
    json!({"type": "string", "pattern": LABEL.pattern, "maxLength": 63})
}

pub(crate) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    map_of(&label_values(), &[])
}

pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    let ours = (
        "!key.startsWith('tidegate.dev/') && !key.startsWith('app.kubernetes.io/')",
        "labels that begin with tidegate.dev/ or app.kubernetes.io/ are set by Tidegate; choose another prefix",
    );
    map_of(&label_values(), &[ours])
}

pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    let ours = (
        "!key.startsWith('tidegate.dev/')",
        "annotations that begin with tidegate.dev/ are set by Tidegate; choose another prefix",
    );
    let security = (
        "!key.startsWith('container.apparmor.security.beta.kubernetes.io/')",
        "the pods' security is the operator's; remove the annotation",
    );
    map_of(&json!({"type": "string", "maxLength": 4096}), &[ours, security])
}

/// Kubernetes' own conditions, with the bounds that its definitions give them.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    let condition = json!({
        "description": "One condition.",
        "type": "object",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": {
            "type": {
                "description": "What is spoken of, such as Ready or CaughtUp.",
                "type": "string",
                "maxLength": 316,
            },
            "status": {
                "description": "Whether it is so; Unknown before anybody could look.",
                "type": "string",
                "enum": ["True", "False", "Unknown"],
            },
            "reason": {
                "description": "Why, in one of a fixed set of words; the same word stands in Events, metrics and logs.",
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
            },
            "message": {
                "description": "Why, in a sentence for people, with what to do about it.",
                "type": "string",
                "maxLength": 32768,
            },
            "observedGeneration": {
                "description": "The generation of the spec that this speaks about.",
                "type": "integer",
                "format": "int64",
                "minimum": 0,
            },
            "lastTransitionTime": {
                "description": "When the status last changed.",
                "type": "string",
                "format": "date-time",
            },
        },
    });
    json_schema!({
        "type": "array",
        "items": condition,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// RFC 3339 instants.
pub(crate) fn instant(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "minLength": 20, "maxLength": 40})
}

/// An enum whose spelling in documents is the name of its variants.
pub(crate) trait Names {
    const NAMES: &'static [&'static str];
}

/// The schema of a shared enum.
pub(crate) fn one_of<T: Names>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": T::NAMES})
}

/// The match makes a forgotten variant an error of the compiler.
macro_rules! names {
    ($($name:ident: $($variant:ident),+;)+) => {
        $(impl Names for $name {
            const NAMES: &'static [&'static str] = {
                const fn _all_are_listed(value: $name) {
                    match value { $($name::$variant => (),)+ }
                }
                &[$(stringify!($variant)),+]
            };
        })+

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn the_schema_spells_shared_enums_as_documents_do() {
                $(for name in $name::NAMES {
                    let text = serde_json::Value::String((*name).to_owned());
                    let value: $name = serde_json::from_value(text.clone()).expect(name);
                    assert_eq!(serde_json::to_value(value).expect(name), text);
                })+
            }
        }
    };
}

names! {
    Guarantee: AtMostOnce, AtLeastOnce, ExactlyOnce;
    BadRowPolicy: DeadLetter, Halt;
    Coercion: None, Lossless;
    UnknownFields: Ignore, Capture, DeadLetter;
    Evolution: Frozen, AddColumns;
    MissingKeyPolicy: Accept, DeadLetter;
    KeyPrecision: Exact, Fingerprint;
    LatePolicy: Append, DeadLetter;
    AfterRepairPolicy: DeadLetter, Append;
    Compression: ZSTD, SNAPPY, LZ4, None;
    PayloadCompression: None, Gzip, Zstd;
}
