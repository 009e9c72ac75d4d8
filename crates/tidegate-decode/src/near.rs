//! Names that people take for one another.

/// A byte order mark and a blank of no width, which stand where files were put together.
const INVISIBLE: [char; 2] = ['\u{feff}', '\u{200b}'];

/// Whether two names differ in case alone, and in blanks and invisible marks around them.
#[must_use]
pub fn is_nearly(one: &str, other: &str) -> bool {
    let (mut left, mut right) = (String::new(), String::new());
    fold(one, &mut left);
    fold(other, &mut right);
    left == right
}

/// Puts into `folded` what a name has in common with those that are nearly the same.
pub(crate) fn fold(name: &str, folded: &mut String) {
    folded.clear();
    let name = name.trim_matches(|c: char| c.is_whitespace() || INVISIBLE.contains(&c));
    if name.is_ascii() {
        folded.push_str(name);
        folded.make_ascii_lowercase();
    } else {
        folded.push_str(&name.to_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_blanks_around_a_name_do_not_tell_it_from_another() {
        for (one, other, nearly) in [
            ("id", "ID", true),
            ("id", " Id\t", true),
            ("größe", "GRÖSSE", false),
            ("Größe", "gröẞe", true),
            ("i d", "id", false),
            ("id", "id2", false),
            ("id", "\u{feff}id", true),
            ("id", "\u{200b} Id\u{feff}", true),
            ("id", "i\u{200b}d", false),
        ] {
            assert_eq!(is_nearly(one, other), nearly, "{one:?} {other:?}");
        }
    }
}
