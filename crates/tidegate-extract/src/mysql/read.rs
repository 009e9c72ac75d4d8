//! Reading a chunk: rows from the connection into batches, batches into the channel.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use tidegate_types::Reason;
use tokio::sync::mpsc;
use tracing::warn;

use super::builders::{Gathered, row_size};
use super::columns::ReadColumn;
use super::failure::{Stage, explain};
use super::quote::quoted;
use super::select::{Condition, From, select};
use super::source_type::SourceType;
use super::values::{self, Unfit};
use crate::{ChunkCounts, ExtractError, Piece};

/// What the server warned of; the first ones do.
const WARNINGS: &str = "SHOW WARNINGS LIMIT 20";

/// What every chunk has in common.
pub(super) struct Reading {
    pub(super) from: From,
    pub(super) columns: Vec<ReadColumn>,
    pub(super) schema: arrow::datatypes::SchemaRef,
    /// Which column names a row in messages.
    pub(super) key: Option<usize>,
    pub(super) batch_rows: usize,
    pub(super) batch_bytes: usize,
}

impl Reading {
    /// Reads the rows that meet all conditions. `what` is the chunk, for messages.
    pub(super) async fn read(
        &self,
        conn: &mut Conn,
        conditions: &[Condition],
        what: &str,
        into: &mpsc::Sender<Piece>,
    ) -> Result<ChunkCounts, ExtractError> {
        let doing = format!("reading {} ({what})", self.from.shown);
        let failed = |error| explain(Stage::Reading, &doing, error);
        let names: Vec<_> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        let select = select(&names.join(", "), &self.from, conditions, "");
        let statement = conn.prep(select.sql).await.map_err(failed)?;
        self.require_same(statement.columns().iter().map(SourceType::of))?;
        let parameters = Params::Positional(select.values);
        let mut result = conn.exec_iter(&statement, parameters).await.map_err(failed)?;
        let mut gathered = Gathered::new(self.schema.clone(), &self.columns);
        let mut counts = ChunkCounts::default();
        while let Some(row) = result.next().await.map_err(failed)? {
            let row = row.unwrap_raw();
            let size = row_size(&row);
            if self.is_full(&gathered, size) {
                self.send(&mut gathered, into).await?;
            }
            let place = Place { key: self.key_of(&row), row: counts.rows, chunk: what };
            self.require_values(&row, &place)?;
            gathered
                .push(row, size)
                .map_err(|(column, unfit)| self.unfit(column, &unfit, &place))?;
            counts.rows += 1;
        }
        drop(result);
        self.tell_warnings(conn, what).await.map_err(failed)?;
        if gathered.rows() > 0 {
            self.send(&mut gathered, into).await?;
        }
        Ok(counts)
    }

    /// Tells what the server warned of: a SELECT does not fail for a value that it makes null or cuts.
    async fn tell_warnings(&self, conn: &mut Conn, what: &str) -> Result<(), mysql_async::Error> {
        if conn.get_warnings() == 0 {
            return Ok(());
        }
        let told: Vec<(String, u16, String)> = conn.query(WARNINGS).await?;
        let told: Vec<_> = told.into_iter().filter(|(level, ..)| level != "Note").collect();
        if let Some((_, code, message)) = told.first() {
            let (relation, warnings) = (self.from.shown.as_str(), told.len());
            warn!(relation, chunk = what, warnings, code, %message, "the server warns of values that it has changed");
        }
        Ok(())
    }

    /// Whether a row more would be too much. A row alone makes a batch, however large it is.
    fn is_full(&self, gathered: &Gathered, more: usize) -> bool {
        let rows = gathered.rows();
        rows > 0 && (rows >= self.batch_rows || gathered.bytes() + more > self.batch_bytes)
    }

    async fn send(
        &self,
        gathered: &mut Gathered,
        into: &mpsc::Sender<Piece>,
    ) -> Result<(), ExtractError> {
        let batch = gathered.batch().map_err(|error| {
            let what = format!("the rows of {} make no batch", self.from.shown);
            ExtractError::permanent(Reason::UnsupportedType, what).because(error)
        })?;
        into.send(Piece::Rows(batch)).await.map_err(|_| ExtractError::Cancelled)
    }

    /// The columns were described under this snapshot; a query's tables may change all the same.
    fn require_same(&self, found: impl Iterator<Item = SourceType>) -> Result<(), ExtractError> {
        if found.eq(self.columns.iter().map(|column| column.source.clone())) {
            return Ok(());
        }
        let what = format!("{} has other columns than when the run began", self.from.shown);
        Err(ExtractError::transient(Reason::SourceChanged, what))
    }

    fn require_values(&self, row: &[Option<Value>], place: &Place) -> Result<(), ExtractError> {
        let missing = self.columns.iter().zip(row).find(|(column, value)| {
            column.field.required && matches!(value, None | Some(Value::NULL))
        });
        let Some((column, _)) = missing else { return Ok(()) };
        let what = format!(
            "column {:?} of {}, {}, is null, and field {:?} is required",
            column.name,
            self.from.shown,
            self.shown(place),
            column.field.name
        );
        Err(ExtractError::permanent(Reason::MissingField, what))
    }

    /// The value of the key, when it is among the columns.
    fn key_of(&self, row: &[Option<Value>]) -> Option<Value> {
        row.get(self.key?)?.clone()
    }

    /// `id 7`, or the row's number in its chunk.
    fn shown(&self, place: &Place) -> String {
        let column = self.key.and_then(|number| self.columns.get(number));
        let named = column.zip(place.key.clone()).and_then(|(column, value)| {
            values::text(value, &column.source).ok().map(|text| format!("{} {text}", column.name))
        });
        named.unwrap_or_else(|| format!("row {} of {}", place.row, place.chunk))
    }

    fn unfit(&self, number: usize, unfit: &Unfit, place: &Place) -> ExtractError {
        let column = &self.columns[number];
        let place =
            format!("column {:?} of {}, {}", column.name, self.from.shown, self.shown(place));
        let (reason, holds) = match unfit {
            Unfit::NoDate(text) => (
                Reason::OutOfRange,
                format!(
                    "{text}, which is no day; declare the column as string to have it as it stands"
                ),
            ),
            Unfit::OutOfRange(text) => (
                Reason::OutOfRange,
                format!("{text}, which does not fit into {}", column.field.data_type),
            ),
            Unfit::NotUtf8 => (Reason::InvalidEncoding, "text that is not UTF-8".to_owned()),
            Unfit::Unexpected(wanted) => {
                (Reason::UnsupportedType, format!("something else than {wanted}"))
            }
        };
        ExtractError::permanent(reason, format!("{place}, holds {holds}"))
    }
}

/// Where a row stands, for messages.
struct Place<'a> {
    key: Option<Value>,
    row: u64,
    chunk: &'a str,
}
