//! Quoting for Postgres: the only way by which names and values come into the text of a statement.
//!
//! `COPY` takes no parameters, so that values must stand in its text. They are made from typed values or
//! come from the server itself, never from a person, and pass through here all the same.

/// A name as it is written in SQL: in double quotes, those within doubled. What Postgres cannot hold (a
/// NUL) is refused by the client when the statement is sent.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as it is written in SQL. Its type is that of what it is compared with.
///
/// Backslashes are doubled under `E`, so that the text means the same whatever
/// `standard_conforming_strings` says.
pub(crate) fn literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_values_cannot_end_their_quotes() {
        for (name, quoted) in [
            ("order", r#""order""#),
            (r#"a"; DROP TABLE x; --"#, r#""a""; DROP TABLE x; --""#),
            ("", r#""""#),
        ] {
            assert_eq!(identifier(name), quoted);
        }
        for (value, quoted) in
            [("it's", "'it''s'"), (r"\' OR 1=1", r" E'\\'' OR 1=1'"), ("plain", "'plain'")]
        {
            assert_eq!(literal(value), quoted);
        }
    }

    proptest! {
        #[test]
        fn what_stands_between_the_quotes_has_only_pairs(name in any::<String>()) {
            for (text, mark) in [(identifier(&name), '"'), (literal(&name), '\'')] {
                let inner = text.trim_start_matches([' ', 'E']);
                let inner = &inner[1..inner.len() - 1];
                let pair = String::from_iter([mark, mark]);
                prop_assert!(!inner.replace(&pair, "").contains(mark));
            }
        }
    }
}
