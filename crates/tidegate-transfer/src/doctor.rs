//! One look at everything that a bulk pipeline stands on: the source with its columns and rights, the
//! store, the table.

use std::path::PathBuf;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::ObjectStore;
use tidegate_config::{
    BulkSource, Recount, SourceSays, TransferConfig, WriteMode, late_files_in_words,
};
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{Random, RunError, in_words, open_source_store, open_store};
use tidegate_table::ledger::Intervals;
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_table::store;
use tidegate_types::{DataInterval, Reason, first_names};

use crate::dead_letters::DeadLetters;
use crate::decide::{cursor_mark, has_failed, other_in_words, other_neighbour};
use crate::fit::{check_columns, check_known, check_ledger};
use crate::recount::{MOST_LOOKED_AT_FOR_LATE_FILES, can_be_stale, recount};
use crate::rewound::check_not_rewound;
use crate::schedule::grid;
use crate::source::request;

/// How long a store may take to say anything at all: its client asks again for minutes.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Counting a large table takes long, and a look must not.
const COUNT_WITHIN: Duration = Duration::from_secs(10);
/// Columns that are named; the rest is counted.
const NAMED: usize = 12;

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// At what.
    pub what: &'static str,
    /// What was found, or what is wrong with it.
    pub found: Result<String, String>,
}

/// Looks at everything; whatever fails, the rest is looked at as well.
pub async fn doctor(config: &TransferConfig, secrets_dir: Option<PathBuf>) -> Vec<Look> {
    let secrets = Secrets::new(secrets_dir.clone());
    let (mut looks, mut columns) = (Vec::new(), None);
    let silent = silent_source(config, &secrets).await;
    if let Some(why) = &silent {
        looks.push(Look { what: "source", found: Err(why.clone()) });
    } else {
        columns = look_at_source(config, &secrets, &mut looks).await;
        look_at_rights(config, &secrets, &mut looks).await;
    }
    look_at_table(config, &secrets, columns.as_deref(), &mut looks).await;
    // A log or a source that cannot be read was told above.
    if silent.is_none() && looks.iter().all(|look| look.found.is_ok()) {
        look_for_late_files(config, secrets_dir, &mut looks).await;
    }
    looks
}

/// Why nothing is heard of the files' store. Whatever else is wrong is told when it is opened.
async fn silent_source(config: &TransferConfig, secrets: &Secrets) -> Option<String> {
    let BulkSource::ObjectStore(source) = &config.source else { return None };
    let store = open_source_store(source, secrets).ok()?;
    let secret = source.secret.as_deref();
    silent(&*store, &source.url, ("source.objectStore.storage.secretRef", secret)).await
}

/// Why nothing is heard of a store, asked for the first page of what it holds; `secret` is the field that may
/// name one, and what it names.
async fn silent(
    store: &dyn ObjectStore,
    url: &str,
    (field, secret): (&str, Option<&str>),
) -> Option<String> {
    let mut listed = store.list(None);
    tokio::time::timeout(ANSWERS_WITHIN, listed.try_next()).await.err()?;
    let seconds = ANSWERS_WITHIN.as_secs();
    Some(match secret {
        Some(_) => format!("{url} did not answer within {seconds} s; can it be reached from here?"),
        None => format!(
            "{url} did not answer within {seconds} s; {field} names no secret, so that it was asked by the \
             identity of this machine: name a secret, or see that there is such an identity here"
        ),
    })
}

fn ok(what: &'static str, found: impl Into<String>) -> Look {
    Look { what, found: Ok(found.into()) }
}

fn failed(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Look {
    Look { what, found: Err(in_words(error)) }
}

/// Opens the source without waiting for anybody, and counts. Its columns, if it told them.
async fn look_at_source(
    config: &TransferConfig,
    secrets: &Secrets,
    looks: &mut Vec<Look>,
) -> Option<SchemaRef> {
    let newest = newest_interval(config);
    let mut wanted = request(config, secrets, newest);
    wanted.incremental = None;
    let snapshot = match tidegate_extract::open(wanted).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            looks.push(failed("source", &error));
            return None;
        }
    };
    let columns = snapshot.columns();
    looks.push(ok("source", columns_in_words(&columns)));
    match tokio::time::timeout(COUNT_WITHIN, snapshot.plan()).await {
        Ok(Ok(plan)) => {
            let rows: u64 = plan.chunks.iter().map(|chunk| chunk.estimated_rows).sum();
            let rows = match plan.rows {
                Some(rows) => format!("{rows} rows"),
                None if rows > 0 => format!("about {rows} rows"),
                None => "as many rows as its files have".to_owned(),
            };
            let chunks = plan.chunks.len();
            let chunks =
                if chunks == 1 { "1 chunk".to_owned() } else { format!("{chunks} chunks") };
            looks.push(ok("size", format!("{rows}, in {chunks}")));
        }
        Ok(Err(error)) => looks.push(failed("size", &error)),
        Err(_) => looks.push(ok("size", "so many rows that counting takes a while")),
    }
    snapshot.close().await;
    Some(columns).filter(|columns| !columns.fields().is_empty())
}

/// Whether open transactions can be seen (B7): asked for an hour that nobody can be writing to any more.
async fn look_at_rights(config: &TransferConfig, secrets: &Secrets, looks: &mut Vec<Look>) {
    if config.incremental.is_none() {
        return;
    }
    let (start, end) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(3_600));
    let Some(past) = end.ok().and_then(|end| DataInterval::new(start, end).ok()) else { return };
    match tidegate_extract::open(request(config, secrets, Some(past))).await {
        Ok(snapshot) => {
            looks.push(ok("rights", "the cursor can be read, and other transactions can be seen"));
            snapshot.close().await;
        }
        Err(error) => looks.push(failed("rights", &error)),
    }
}

/// The interval of the newest tick: files are looked for by it.
fn newest_interval(config: &TransferConfig) -> Option<DataInterval> {
    let grid = grid(config).ok()??;
    grid.interval_ending(grid.tick_at_or_before(Timestamp::now())?).ok()
}

async fn look_at_table(
    config: &TransferConfig,
    secrets: &Secrets,
    columns: Option<&Schema>,
    looks: &mut Vec<Look>,
) {
    let opened = match open_store(&config.sink, secrets) {
        Ok(opened) => opened,
        Err(error) => return looks.push(failed("store", &error)),
    };
    let secret = ("sink.storage.secretRef", config.sink.secret.as_deref());
    if let Some(why) = silent(&*opened.data, &config.sink.url, secret).await {
        return looks.push(Look { what: "store", found: Err(why) });
    }
    if let Err(error) = store::probe(&opened, Random::from_system().nonce()).await {
        return looks.push(failed("store", &error));
    }
    looks.push(ok("store", format!("{} honours a conditional put", config.sink.url)));
    let log = CommitLog::open(&opened);
    let table = match log.load().await {
        Ok(Some(table)) => table,
        Ok(None) => return looks.push(ok("table", "not there yet and will be made")),
        Err(error) => return looks.push(failed("table", &error)),
    };
    looks.push(match table_in_words(config, &log, &table).await {
        Ok(found) => ok("table", found),
        Err(error) => failed("table", &error),
    });
    looks.extend(look_at_columns(config, &table, columns));
    let letters = DeadLetters::new(&opened, &config.ledger);
    match letters.removed_in_words(&table).await {
        Ok(removed) => {
            looks.extend(removed.map(|what| Look { what: "dead letters", found: Err(what) }))
        }
        Err(error) => looks.push(failed("dead letters", &error)),
    }
}

/// Whether files came after their interval was loaded (B8): nobody loads them unasked.
async fn look_for_late_files(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
    looks: &mut Vec<Look>,
) {
    if !can_be_stale(config) {
        return;
    }
    let asked = recount(config, secrets_dir, MOST_LOOKED_AT_FOR_LATE_FILES);
    let Ok(recount) = asked.await else { return };
    let found = files_in_words(config.write_mode, &recount);
    looks.extend(found.map(|found| Look { what: "files", found }));
}

/// None before anything was loaded.
fn files_in_words(write_mode: WriteMode, recount: &Recount) -> Option<Result<String, String>> {
    let asked = recount.answers.len();
    let late: Vec<_> = recount.stale().flatten().collect();
    let silent: Vec<_> = recount
        .answers
        .iter()
        .filter_map(|one| match &one.says {
            SourceSays::Nothing(why) => Some(why),
            _ => None,
        })
        .collect();
    match (asked, late.as_slice(), silent.as_slice()) {
        (0, ..) => None,
        (_, [], []) => {
            Some(Ok(format!("those of the newest {asked} intervals are as they were loaded")))
        }
        (_, [], [why, ..]) => {
            let told = silent.len();
            Some(Err(format!("of {told} of the newest {asked} intervals nothing is known: {why}")))
        }
        // Nothing loads them, so this is no fault that somebody could mend.
        (_, late, _) if write_mode == WriteMode::Append => {
            Some(Ok(late_files_in_words(late, write_mode)))
        }
        (_, late, _) => Some(Err(late_files_in_words(late, write_mode))),
    }
}

/// Whether the rows of the source fit the table, as a run would find it.
fn look_at_columns(
    config: &TransferConfig,
    table: &TableSnapshot,
    columns: Option<&Schema>,
) -> Option<Look> {
    let checked = match columns {
        Some(columns) => check_columns(config, table, columns),
        None => check_known(config, table).map(|()| Vec::new()),
    };
    match (checked, columns) {
        (Err(error), _) => Some(failed("columns", &error)),
        (Ok(_), None) => None,
        (Ok(missing), Some(_)) if missing.is_empty() => {
            Some(ok("columns", "the source's fit the table's"))
        }
        // It may be meant so, and every run says it.
        (Ok(missing), Some(_)) => {
            let missing = first_names(missing, NAMED);
            let found = format!(
                "the table has some that are not at the source, which are null in rows of new runs: {missing}"
            );
            Some(ok("columns", found))
        }
    }
}

async fn table_in_words(
    config: &TransferConfig,
    log: &CommitLog,
    table: &TableSnapshot,
) -> Result<String, RunError> {
    table.check_usable(log.root().as_str())?;
    check_ledger(config, table)?;
    let known = Intervals::read(table.txns(), &config.ledger)?;
    check_not_rewound(log, table, config, &known).await?;
    check_cursor(config, &known)?;
    let done = known.iter().filter(|(_, state)| state.held().is_some()).count();
    let begun = known.iter().filter(|(_, state)| has_failed(state)).count();
    Ok(format!("version {}, {done} intervals done, {begun} begun and not done", table.version()))
}

/// Whether the next run of the schedule would be refused for what its bounds mean (B7).
fn check_cursor(config: &TransferConfig, known: &Intervals) -> Result<(), RunError> {
    let scheduled = config.schedule.is_some() && config.write_mode != WriteMode::Overwrite;
    let Some(mark) = cursor_mark(config).filter(|_| scheduled) else { return Ok(()) };
    let Some(other) = other_neighbour(known, mark, None) else { return Ok(()) };
    let what = other_in_words(other, None, config.write_mode);
    Err(RunError::permanent(Reason::InvalidConfiguration, what))
}

fn columns_in_words(columns: &Schema) -> String {
    let name = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        format!("{} {}", field.name(), field.data_type())
    };
    let named = first_names(columns.fields().iter().map(name), NAMED);
    format!("{} columns: {named}", columns.fields().len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};
    use tidegate_config::SourceAnswer;

    use super::*;

    /// Takes requests and never answers.
    async fn deaf() -> Arc<dyn ObjectStore> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                held.push(connection);
            }
        });
        let mut options = store::StoreOptions::new("s3://lake/orders".parse().unwrap());
        options.endpoint = Some(endpoint);
        options.path_style = true;
        options.keys = Some(store::Keys::S3(Arc::new(AnyKey)));
        store::open(&options).unwrap().data
    }

    #[derive(Debug)]
    struct AnyKey;

    impl store::KeySource<store::AccessKey> for AnyKey {
        fn read(&self) -> Result<store::AccessKey, Box<dyn std::error::Error + Send + Sync>> {
            Ok(store::AccessKey { id: "id".into(), secret: "secret".into(), token: None })
        }
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_given_up_soon_and_told_with_who_asked() {
        let begun = std::time::Instant::now();
        let deaf = deaf().await;
        let by_key = silent(&*deaf, "s3://lake/orders", ("f.secretRef", Some("s3"))).await.unwrap();
        assert!(begun.elapsed() < ANSWERS_WITHIN * 2, "{:?}", begun.elapsed());
        assert!(by_key.contains("s3://lake/orders did not answer within 5 s"), "{by_key}");
        tokio::time::pause();
        let by_machine = silent(&*deaf, "gs://lake/orders", ("f.secretRef", None)).await.unwrap();
        assert!(by_machine.contains("f.secretRef names no secret"), "{by_machine}");
        let here = object_store::memory::InMemory::new();
        assert_eq!(silent(&here, "memory:///", ("f.secretRef", None)).await, None);
    }

    #[test]
    fn files_are_as_they_were_loaded_only_where_every_listing_says_so() {
        use SourceSays::{Nothing, OtherFiles, SameFiles};
        let answers = |says: &[SourceSays]| {
            let of = |(hour, says): (i64, &SourceSays)| {
                let at = |hour: i64| Timestamp::from_second(hour * 3_600).unwrap();
                let interval = DataInterval::new(at(hour), at(hour + 1)).ok();
                SourceAnswer { interval, says: says.clone() }
            };
            Recount { answers: (0..).zip(says).map(of).collect(), left_out: 0 }
        };
        let silent = Nothing("no answer within 30 s".into());
        let found = |says: &[SourceSays], mode| files_in_words(mode, &answers(says));
        let (replace, append) = (WriteMode::ReplaceInterval, WriteMode::Append);
        assert_eq!(found(&[], replace), None);
        assert!(found(&[SameFiles], replace).is_some_and(|found| found.is_ok()));
        let why = found(&[SameFiles, silent.clone()], replace).and_then(Result::err);
        assert!(
            why.is_some_and(|why| why.contains("of 1 of the newest 2") && why.contains("30 s"))
        );
        assert!(found(&[silent], append).is_some_and(|found| found.is_err()));
        assert!(found(&[SameFiles, OtherFiles], replace).is_some_and(|found| found.is_err()));
        assert!(found(&[SameFiles, OtherFiles], append).is_some_and(|found| found.is_ok()));
    }

    #[test]
    fn many_columns_are_counted_and_the_first_ones_named() {
        let field = |n: usize| Field::new(format!("c{n}"), DataType::Int64, true);
        let text = columns_in_words(&Schema::new((0..2).map(field).collect::<Vec<_>>()));
        assert_eq!(text, "2 columns: c0 Int64, c1 Int64");
        let text = columns_in_words(&Schema::new((0..20).map(field).collect::<Vec<_>>()));
        assert!(text.starts_with("20 columns: c0") && text.ends_with("and 8 more"), "{text}");
    }
}
