//! What is read: the relation in the server's catalog, and its columns.

use tidegate_config::Relation;
use tidegate_types::{Field, Reason, SYSTEM_PREFIX, did_you_mean};
use tokio_postgres::Client;

use super::failure::failed;
use super::types::{Described, Selected, map};
use crate::ExtractError;
use crate::sql::identifier;

/// What the relation is called within our statements.
pub(super) const ALIAS: &str = "\"tg\"";
/// Characters that Delta allows in no column's name.
const NOT_IN_NAMES: &str = " ,;{}()\n\t=";

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// What stands behind `FROM`, alias included.
    pub(super) from: String,
    /// For people.
    pub(super) label: String,
    /// What the catalog says of a table or view; none of a query.
    pub(super) table: Option<Table>,
}

/// What the catalog says of a table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) oid: u32,
    /// `r` is a table, `p` one with partitions, `v` a view, `m` a materialised one, `f` a foreign table.
    pub(super) kind: String,
    /// Whether its rows lie in one heap of its own.
    pub(super) is_one_heap: bool,
}

impl Table {
    /// Whether a sample of its blocks can be read.
    pub(super) fn can_be_sampled(&self) -> bool {
        matches!(self.kind.as_str(), "r" | "p" | "m")
    }
}

impl Origin {
    /// Looks the relation up.
    pub(super) async fn find(client: &Client, relation: &Relation) -> Result<Self, ExtractError> {
        let (schema, name) = match relation {
            Relation::Query(query) => return Ok(Self::of_query(query)),
            Relation::Table { schema, name } => (schema.as_deref(), name.as_str()),
        };
        let quoted = match schema {
            Some(schema) => format!("{}.{}", identifier(schema), identifier(name)),
            None => identifier(name),
        };
        let row = client
            .query_opt(
                "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
                 coalesce(a.amname = 'heap', false) AND NOT c.relhassubclass \
                 FROM pg_catalog.pg_class AS c \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_catalog.pg_am AS a ON a.oid = c.relam \
                 WHERE c.oid = pg_catalog.to_regclass($1)",
                &[&quoted],
            )
            .await
            .map_err(|error| failed(&format!("looking for {quoted}"), error))?;
        let Some(row) = row else { return Err(missing(client, &quoted, schema, name).await) };
        let (schema, name): (String, String) = (row.get(1), row.get(2));
        let label = format!("{}.{}", identifier(&schema), identifier(&name));
        let table = Table { oid: row.get(0), kind: row.get(3), is_one_heap: row.get(4) };
        if !matches!(table.kind.as_str(), "r" | "p" | "v" | "m" | "f") {
            let what = format!("{label} is neither a table nor a view");
            return Err(ExtractError::permanent(Reason::SourceRefused, what));
        }
        Ok(Self { from: format!("{label} AS {ALIAS}"), label, table: Some(table) })
    }

    /// A line of its own ends a comment at the query's end.
    pub(super) fn of_query(query: &str) -> Self {
        let query = query.trim().trim_end_matches([';', ' ', '\n', '\t', '\r']);
        let label = "the query".to_owned();
        Self { from: format!("(\n{query}\n) AS {ALIAS}"), label, table: None }
    }

    /// Its columns, without reading a row. Within a transaction, what it names is locked from then on.
    pub(super) async fn describe(&self, client: &Client) -> Result<Vec<Described>, ExtractError> {
        let statement = client
            .prepare(&format!("SELECT * FROM {} LIMIT 0", self.from))
            .await
            .map_err(|error| failed(&format!("describing {}", self.label), error))?;
        if !statement.params().is_empty() {
            let what = format!(
                "{} has the parameter $1, which nobody fills in: write the value",
                self.label
            );
            return Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
        }
        let columns = statement.columns().iter();
        Ok(columns
            .map(|column| Described {
                name: column.name().to_owned(),
                type_: column.type_().clone(),
                modifier: column.type_modifier(),
                stands_for: column.table_oid().zip(column.column_id()),
            })
            .collect())
    }
}

async fn missing(client: &Client, quoted: &str, schema: Option<&str>, name: &str) -> ExtractError {
    let known = client
        .query(
            "SELECT c.relname::text FROM pg_catalog.pg_class AS c \
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
             AND n.nspname = coalesce($1, pg_catalog.current_schema()) LIMIT 1000",
            &[&schema],
        )
        .await
        .unwrap_or_default();
    let known: Vec<String> = known.iter().map(|row| row.get(0)).collect();
    let hint = did_you_mean(name, known.iter().map(String::as_str))
        .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    let what = format!("the database has no table or view {quoted}{hint}");
    ExtractError::permanent(Reason::SourceRefused, what)
}

/// The columns that are read: all, or those that are declared, in that order.
pub(super) fn select(
    described: &[Described],
    fields: Option<&[Field]>,
    label: &str,
) -> Result<Vec<Selected>, ExtractError> {
    let selected: Vec<Selected> = match fields {
        Some(fields) => {
            let selected = fields.iter().map(|field| declared(described, field, label));
            selected.collect::<Result<_, _>>()?
        }
        None => {
            let selected = described.iter().map(|column| undeclared(column, label));
            selected.collect::<Result<_, _>>()?
        }
    };
    if selected.is_empty() {
        let what = format!("{label} has no columns");
        return Err(ExtractError::permanent(Reason::SourceRefused, what));
    }
    for (index, column) in selected.iter().enumerate() {
        let name = column.name.to_lowercase();
        if let Some(twin) = selected[..index].iter().find(|twin| twin.name.to_lowercase() == name) {
            let what = format!(
                "{label} has the columns {:?} and {:?}, which are one for a table: name one of them otherwise in a query",
                twin.name, column.name
            );
            return Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
        }
    }
    Ok(selected)
}

fn undeclared(column: &Described, label: &str) -> Result<Selected, ExtractError> {
    let refused = |reason, problem: &str| {
        let what = format!("column {:?} of {label} {problem}", column.name);
        Err(ExtractError::permanent(reason, what))
    };
    if column.name.starts_with(SYSTEM_PREFIX) {
        let problem = format!(
            "begins with {SYSTEM_PREFIX}, as our own columns do: name it otherwise in a query, or declare the others under schema.fields"
        );
        return refused(Reason::InvalidConfiguration, &problem);
    }
    if column.name.contains(|c| NOT_IN_NAMES.contains(c)) {
        let problem = "has a character in its name that no table takes (space , ; { } ( ) =): name it otherwise in a query, or declare the others under schema.fields";
        return refused(Reason::InvalidConfiguration, problem);
    }
    match map(&column.type_, column.modifier, None) {
        Ok(mapped) => Ok(Selected {
            name: column.name.clone(),
            column: column.name.clone(),
            cast: mapped.cast,
            wire: mapped.wire,
            required: false,
        }),
        Err(problem) => refused(Reason::UnsupportedType, &problem),
    }
}

fn declared(described: &[Described], field: &Field, label: &str) -> Result<Selected, ExtractError> {
    let from = field.from.as_deref();
    let name = from.map_or(field.name.as_str(), |from| from.strip_prefix("$.").unwrap_or(from));
    let Some(column) = described.iter().find(|column| column.name == name) else {
        let names = described.iter().map(|column| column.name.as_str());
        let hint = did_you_mean(name, names)
            .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        let what = format!("{label} has no column {name:?}, which schema.fields declares{hint}");
        return Err(ExtractError::permanent(Reason::SourceRefused, what));
    };
    let mapped =
        map(&column.type_, column.modifier, Some(&field.data_type)).map_err(|problem| {
            let what = format!("column {name:?} of {label} {problem}");
            ExtractError::permanent(Reason::UnsupportedType, what)
        })?;
    Ok(Selected {
        name: field.name.clone(),
        column: column.name.clone(),
        cast: mapped.cast,
        wire: mapped.wire,
        required: field.required,
    })
}

/// A column in a statement of ours.
pub(super) fn qualified(column: &str) -> String {
    format!("{ALIAS}.{}", identifier(column))
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::*;

    fn described(columns: &[(&str, Type)]) -> Vec<Described> {
        let columns = columns.iter();
        columns
            .map(|(name, type_)| Described {
                name: (*name).to_owned(),
                type_: type_.clone(),
                modifier: -1,
                stands_for: None,
            })
            .collect()
    }

    fn field(name: &str, data_type: &str, from: Option<&str>) -> Field {
        Field {
            name: name.to_owned(),
            data_type: data_type.parse().unwrap(),
            required: false,
            from: from.map(str::to_owned),
        }
    }

    #[test]
    fn declared_fields_choose_columns_by_name_and_in_their_order() {
        let columns = described(&[("id", Type::INT4), ("order total", Type::INT8)]);
        let fields =
            [field("order_total", "long", Some("$.order total")), field("id", "long", None)];
        let selected = select(&columns, Some(&fields), "t").unwrap();
        let names: Vec<_> = selected.iter().map(|column| column.column.as_str()).collect();
        assert_eq!(names, ["order total", "id"]);
        assert_eq!(selected[1].cast.as_deref(), Some("int8"));
    }

    #[test]
    fn what_cannot_be_a_column_is_named_with_a_way_out() {
        for (columns, fields, says) in [
            (described(&[("_tg_src", Type::INT4)]), None, "\"_tg_src\""),
            (described(&[("order total", Type::INT4)]), None, "name it otherwise in a query"),
            (described(&[("Id", Type::INT4), ("id", Type::INT4)]), None, "\"Id\" and \"id\""),
            (described(&[("at", Type::POINT)]), None, "\"at\" of t has the type point"),
            (described(&[("id", Type::INT8)]), Some(field("id", "integer", None)), "integer"),
            (described(&[("id", Type::INT8)]), Some(field("idd", "long", None)), "did you mean"),
            (described(&[]), None, "no columns"),
        ] {
            let error = select(&columns, fields.as_ref().map(std::slice::from_ref), "t");
            let error = error.expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_query_ends_where_it_ends() {
        let origin = Origin::of_query("SELECT 1 -- one;\n ;\n");
        assert_eq!(origin.from, "(\nSELECT 1 -- one\n) AS \"tg\"");
    }
}
