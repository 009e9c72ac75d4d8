//! Bulk sources.

use std::path::Path;

use jiff::Timestamp;
use tidegate_api::{
    CsvSpec, DatabaseSpec, FileCompression as CompressionSpec, FileFormat as FormatSpec,
    ObjectStoreSpec, OnBadFile, SourceSpec, SourceType, TlsMode as TlsSpec,
};
use tidegate_config::{
    BadFilePolicy, BulkSource, CsvOptions, DatabaseSource, DatabaseTls, FileCompression,
    FileFormat, FileRef, ObjectSource, Relation, TlsMode,
};
use tidegate_schedule::{Grid, Template};

use crate::faults::Faults;
use crate::{location, sink};

pub(crate) fn resolve(
    spec: &SourceSpec,
    directory: Option<&Path>,
    faults: &mut Faults,
) -> Option<BulkSource> {
    match spec.source_type {
        SourceType::JetStream => None,
        SourceType::Postgres => {
            let found = spec.postgres.as_ref();
            database(found?, "spec.source.postgres", faults).map(BulkSource::Postgres)
        }
        SourceType::MySQL => {
            let found = spec.mysql.as_ref();
            database(found?, "spec.source.mysql", faults).map(BulkSource::MySql)
        }
        SourceType::ObjectStore => {
            objects(spec.object_store.as_ref()?, directory, faults).map(BulkSource::ObjectStore)
        }
    }
}

/// Whether records are JSON, into which paths lead.
pub(crate) fn holds_json(source: &BulkSource) -> bool {
    matches!(source, BulkSource::ObjectStore(objects) if objects.format == FileFormat::NdJson)
}

fn database(spec: &DatabaseSpec, place: &str, faults: &mut Faults) -> Option<DatabaseSource> {
    let relation = match (&spec.table, &spec.query) {
        (Some(table), _) => match table_name(table) {
            Ok(relation) => relation,
            Err(problem) => {
                faults.add(format!("{place}.table"), format!("{table:?} {problem}"));
                faults.instead("write name or schema.name, and a part with dots in double quotes");
                return None;
            }
        },
        (None, Some(query)) => Relation::Query(whole_query(query, place, faults)?),
        (None, None) => {
            faults.add(place, "has neither table nor query");
            faults.instead("write one of them");
            return None;
        }
    };
    Some(DatabaseSource {
        connection: spec.connection.secret_ref.name.clone(),
        relation,
        tls: DatabaseTls {
            mode: match spec.tls.mode {
                TlsSpec::VerifyFull => TlsMode::VerifyFull,
                TlsSpec::Disable => TlsMode::Disable,
            },
            ca: spec
                .tls
                .ca_ref
                .as_ref()
                .map(|ca| FileRef { name: ca.name.clone(), key: ca.key.clone() }),
        },
    })
}

/// A query that is put in parentheses: an end of the statement in it would end it there.
fn whole_query(query: &str, place: &str, faults: &mut Faults) -> Option<String> {
    let query = query.trim();
    let problem = if query.is_empty() {
        "is empty"
    } else if query.ends_with(';') {
        "ends with a semicolon"
    } else if query.contains('\0') {
        "has a zero byte in it"
    } else {
        return Some(query.to_owned());
    };
    faults.add(format!("{place}.query"), problem);
    faults.instead("write one SELECT without a semicolon");
    None
}

/// `name` or `schema.name`; a part in double quotes may have dots, and doubled quotes, in it.
fn table_name(text: &str) -> Result<Relation, &'static str> {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = text;
    loop {
        let (part, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted)?,
            None => plain_part(rest)?,
        };
        if part.is_empty() {
            return Err("has an empty part");
        }
        parts.push(part);
        match behind.strip_prefix('.') {
            Some(next) => rest = next,
            None if behind.is_empty() => break,
            None => return Err("has something behind a closing quote"),
        }
    }
    let name = parts.pop().unwrap_or_default();
    match (parts.pop(), parts.is_empty()) {
        (schema, true) => Ok(Relation::Table { schema, name }),
        _ => Err("has more than two parts"),
    }
}

fn plain_part(text: &str) -> Result<(String, &str), &'static str> {
    let end = text.find('.').unwrap_or(text.len());
    let (part, behind) = text.split_at(end);
    if part.contains('"') {
        return Err("has a quote inside a part that is not quoted");
    }
    Ok((part.to_owned(), behind))
}

fn quoted_part(text: &str) -> Result<(String, &str), &'static str> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or("has a quote that is not closed")?;
        part.push_str(&rest[..end]);
        let behind = &rest[end + 1..];
        match behind.strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None => return Ok((part, behind)),
        }
    }
}

fn objects(
    spec: &ObjectStoreSpec,
    directory: Option<&Path>,
    faults: &mut Faults,
) -> Option<ObjectSource> {
    let place = "spec.source.objectStore";
    check_glob(&spec.glob, place, faults);
    let csv = csv(spec.csv.as_ref(), place, faults);
    let url = match location::files_url(&spec.storage.url, directory) {
        Ok(url) => url,
        Err(fault) => {
            faults.add(format!("{place}.storage.url"), fault.problem);
            faults.instead(fault.instead);
            return None;
        }
    };
    Some(ObjectSource {
        url,
        secret: spec.storage.secret_ref.as_ref().map(|secret| secret.name.clone()),
        endpoint: spec.storage.endpoint.as_deref().map(sink::endpoint),
        s3: spec.storage.s3.as_ref().map(sink::s3).unwrap_or_default(),
        glob: spec.glob.clone(),
        format: match spec.format {
            FormatSpec::CSV => FileFormat::Csv,
            FormatSpec::NDJSON => FileFormat::NdJson,
            FormatSpec::Parquet => FileFormat::Parquet,
        },
        compression: match spec.compression {
            CompressionSpec::Auto => FileCompression::Auto,
            CompressionSpec::None => FileCompression::None,
            CompressionSpec::Gzip => FileCompression::Gzip,
            CompressionSpec::Zstd => FileCompression::Zstd,
        },
        csv,
        on_bad_file: match spec.on_bad_file {
            OnBadFile::Fail => BadFilePolicy::Fail,
            OnBadFile::DeadLetter => BadFilePolicy::DeadLetter,
        },
    })
}

fn csv(spec: Option<&CsvSpec>, place: &str, faults: &mut Faults) -> CsvOptions {
    let spec = spec.cloned().unwrap_or_default();
    let mut letters = spec.delimiter.chars();
    let delimiter = match (letters.next(), letters.next()) {
        (Some(one), None) if one.is_ascii() && !matches!(one, '"' | '\r' | '\n' | '\0') => one,
        _ => {
            faults.add(
                format!("{place}.csv.delimiter"),
                format!("{:?} cannot stand between fields", spec.delimiter),
            );
            faults.instead("write one ASCII character such as , or ; or a tab");
            ','
        }
    };
    CsvOptions { delimiter, header: spec.header, null: spec.null }
}

fn check_glob(glob: &str, place: &str, faults: &mut Faults) {
    let place = format!("{place}.glob");
    if let Err(error) = Template::new(glob) {
        faults.add(&place, error.problem);
        faults.instead(error.remedy);
    }
    if glob.split('/').any(|step| matches!(step, "" | "." | "..")) {
        faults.add(&place, "has an empty step, . or .. in it");
        faults.instead("write the steps below the address, such as 2026/*.csv");
    }
}

/// Whether files that are named for the time are divided among the schedule's intervals.
pub(crate) fn check_names(source: &BulkSource, grid: &Grid, now: Timestamp, faults: &mut Faults) {
    let BulkSource::ObjectStore(files) = source else { return };
    // One that cannot be read was told already.
    let Ok(template) = Template::new(&files.glob) else { return };
    if let Err(error) = template.check(grid, now) {
        faults.add("spec.source.objectStore.glob", error.problem);
        faults.instead(error.remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_one_or_two_parts_that_may_be_quoted() {
        let table = |schema: Option<&str>, name: &str| {
            Ok(Relation::Table { schema: schema.map(str::to_owned), name: name.to_owned() })
        };
        for (text, wanted) in [
            ("orders", table(None, "orders")),
            ("public.Orders", table(Some("public"), "Orders")),
            ("public.my orders", table(Some("public"), "my orders")),
            (r#""a.b"."c""d""#, table(Some("a.b"), "c\"d")),
            (r#"public."a.b""#, table(Some("public"), "a.b")),
            (r#"x"; DROP TABLE y; --"#, Err("has a quote inside a part that is not quoted")),
            (r#""x" y"#, Err("has something behind a closing quote")),
            (r#""x"#, Err("has a quote that is not closed")),
            ("a.b.c", Err("has more than two parts")),
            ("a.", Err("has an empty part")),
            (".a", Err("has an empty part")),
            (r#""""#, Err("has an empty part")),
            (r#"""""#, Err("has a quote that is not closed")),
        ] {
            assert_eq!(table_name(text), wanted, "{text}");
        }
    }
}
