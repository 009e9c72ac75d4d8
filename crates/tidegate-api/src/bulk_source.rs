//! Bulk sources: databases and files.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CaRef, S3Spec, SecretRef, vocabulary};

/// What is read of a database.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.table) != has(self.query)")
        .message("a database source is a table or a query; write one of table and query"),
    validation = Rule::new("has(self.table) == has(oldSelf.table) && (!has(self.table) || self.table == oldSelf.table) && has(self.query) == has(oldSelf.query) && (!has(self.query) || self.query == oldSelf.query)")
        .message("table and query cannot be changed, because the log says which intervals of it are done; make another pipeline"),
)]
pub struct DatabaseSpec {
    /// How the database is reached.
    pub connection: ConnectionSpec,
    /// The table or view, `name` or `schema.name` (MySQL: `database.name`), as the database spells it. A
    /// part that has a dot or a double quote in it is written in double quotes, with those inside
    /// doubled. Without a schema: the connection's. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::relation")]
    pub table: Option<String>,
    /// A SELECT whose rows are read instead of a table's, without a semicolon. It runs in a transaction
    /// that cannot write. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub query: Option<String>,
    /// TLS towards the server. Default: required, with the system's authorities.
    #[serde(default)]
    pub tls: DatabaseTlsSpec,
}

/// How a database is reached.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSpec {
    /// The Secret in the pipeline's namespace, with the key `uri`, or `host`, `port`, `user`, `password`
    /// and `database`.
    pub secret_ref: SecretRef,
}

/// TLS towards a database.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'Disable' || !has(self.caRef)")
        .message("caRef has no effect on a connection without TLS; remove it, or write mode: VerifyFull")
        .field_path(".caRef"),
)]
pub struct DatabaseTlsSpec {
    /// VerifyFull (default): the connection is encrypted, and the server's certificate must be good for
    /// its name. Disable: it is plain.
    #[serde(default)]
    pub mode: TlsMode,
    /// The certificate authorities to trust. Default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

/// Whether a connection is encrypted.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TlsMode {
    /// Always, and the server's certificate must be good for its name.
    #[default]
    VerifyFull,
    /// Never.
    Disable,
}

/// Files.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.format == 'CSV' || !has(self.csv)")
        .message("csv goes with format CSV only; remove it")
        .field_path(".csv"),
    validation = Rule::new("self.format != 'Parquet' || self.compression == 'Auto' || self.compression == 'None'")
        .message("Parquet files are compressed inside; remove compression")
        .field_path(".compression"),
)]
pub struct ObjectStoreSpec {
    /// Where the files are.
    pub storage: SourceStorageSpec,
    /// Which files, relative to the address: `*` and `?` stay within a folder, `**` does not, `{a,b}` is
    /// either. Fields of time on the schedule's clock, `%Y %m %d %H %M` (and `%S`, always 00), make the files
    /// of an interval: those of `dt=%Y-%m-%d/*.csv` are of every day from the one it starts in to the one
    /// before that it ends in.
    #[schemars(schema_with = "vocabulary::glob")]
    pub glob: String,
    /// What the files hold: CSV, NDJSON (a JSON object a line) or Parquet.
    pub format: FileFormat,
    /// How whole files are compressed: Auto (default) by the end of the name (`.gz`, `.zst`), None, Gzip
    /// or Zstd.
    #[serde(default)]
    pub compression: FileCompression,
    /// How CSV is written. Only with format CSV. Default: commas, and a first line with the columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSpec>,
    /// What a file that cannot be read does: Fail (default) fails the run, DeadLetter sets the file aside
    /// as one dead letter.
    #[serde(default)]
    pub on_bad_file: OnBadFile,
}

/// Where files are.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.s3) || self.url.startsWith('s3://')")
        .message("s3 has no effect on files that are not in S3; remove it, or write url: s3://bucket/path")
        .field_path(".s3"),
    validation = Rule::new("!has(self.endpoint) || self.url.startsWith('gs://') || self.url.startsWith('abfss://')")
        .message("endpoint goes with gs:// and abfss:// addresses only; remove it, or write s3.endpoint for S3")
        .field_path(".endpoint"),
)]
pub struct SourceStorageSpec {
    /// The folder: `s3://bucket/path`, `gs://bucket/path`,
    /// `abfss://container@account.dfs.core.windows.net/path`, or `file:///absolute/path`; under
    /// `tidegate run` also `file:./path` from the working directory. Cannot be changed.
    #[schemars(schema_with = "vocabulary::files_url")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the address of the files cannot be changed, because the log says which intervals of them are done; make another pipeline"))]
    pub url: String,
    /// The Secret with the store's keys: for S3 `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, for
    /// Google `GOOGLE_SERVICE_ACCOUNT` (the account's JSON), for Azure `AZURE_STORAGE_ACCOUNT_KEY` or
    /// `AZURE_STORAGE_SAS_TOKEN`. Default: the surroundings' identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Where the store answers, `https://host` or `http://host:port`, instead of the cloud's own address. Of
    /// Azure the account follows in the path, as its stand-ins want it, unless the host begins with it, as
    /// that of a private endpoint. Only with `gs://` and `abfss://`; S3 has its own under `s3`. Default: the
    /// cloud's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::endpoint")]
    pub endpoint: Option<String>,
    /// Settings of an S3 store. Only with `s3://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Spec>,
}

/// What files hold.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileFormat {
    /// Comma-separated values.
    CSV,
    /// A JSON object a line.
    NDJSON,
    /// Parquet.
    Parquet,
}

/// How files are compressed as a whole.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FileCompression {
    /// By the end of the name.
    #[default]
    Auto,
    /// Not.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// How CSV is written.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CsvSpec {
    /// What stands between fields, one ASCII character. Default `,`.
    #[serde(default = "default_delimiter")]
    #[schemars(length(min = 1, max = 1))]
    pub delimiter: String,
    /// Whether the first line names the columns; otherwise they are those of `schema.fields` in their
    /// order. Default true.
    #[serde(default = "default_header")]
    pub header: bool,
    /// What stands for no value, beside the empty field. Default: nothing else.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub null: String,
}

impl Default for CsvSpec {
    fn default() -> Self {
        Self { delimiter: default_delimiter(), header: default_header(), null: String::new() }
    }
}

fn default_delimiter() -> String {
    ",".to_owned()
}

fn default_header() -> bool {
    true
}

/// What a file that cannot be read does.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnBadFile {
    /// The run fails.
    #[default]
    Fail,
    /// The file is one dead letter.
    DeadLetter,
}
