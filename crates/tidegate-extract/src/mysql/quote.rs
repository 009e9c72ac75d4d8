//! Names in SQL.

/// A name between backticks, which nothing in it can end.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_backtick_in_a_name_is_doubled() {
        assert_eq!(quoted("id"), "`id`");
        assert_eq!(quoted("a` FROM x; --"), "`a`` FROM x; --`");
        assert_eq!(quoted(r"a\"), r"`a\`");
    }

    proptest! {
        #[test]
        fn no_name_ends_its_quotes(name: String) {
            let text = quoted(&name);
            let inner = &text[1..text.len() - 1];
            prop_assert!(!inner.replace("``", "").contains('`'));
            prop_assert_eq!(inner.replace("``", "`"), name);
        }
    }
}
