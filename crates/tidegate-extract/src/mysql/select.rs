//! SELECTs. Names are quoted, values are parameters, and nothing else of a user's gets into the text but
//! the query that he wrote, in brackets.

use mysql_async::Value;
use tidegate_config::Relation;

use super::quote::quoted;

/// What is read, as it stands behind FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct From {
    pub(super) sql: String,
    /// For messages.
    pub(super) shown: String,
    /// The query as it was written.
    pub(super) query: Option<String>,
    /// Schema and name of a table.
    pub(super) table: Option<(Option<String>, String)>,
}

/// A part of WHERE.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    /// Its text, with a `?` for each value.
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// A statement with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Select {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl From {
    /// A table's name is quoted; a query becomes a derived table, which can be nothing but one SELECT.
    pub(super) fn of(relation: &Relation) -> Self {
        match relation {
            Relation::Table { schema, name } => {
                let prefix = schema.as_deref().map(|schema| quoted(schema) + ".");
                let sql = prefix.unwrap_or_default() + &quoted(name);
                let table = Some((schema.clone(), name.clone()));
                Self { shown: sql.clone(), sql, query: None, table }
            }
            Relation::Query(query) => {
                let query = query.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
                // A line of its own, so that a comment at the query's end does not swallow the bracket.
                let sql = format!("(\n{query}\n) AS `tidegate`");
                Self { sql, shown: "the query".into(), query: Some(query.to_owned()), table: None }
            }
        }
    }
}

/// `SELECT <what> FROM <from> WHERE <all conditions> <tail>`.
pub(super) fn select<'a>(
    what: &str,
    from: &From,
    conditions: impl IntoIterator<Item = &'a Condition>,
    tail: &str,
) -> Select {
    let mut sql = format!("SELECT {what} FROM {}", from.sql);
    let mut values = Vec::new();
    for (index, condition) in conditions.into_iter().enumerate() {
        sql += if index == 0 { " WHERE " } else { " AND " };
        sql += &condition.sql;
        values.extend(condition.values.iter().cloned());
    }
    if !tail.is_empty() {
        sql += " ";
        sql += tail;
    }
    Select { sql, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_values_stay_outside() {
        let relation = Relation::Table { schema: Some("sh`op".into()), name: "x; DROP".into() };
        let from = From::of(&relation);
        let of = |sql: &str, value| Condition { sql: sql.into(), values: vec![Value::Int(value)] };
        let select = select("`id`", &from, &[of("a >= ?", 1), of("a < ?", 2)], "LIMIT 1");
        assert_eq!(
            select.sql,
            "SELECT `id` FROM `sh``op`.`x; DROP` WHERE a >= ? AND a < ? LIMIT 1"
        );
        assert_eq!(select.values, [Value::Int(1), Value::Int(2)]);
    }

    #[test]
    fn a_query_stands_in_brackets_whatever_it_ends_with() {
        let from = From::of(&Relation::Query("SELECT 1 AS a -- all;\n ; \n".into()));
        assert_eq!(from.sql, "(\nSELECT 1 AS a -- all\n) AS `tidegate`");
    }
}
