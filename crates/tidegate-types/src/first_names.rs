//! Lists that may be long, in messages.

use std::fmt::Display;

/// The first of some names, at most `most`, and how many more there are: `a, b and 3 more`.
pub fn first_names<T: Display>(names: impl IntoIterator<Item = T>, most: usize) -> String {
    let mut names = names.into_iter();
    let told: Vec<String> = names.by_ref().take(most).map(|name| name.to_string()).collect();
    let told = told.join(", ");
    match names.count() {
        0 => told,
        more if told.is_empty() => format!("{more} more"),
        more => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ones_are_named_and_the_others_counted() {
        for (names, most, told) in [
            (&["a", "b", "c"][..], 3, "a, b, c"),
            (&["a", "b", "c"], 2, "a, b and 1 more"),
            (&["a", "b", "c"], 0, "3 more"),
            (&["a"], 2, "a"),
            (&[], 2, ""),
        ] {
            assert_eq!(first_names(names, most), told);
        }
    }
}
