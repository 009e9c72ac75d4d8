//! Dividing a table into ranges of a key.
//!
//! Edges are found by walking the key's index in steps of as many rows as a chunk is to have. So chunks
//! are about equal however the keys are spread; only rows of one and the same key stay together.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use serde::{Deserialize, Serialize};
use tidegate_types::Reason;

use super::failure::{Stage, explain};
use super::quote::quoted;
use super::select::{Condition, From, Select, select};
use super::source_type::SourceType;
use super::values;
use crate::{Chunk, ExtractError};

/// Most chunks of a run; a table that would have more gets larger ones.
const MOST_CHUNKS: u64 = 10_000;

/// The column by whose ranges a relation is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) source: SourceType,
}

/// A key's value, as it travels in a chunk's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeyValue {
    Signed(i64),
    Unsigned(u64),
    /// A date or time as the server prints it.
    Text(String),
}

/// What a chunk reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Bounds {
    /// Everything.
    All,
    /// Rows without a key.
    Nulls,
    /// From a key on and below another; without an edge there is none.
    Range { from: Option<KeyValue>, below: Option<KeyValue> },
}

/// What is divided: a relation, and which of its rows.
pub(super) struct Divided<'a> {
    pub(super) from: &'a From,
    pub(super) rows: &'a [Condition],
    pub(super) key: Option<&'a Key>,
    pub(super) target: u64,
}

impl Key {
    /// Whether ranges of the column are as good as a list of its rows: numbers and times are, text is
    /// ordered by rules of its own, and floats are not what they are printed as.
    pub(super) fn divides(source: &SourceType) -> bool {
        matches!(
            source,
            SourceType::Integer { .. }
                | SourceType::Year
                | SourceType::Date
                | SourceType::DateTime { .. }
                | SourceType::Timestamp { .. }
        )
    }

    fn value(&self, value: Value) -> Result<KeyValue, ExtractError> {
        match value {
            Value::Int(number) => Ok(KeyValue::Signed(number)),
            Value::UInt(number) => Ok(KeyValue::Unsigned(number)),
            other => values::text(other, &self.source).map(KeyValue::Text).map_err(|unfit| {
                let what = format!("key {:?} cannot be read: {unfit:?}", self.name);
                ExtractError::permanent(Reason::UnsupportedType, what)
            }),
        }
    }
}

impl KeyValue {
    fn parameter(&self) -> Value {
        match self {
            Self::Signed(number) => Value::Int(*number),
            Self::Unsigned(number) => Value::UInt(*number),
            Self::Text(text) => Value::Bytes(text.clone().into_bytes()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Signed(number) => number.to_string(),
            Self::Unsigned(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Bounds {
    /// The rows, as a part of WHERE; none for everything.
    pub(super) fn condition(&self, key: Option<&Key>) -> Option<Condition> {
        let column = quoted(&key?.name);
        let edges = |from: &Option<KeyValue>, below: &Option<KeyValue>| {
            let from = from.iter().map(|from| (format!("{column} >= ?"), from.parameter()));
            let below = below.iter().map(|below| (format!("{column} < ?"), below.parameter()));
            let (sql, values): (Vec<_>, Vec<_>) = from.chain(below).unzip();
            (!sql.is_empty()).then(|| Condition { sql: sql.join(" AND "), values })
        };
        match self {
            Self::All => None,
            Self::Nulls => Some(Condition { sql: format!("{column} IS NULL"), values: Vec::new() }),
            // Comparisons leave rows without a key out.
            Self::Range { from: None, below: None } => {
                Some(Condition { sql: format!("{column} IS NOT NULL"), values: Vec::new() })
            }
            Self::Range { from, below } => edges(from, below),
        }
    }

    fn shown(&self, key: &str) -> String {
        match self {
            Self::All => "all rows".to_owned(),
            Self::Nulls => format!("rows without {key}"),
            Self::Range { from: None, below: None } => format!("rows with {key}"),
            Self::Range { from: None, below: Some(below) } => {
                format!("{key} below {}", below.shown())
            }
            Self::Range { from: Some(from), below: None } => format!("{key} from {}", from.shown()),
            Self::Range { from: Some(from), below: Some(below) } => {
                format!("{key} from {} to below {}", from.shown(), below.shown())
            }
        }
    }
}

impl Divided<'_> {
    /// Counts the rows and divides them.
    pub(super) async fn chunks(&self, conn: &mut Conn) -> Result<(u64, Vec<Chunk>), ExtractError> {
        let rows = count(conn, self.from, self.rows).await?;
        let target = self.target.max(rows.div_ceil(MOST_CHUNKS)).max(1);
        let chunks = match self.key {
            Some(key) if rows > target => {
                let nulls = self.nulls(conn, key).await?;
                let edges = self.edges(conn, key, target).await?;
                described(&key.name, edges, nulls, rows, target)?
            }
            _ => vec![Chunk::new(0, Bounds::All.shown(""), &Bounds::All, rows)?],
        };
        Ok((rows, chunks))
    }

    async fn nulls(&self, conn: &mut Conn, key: &Key) -> Result<u64, ExtractError> {
        let nulls = Bounds::Nulls.condition(Some(key));
        let conditions: Vec<_> = self.rows.iter().cloned().chain(nulls).collect();
        count(conn, self.from, &conditions).await
    }

    /// The keys at which chunks begin, the first chunk's aside; each greater than the one before.
    async fn edges(
        &self,
        conn: &mut Conn,
        key: &Key,
        target: u64,
    ) -> Result<Vec<KeyValue>, ExtractError> {
        let column = quoted(&key.name);
        let mut edges: Vec<KeyValue> = Vec::new();
        while edges.len() as u64 <= MOST_CHUNKS * 2 {
            let last = edges.last().cloned();
            let from = Bounds::Range { from: last.clone(), below: None }.condition(Some(key));
            let Some(mut edge) = self.key_at(conn, key, from, target).await? else { break };
            if Some(&edge) == last.as_ref() {
                // More rows than a chunk is to have share this key.
                let behind =
                    Condition { sql: format!("{column} > ?"), values: vec![edge.parameter()] };
                let Some(next) = self.key_at(conn, key, Some(behind), 0).await? else { break };
                edge = next;
            }
            edges.push(edge);
        }
        Ok(edges)
    }

    /// The key behind the first `offset` rows of those that meet the condition too.
    async fn key_at(
        &self,
        conn: &mut Conn,
        key: &Key,
        condition: Option<Condition>,
        offset: u64,
    ) -> Result<Option<KeyValue>, ExtractError> {
        let column = quoted(&key.name);
        let conditions: Vec<_> = self.rows.iter().cloned().chain(condition).collect();
        let tail = format!("ORDER BY {column} LIMIT 1 OFFSET {offset}");
        let select = select(&column, self.from, &conditions, &tail);
        let found: Option<Value> = ask(conn, self.from, select).await?;
        found.map(|value| key.value(value)).transpose()
    }
}

/// How many rows there are.
pub(super) async fn count(
    conn: &mut Conn,
    from: &From,
    rows: &[Condition],
) -> Result<u64, ExtractError> {
    Ok(ask(conn, from, select("COUNT(*)", from, rows, "")).await?.unwrap_or(0))
}

async fn ask<T: mysql_async::prelude::FromValue + Send + 'static>(
    conn: &mut Conn,
    from: &From,
    select: Select,
) -> Result<Option<T>, ExtractError> {
    let doing = format!("dividing {}", from.shown);
    let answer = conn.exec_first(select.sql, Params::Positional(select.values)).await;
    answer.map_err(|error| explain(Stage::Reading, &doing, error))
}

/// The chunks between the edges, with those without a key behind them.
fn described(
    key: &str,
    edges: Vec<KeyValue>,
    nulls: u64,
    rows: u64,
    target: u64,
) -> Result<Vec<Chunk>, ExtractError> {
    let mut froms = vec![None];
    froms.extend(edges.iter().cloned().map(Some));
    let belows = edges.into_iter().map(Some).chain([None]);
    let mut bounds: Vec<_> =
        froms.into_iter().zip(belows).map(|(from, below)| Bounds::Range { from, below }).collect();
    let mut left = rows.saturating_sub(nulls);
    let last = bounds.len() - 1;
    let mut estimates: Vec<u64> = Vec::with_capacity(bounds.len());
    for number in 0..bounds.len() {
        let estimate = if number == last { left } else { target.min(left) };
        left -= estimate;
        estimates.push(estimate);
    }
    if nulls > 0 {
        bounds.push(Bounds::Nulls);
        estimates.push(nulls);
    }
    let numbered = (0..).zip(bounds.iter().zip(estimates));
    numbered
        .map(|(number, (bounds, rows))| Chunk::new(number, bounds.shown(key), bounds, rows))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { name: "i`d".into(), source: SourceType::Integer { bits: 64, unsigned: false } }
    }

    #[test]
    fn chunks_lie_side_by_side_from_end_to_end() {
        let edges = vec![KeyValue::Signed(10), KeyValue::Signed(20)];
        let chunks = described("id", edges, 3, 28, 10).expect("chunks");
        let what: Vec<_> = chunks.iter().map(|chunk| chunk.what.as_str()).collect();
        assert_eq!(
            what,
            ["id below 10", "id from 10 to below 20", "id from 20", "rows without id"]
        );
        let rows: Vec<_> = chunks.iter().map(|chunk| chunk.estimated_rows).collect();
        assert_eq!(rows, [10, 10, 5, 3]);
        assert_eq!(chunks.iter().map(|chunk| chunk.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn bounds_travel_as_json_and_keep_their_values() {
        let far = KeyValue::Unsigned(u64::MAX);
        let text = KeyValue::Text("2026-06-01 00:00:00".into());
        for bounds in [
            Bounds::All,
            Bounds::Nulls,
            Bounds::Range { from: Some(far), below: Some(text) },
            Bounds::Range { from: Some(KeyValue::Signed(i64::MIN)), below: None },
        ] {
            let json = serde_json::to_string(&bounds).expect("JSON");
            assert_eq!(serde_json::from_str::<Bounds>(&json).expect("bounds"), bounds);
        }
    }

    #[test]
    fn edges_are_parameters_and_keys_are_quoted() {
        let bounds =
            Bounds::Range { from: Some(KeyValue::Signed(1)), below: Some(KeyValue::Signed(5)) };
        let condition = bounds.condition(Some(&key())).expect("a condition");
        assert_eq!(condition.sql, "`i``d` >= ? AND `i``d` < ?");
        assert_eq!(condition.values, [Value::Int(1), Value::Int(5)]);
        let any = Bounds::Range { from: None, below: None };
        assert_eq!(any.condition(Some(&key())).expect("a condition").sql, "`i``d` IS NOT NULL");
        assert_eq!(Bounds::All.condition(Some(&key())), None);
    }
}
