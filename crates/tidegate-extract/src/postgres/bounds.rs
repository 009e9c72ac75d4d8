//! A chunk's share of the rows, as it stands in a plan and as it stands in a statement.

use serde::{Deserialize, Serialize};

use super::relation::{ALIAS, qualified};
use crate::sql::literal;

/// A share of the rows. The shares of a plan are disjoint and together all rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "camelCase")]
pub(super) enum Bounds {
    /// Every row.
    All,
    /// Rows that lie in blocks of the table's heap.
    Blocks {
        /// The first block.
        from: u64,
        /// The first block behind; none: to the end, however far it has grown.
        to: Option<u64>,
    },
    /// Rows whose key lies in a range.
    Keys {
        /// The column at the source.
        column: String,
        /// The smallest key, as the server prints it; none: from the smallest.
        from: Option<String>,
        /// The first key behind; none: to the largest.
        to: Option<String>,
        /// Whether rows without a key belong here.
        nulls: bool,
    },
}

impl Bounds {
    /// The condition that holds for these rows; none when it holds for all.
    pub(super) fn predicate(&self) -> Option<String> {
        let range = |key: &str, from: Option<String>, to: Option<String>| {
            let from = from.map(|from| format!("{key} >= {from}"));
            let to = to.map(|to| format!("{key} < {to}"));
            let sides: Vec<_> = from.into_iter().chain(to).collect();
            (!sides.is_empty()).then(|| sides.join(" AND "))
        };
        match self {
            Self::All => None,
            Self::Blocks { from, to } => {
                let place = |block: u64| format!("'({block},0)'::tid");
                let from = (*from > 0).then(|| place(*from));
                range(&format!("{ALIAS}.ctid"), from, to.map(place))
            }
            Self::Keys { column, from, to, nulls } => {
                let key = qualified(column);
                // A literal without a type takes that of the key.
                let text = |edge: &Option<String>| edge.as_deref().map(literal);
                let range = range(&key, text(from), text(to));
                match (range, nulls) {
                    (Some(range), true) => Some(format!("({range} OR {key} IS NULL)")),
                    (Some(range), false) => Some(range),
                    (None, true) => None,
                    (None, false) => Some(format!("{key} IS NOT NULL")),
                }
            }
        }
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        match self {
            Self::All => "all rows".to_owned(),
            Self::Blocks { from, to: Some(to) } => format!("blocks {from} to {}", to - 1),
            Self::Blocks { from, to: None } => format!("blocks from {from} on"),
            Self::Keys { column, from, to, .. } => match (from, to) {
                (Some(from), Some(to)) => format!("{column} from {from} to before {to}"),
                (Some(from), None) => format!("{column} from {from} on"),
                (None, Some(to)) => format!("{column} before {to}"),
                (None, None) => "all rows".to_owned(),
            },
        }
    }
}

/// Even ranges over the blocks of a heap, the last one without an end.
pub(super) fn by_blocks(blocks: u64, chunks: u64) -> Vec<Bounds> {
    let chunks = chunks.clamp(1, blocks.max(1));
    let edge = |index: u64| {
        let edge = u128::from(blocks) * u128::from(index) / u128::from(chunks);
        u64::try_from(edge).unwrap_or(blocks)
    };
    (0..chunks)
        .map(|index| Bounds::Blocks {
            from: edge(index),
            to: (index + 1 < chunks).then(|| edge(index + 1)),
        })
        .collect()
}

/// Ranges between keys, which are in the server's order. A key that stands twice makes no range of its
/// own: its rows are one share, however many they are.
pub(super) fn by_keys(column: &str, mut edges: Vec<String>, nullable: bool) -> Vec<Bounds> {
    edges.dedup();
    let from = std::iter::once(None).chain(edges.iter().cloned().map(Some));
    let to = edges.iter().cloned().map(Some).chain([None]);
    from.zip(to)
        .map(|(from, to)| Bounds::Keys {
            column: column.to_owned(),
            nulls: nullable && from.is_none(),
            from,
            to,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(edges: &[&str], nullable: bool) -> Vec<String> {
        let edges = edges.iter().map(|edge| (*edge).to_owned()).collect();
        let bounds = by_keys("k\"", edges, nullable);
        bounds.iter().map(|bounds| bounds.predicate().unwrap_or_default()).collect()
    }

    #[test]
    fn ranges_of_keys_touch_and_rows_without_a_key_are_in_the_first() {
        assert_eq!(
            keys(&["1", "1", "it's"], true),
            [
                r#"("tg"."k""" < '1' OR "tg"."k""" IS NULL)"#,
                r#""tg"."k""" >= '1' AND "tg"."k""" < 'it''s'"#,
                r#""tg"."k""" >= 'it''s'"#,
            ]
        );
        assert_eq!(keys(&[], true), [""]);
    }

    #[test]
    fn edges_cannot_break_out_of_a_statement() {
        let bounds = r#"{"by": "keys", "column": "a\" = 1; DROP TABLE t; --", "from": "'; DROP TABLE t; --\\'", "to": null, "nulls": false}"#;
        let bounds: Bounds = serde_json::from_str(bounds).unwrap();
        assert_eq!(
            bounds.predicate().unwrap(),
            r#""tg"."a"" = 1; DROP TABLE t; --" >=  E'''; DROP TABLE t; --\\'''"#
        );
    }

    proptest! {
        #[test]
        fn every_block_belongs_to_one_chunk(blocks in 0_u64..10_000, chunks in 0_u64..300, block in 0_u64..20_000) {
            let bounds = by_blocks(blocks, chunks);
            let holding = bounds.iter().filter(|bounds| match bounds {
                Bounds::Blocks { from, to } => *from <= block && to.is_none_or(|to| block < to),
                _ => false,
            });
            prop_assert_eq!(holding.count(), 1);
        }
    }
}
