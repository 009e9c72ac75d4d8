//! Dividing the rows of a snapshot, and counting them.

use std::collections::BTreeMap;

use tidegate_config::NullCursorPolicy;
use tidegate_types::Reason;
use tokio_postgres::Client;

use super::bounds::{Bounds, by_blocks, by_keys};
use super::cursor::Cursor;
use super::failure::failed;
use super::relation::{Origin, qualified};
use crate::{Chunk, ExtractError, Plan};

/// A plan lies in memory and in a status.
const MOST_CHUNKS: u64 = 10_000;
/// The edges of a chunk are as good as about as many rows of a sample.
const SAMPLED_PER_CHUNK: u64 = 300;
const SMALLEST_SAMPLE: u64 = 30_000;
const BLOCKS_PER_CHUNK: u64 = 400;
/// The first release that finds the rows of a range of blocks without reading the others.
const RANGES_OF_BLOCKS: i32 = 140_000;

/// What is divided.
pub(super) struct Task<'a> {
    pub(super) client: &'a Client,
    pub(super) origin: &'a Origin,
    pub(super) cursor: Option<&'a Cursor>,
    pub(super) on_null_cursor: NullCursorPolicy,
    /// The column by whose ranges to divide.
    pub(super) field: Option<&'a str>,
    pub(super) target_rows: u64,
}

/// What the catalog says of a column.
#[derive(Debug, Clone, Copy, Default)]
struct ColumnFacts {
    /// The server sees to it in all rows, those of children too.
    never_null: bool,
    /// An index over all rows begins with it.
    indexed: bool,
    /// It alone is the primary key, and a whole number.
    integer_key: bool,
}

/// How rows are divided.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    One,
    Blocks,
    Keys(String),
}

/// What decides about the way.
#[derive(Debug, Clone, Default)]
struct Facts<'a> {
    chunks: u64,
    field: Option<&'a str>,
    /// A heap whose blocks the server can read in ranges.
    ranges_of_blocks: bool,
    /// The cursor's column, and whether the server finds its ranges by an index.
    cursor: Option<(&'a str, bool)>,
    integer_key: Option<&'a str>,
}

/// How much of the rows is looked at to divide them, as a share of one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sample {
    All,
    /// Of a table's blocks.
    Blocks(f64),
    /// Of a table's rows.
    Rows(f64),
    /// Of anything's rows.
    Random(f64),
}

/// Rows that lie in one block have like keys, so that many blocks are needed however many rows they hold.
/// `blocks` of what is no table are unknown, and of one with partitions none.
fn sample_of(wanted: u64, rows: u64, blocks: Option<u64>, chunks: u64) -> Sample {
    let share = wanted as f64 / rows as f64;
    let Some(blocks) = blocks else {
        return if share < 0.5 { Sample::Random(share) } else { Sample::All };
    };
    let of_blocks = share.max((chunks * BLOCKS_PER_CHUNK) as f64 / blocks as f64);
    match share {
        _ if of_blocks < 0.25 => Sample::Blocks(of_blocks),
        ..0.5 => Sample::Rows(share),
        _ => Sample::All,
    }
}

fn way(facts: &Facts<'_>) -> Way {
    if facts.chunks <= 1 {
        return Way::One;
    }
    match (facts.field, facts.cursor, facts.integer_key) {
        (Some(field), ..) => Way::Keys(field.to_owned()),
        (None, Some((cursor, true)), _) => Way::Keys(cursor.to_owned()),
        _ if facts.ranges_of_blocks => Way::Blocks,
        // Every chunk reads everything and keeps its share: no better than one.
        (None, Some((_, false)), _) => Way::One,
        (None, None, Some(key)) => Way::Keys(key.to_owned()),
        (None, None, None) => Way::One,
    }
}

impl Task<'_> {
    pub(super) async fn plan(&self) -> Result<Plan, ExtractError> {
        let columns = self.column_facts().await?;
        let null_cursors = self.null_cursors().await?;
        let rows = self.count(self.cursor.map(|cursor| cursor.predicate.as_str())).await?;
        let bounds = if rows == 0 { Vec::new() } else { self.divide(rows, &columns).await? };
        let share = rows / u64::try_from(bounds.len()).unwrap_or(1).max(1);
        let chunks = (0..)
            .zip(bounds)
            .map(|(number, bounds)| Chunk::new(number, bounds.words(), &bounds, share));
        let chunks = chunks.collect::<Result<_, ExtractError>>()?;
        Ok(Plan { chunks, rows: Some(rows), fingerprint: None, pinned: false, null_cursors })
    }

    async fn divide(
        &self,
        rows: u64,
        columns: &BTreeMap<String, ColumnFacts>,
    ) -> Result<Vec<Bounds>, ExtractError> {
        let facts_of = |column: &str| columns.get(column).copied().unwrap_or_default();
        let chunks = rows.div_ceil(self.target_rows.max(1)).min(MOST_CHUNKS);
        let integer_key = columns.iter().find(|(_, facts)| facts.integer_key);
        let facts = Facts {
            chunks,
            field: self.field,
            ranges_of_blocks: chunks > 1 && self.has_ranges_of_blocks().await?,
            cursor: self
                .cursor
                .map(|cursor| (cursor.column.as_str(), facts_of(&cursor.column).indexed)),
            integer_key: integer_key.map(|(name, _)| name.as_str()),
        };
        Ok(match way(&facts) {
            Way::One => vec![Bounds::All],
            Way::Blocks => by_blocks(self.blocks().await?, chunks),
            Way::Keys(column) => {
                let edges = self.edges(&column, rows, chunks).await?;
                by_keys(&column, edges, !facts_of(&column).never_null)
            }
        })
    }

    async fn count(&self, predicate: Option<&str>) -> Result<u64, ExtractError> {
        let condition =
            predicate.map_or_else(String::new, |predicate| format!(" WHERE {predicate}"));
        let statement = format!("SELECT pg_catalog.count(*) FROM {}{condition}", self.origin.from);
        let doing = format!("counting the rows of {}", self.origin.label);
        let row = self.client.query_one(&statement, &[]).await;
        let count: i64 =
            row.and_then(|row| row.try_get(0)).map_err(|error| failed(&doing, error))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Rows that belong to no interval.
    async fn null_cursors(&self) -> Result<u64, ExtractError> {
        let Some(cursor) = self.cursor else { return Ok(0) };
        let count = self.count(Some(&cursor.none)).await?;
        if count > 0 && self.on_null_cursor == NullCursorPolicy::Fail {
            let what = format!(
                "{count} rows of {} have no {:?}, or an infinite one, and belong to no interval: fill it in, or set bulk.incremental.onNullCursor to Ignore",
                self.origin.label, cursor.column
            );
            return Err(ExtractError::permanent(Reason::NullCursor, what));
        }
        Ok(count)
    }

    /// Keys that divide the rows evenly, by a sample when there are many.
    async fn edges(
        &self,
        column: &str,
        rows: u64,
        chunks: u64,
    ) -> Result<Vec<String>, ExtractError> {
        let fractions: Vec<f64> = (1..chunks).map(|index| index as f64 / chunks as f64).collect();
        let key = qualified(column);
        let sample = self.sample(rows, chunks).await?;
        let tablesample = match sample {
            Sample::Blocks(share) => format!(" TABLESAMPLE SYSTEM ({})", share * 100.0),
            Sample::Rows(share) => format!(" TABLESAMPLE BERNOULLI ({})", share * 100.0),
            Sample::All | Sample::Random(_) => String::new(),
        };
        let mut conditions = vec![format!("{key} IS NOT NULL")];
        conditions.extend(self.cursor.map(|cursor| cursor.predicate.clone()));
        if let Sample::Random(share) = sample {
            conditions.push(format!("pg_catalog.random() < {share}"));
        }
        let statement = format!(
            "SELECT (pg_catalog.percentile_disc($1::float8[]) WITHIN GROUP (ORDER BY {key}))::text[] \
             FROM {}{tablesample} WHERE {}",
            self.origin.from,
            conditions.join(" AND ")
        );
        let doing = format!("dividing {} by {column:?}", self.origin.label);
        let row = self.client.query_one(&statement, &[&fractions]).await;
        let edges: Option<Vec<Option<String>>> =
            row.and_then(|row| row.try_get(0)).map_err(|error| failed(&doing, error))?;
        Ok(edges.unwrap_or_default().into_iter().flatten().collect())
    }

    /// A sample of a table's blocks is had without reading the others, of anything else by chance.
    async fn sample(&self, rows: u64, chunks: u64) -> Result<Sample, ExtractError> {
        let wanted = (chunks * SAMPLED_PER_CHUNK).max(SMALLEST_SAMPLE);
        let table = self.origin.table.as_ref().filter(|table| table.can_be_sampled());
        if self.cursor.is_some() || table.is_none() {
            return Ok(sample_of(wanted, rows, None, chunks));
        }
        Ok(sample_of(wanted, rows, Some(self.blocks().await?), chunks))
    }

    async fn has_ranges_of_blocks(&self) -> Result<bool, ExtractError> {
        if !self.origin.table.as_ref().is_some_and(|table| table.is_one_heap) {
            return Ok(false);
        }
        let version = "SELECT pg_catalog.current_setting('server_version_num')::int4";
        let row = self.client.query_one(version, &[]).await;
        let version: i32 = row
            .and_then(|row| row.try_get(0))
            .map_err(|error| failed("asking for the server's version", error))?;
        Ok(version >= RANGES_OF_BLOCKS)
    }

    /// Blocks of the heap; one with partitions has none of its own.
    async fn blocks(&self) -> Result<u64, ExtractError> {
        let Some(table) = &self.origin.table else { return Ok(0) };
        let statement = "SELECT pg_catalog.pg_relation_size($1::oid::regclass, 'main') \
                         / pg_catalog.current_setting('block_size')::int8";
        let row = self.client.query_one(statement, &[&table.oid]).await;
        let blocks: i64 = row
            .and_then(|row| row.try_get(0))
            .map_err(|error| failed("asking for a table's size", error))?;
        Ok(u64::try_from(blocks).unwrap_or(0))
    }

    async fn column_facts(&self) -> Result<BTreeMap<String, ColumnFacts>, ExtractError> {
        let Some(table) = &self.origin.table else { return Ok(BTreeMap::new()) };
        // Children of a table, foreign ones and rows from before a constraint may hold nulls all the same.
        let statement = "SELECT a.attname::text, \
             a.attnotnull AND (c.relkind = 'p' OR c.relkind = 'r' AND NOT c.relhassubclass) \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS n \
                 WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND NOT n.convalidated \
                 AND a.attnum = ANY (n.conkey)), \
             EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = a.attrelid \
               AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum), \
             EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = a.attrelid \
               AND i.indisprimary AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum \
               AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)) \
             FROM pg_catalog.pg_attribute AS a \
             JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
        let rows = self.client.query(statement, &[&table.oid]).await;
        let rows = rows.map_err(|error| failed("asking for a table's columns", error))?;
        Ok(rows
            .iter()
            .map(|row| {
                let facts = ColumnFacts {
                    never_null: row.get(1),
                    indexed: row.get(2),
                    integer_key: row.get(3),
                };
                (row.get(0), facts)
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_large_enough_and_no_larger() {
        for (rows, blocks, chunks, expected) in [
            (100_000_000, Some(1_000_000), 20, Sample::Blocks(0.008)),
            (100_000, Some(700), 8, Sample::Rows(0.3)),
            (100_000_000, Some(0), 20, Sample::Rows(0.0003)),
            (40_000, Some(300), 8, Sample::All),
            (100_000_000, None, 20, Sample::Random(0.0003)),
            (40_000, None, 8, Sample::All),
        ] {
            assert_eq!(sample_of(30_000, rows, blocks, chunks), expected, "{rows} {blocks:?}");
        }
    }

    #[test]
    fn the_way_is_the_one_on_which_the_server_reads_least() {
        let many = Facts { chunks: 9, ..Facts::default() };
        for (facts, expected) in [
            (Facts { chunks: 1, field: Some("f"), ..Facts::default() }, Way::One),
            (
                Facts { field: Some("f"), ranges_of_blocks: true, ..many.clone() },
                Way::Keys("f".into()),
            ),
            (
                Facts { ranges_of_blocks: true, integer_key: Some("id"), ..many.clone() },
                Way::Blocks,
            ),
            (Facts { integer_key: Some("id"), ..many.clone() }, Way::Keys("id".into())),
            (
                Facts { cursor: Some(("at", true)), ranges_of_blocks: true, ..many.clone() },
                Way::Keys("at".into()),
            ),
            (
                Facts { cursor: Some(("at", false)), ranges_of_blocks: true, ..many.clone() },
                Way::Blocks,
            ),
            (
                Facts { cursor: Some(("at", false)), integer_key: Some("id"), ..many.clone() },
                Way::One,
            ),
            (many.clone(), Way::One),
        ] {
            assert_eq!(way(&facts), expected, "{facts:?}");
        }
    }
}
