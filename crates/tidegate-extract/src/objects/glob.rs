//! Which objects are meant: wildcards, once the fields of time are filled in.

use tidegate_schedule::expand_braces;

/// A compiled pattern. `*` and `?` stay within a folder, `**` as a whole folder stands for any number of
/// them, none too, and `{a,b}` for either. A name that begins with `_` or `.` has to be begun in the pattern:
/// such are markers and what others have not finished, by the custom of shells and of Hadoop.
#[derive(Debug)]
pub(crate) struct Glob {
    alternatives: Vec<Alternative>,
}

/// A pattern without braces.
#[derive(Debug)]
struct Alternative {
    /// The leading folders without wildcards.
    folder: String,
    parts: Vec<String>,
}

impl Alternative {
    /// None where nothing is left.
    fn new(text: &str) -> Option<Self> {
        let parts = text.split('/').filter(|part| !part.is_empty()).map(str::to_owned);
        let parts: Vec<_> = parts.collect();
        let (_, folders) = parts.split_last()?;
        Some(Self { folder: literal_prefix(folders), parts })
    }
}

impl Glob {
    /// Whatever one of the patterns means. How many they may be, braces counted, the template says that made
    /// them.
    ///
    /// # Errors
    ///
    /// One line, when braces do not close or multiply too much, or nothing is left.
    pub(crate) fn any(patterns: &[String]) -> Result<Self, String> {
        let mut alternatives = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            for text in expand_braces(pattern).map_err(|error| error.to_string())? {
                let one = Alternative::new(&text);
                alternatives.push(one.ok_or_else(|| format!("glob {pattern:?} names no files"))?);
            }
        }
        Ok(Self { alternatives })
    }

    /// Whether the object's path, relative to the source's address, is meant.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.matches_by(path, name_matches)
    }

    /// Whether it would be meant, did no name on the way begin with `_` or `.`.
    pub(crate) fn matches_but_for_hiding(&self, path: &str) -> bool {
        path.split('/').any(is_hidden) && self.matches_by(path, pattern_matches)
    }

    fn matches_by(&self, path: &str, name: NameMatches) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        // There may be thousands of alternatives and many more objects: most are told by their folder.
        let mut near = self.alternatives.iter().filter(|one| path.starts_with(&one.folder));
        near.any(|one| folders_match(&one.parts, &parts, name))
    }

    /// The folders of which one must be listed to see every match; none lies below another.
    pub(crate) fn prefixes(&self) -> Vec<&str> {
        let mut prefixes: Vec<&str> =
            self.alternatives.iter().map(|one| one.folder.as_str()).collect();
        // Folder by folder, so that what lies below another comes right behind it.
        prefixes.sort_by(|one, other| one.split('/').cmp(other.split('/')));
        let mut kept: Vec<&str> = Vec::new();
        for prefix in prefixes {
            let below = |above: &&str| {
                let rest = prefix.strip_prefix(above);
                above.is_empty()
                    || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if !kept.last().is_some_and(below) {
                kept.push(prefix);
            }
        }
        kept
    }
}

/// The leading folders without wildcards.
fn literal_prefix(folders: &[String]) -> String {
    let literal = folders.iter().take_while(|part| !part.contains(['*', '?']));
    literal.map(String::as_str).collect::<Vec<_>>().join("/")
}

/// Whether a part of a pattern matches a name; `**` is asked with `*`.
type NameMatches = fn(&str, &str) -> bool;

/// Whether folders match, by the set of positions in the pattern that are reachable: linear in both.
fn folders_match(pattern: &[String], path: &[&str], matches: NameMatches) -> bool {
    if let ([pattern], [name]) = (pattern, path)
        && pattern != "**"
    {
        return matches(pattern, name);
    }
    let skip = |reached: &mut Vec<bool>| {
        for (at, part) in pattern.iter().enumerate() {
            if reached[at] && part == "**" {
                reached[at + 1] = true;
            }
        }
    };
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    skip(&mut reached);
    for name in path {
        let mut next = vec![false; pattern.len() + 1];
        for (at, part) in pattern.iter().enumerate().filter(|(at, _)| reached[*at]) {
            if part == "**" {
                next[at] = matches("*", name);
            } else if matches(part, name) {
                next[at + 1] = true;
            }
        }
        skip(&mut next);
        reached = next;
    }
    reached[pattern.len()]
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.'])
}

/// Whether a name is meant: what is hidden has to be begun.
fn name_matches(pattern: &str, name: &str) -> bool {
    let is_begun = !pattern.starts_with(['*', '?']);
    (is_begun || !is_hidden(name)) && pattern_matches(pattern, name)
}

/// Whether a name matches; going back to the last star only, so linear in practice and never more than the
/// product of the lengths.
fn pattern_matches(pattern: &str, name: &str) -> bool {
    let (head, pattern) = pattern.split_at(pattern.find(['*', '?']).unwrap_or(pattern.len()));
    let Some(name) = name.strip_prefix(head) else { return false };
    if pattern.is_empty() {
        return name.is_empty();
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((back, taken)) = star else { return false };
                star = Some((back, taken + 1));
                (at, read) = (back + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(pattern: &str) -> Result<Glob, String> {
        Glob::any(&[pattern.to_owned()])
    }

    #[test]
    fn patterns_mean_what_people_expect() {
        for (pattern, path, meant) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "x/a.csv", false),
            ("*", "_SUCCESS", false),
            ("?x.csv", ".x.csv", false),
            ("_*", "_SUCCESS", true),
            ("**/*.csv", "_temporary/0/a.csv", false),
            ("_temporary/**/*.csv", "_temporary/0/a.csv", true),
            ("x/*.csv", "x/a.csv", true),
            ("**/*.csv", "a.csv", true),
            ("**/*.csv", "x/y/a.csv", true),
            ("**", "x/y/a.csv", true),
            ("x/**/b/*.csv", "x/b/a.csv", true),
            ("x/**/b/*.csv", "x/b/c/b/a.csv", true),
            ("x/**/b/*.csv", "x/b/c/a.csv", false),
            ("part-????.csv", "part-0001.csv", true),
            ("part-????.csv", "part-001.csv", false),
            ("*.{csv,csv.gz}", "a.csv.gz", true),
            ("*.{csv,json}", "a.parquet", false),
            ("{a,b{c,d}}/*", "bd/x", true),
            ("{a,b{c,d}}/*", "b/x", false),
            ("dt=*/a*b*.c", "dt=2026-06-01/axxbyy.c", true),
            ("a*b", "ab", true),
            ("a[1].csv", "a[1].csv", true),
            ("data.csv", "data.csv", true),
            ("data.csv", "xdata.csv", false),
            ("*.CSV", "a.csv", false),
            ("日*.csv", "日本.csv", true),
        ] {
            assert_eq!(glob(pattern).expect(pattern).matches(path), meant, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_left_out_for_its_name_alone_is_known() {
        for (pattern, path, left_out) in [
            ("dt=*/*.csv", "dt=1/_part0.csv", true),
            ("**/*.csv", "_in/a.csv", true),
            ("*.csv", "a.csv", false),
            ("*.csv", "_a.json", false),
        ] {
            let found = glob(pattern).expect(pattern).matches_but_for_hiding(path);
            assert_eq!(found, left_out, "{pattern} {path}");
        }
    }

    #[test]
    fn only_the_folders_without_wildcards_are_listed() {
        for (pattern, prefixes) in [
            ("*.csv", vec![""]),
            ("a/b/*.csv", vec!["a/b"]),
            ("a/x*/b/*.csv", vec!["a"]),
            ("a/b.csv", vec!["a"]),
            ("{a,b}/c/*.csv", vec!["a/c", "b/c"]),
            ("{a,a/b,ab}/*.csv", vec!["a", "ab"]),
            ("{a/,}*.csv", vec![""]),
        ] {
            assert_eq!(glob(pattern).expect(pattern).prefixes(), prefixes, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, says) in [("{a,b", "not closed"), ("", "no files"), ("/", "no files")] {
            assert!(glob(pattern).expect_err(pattern).contains(says), "{pattern}");
        }
    }

    #[test]
    fn several_patterns_mean_what_one_of_them_means() {
        let names = ["in/dt=1/*.csv", "in/dt=2/*.csv", "in/dt=1/more/*.csv", "flat-*.csv"];
        let glob = Glob::any(&names.map(str::to_owned)).expect("valid");
        for (path, meant) in [
            ("in/dt=1/a.csv", true),
            ("in/dt=2/a.csv", true),
            ("in/dt=1/more/a.csv", true),
            ("in/dt=11/a.csv", false),
            ("in/dt=3/a.csv", false),
            ("flat-a.csv", true),
            ("flat.csv", false),
        ] {
            assert_eq!(glob.matches(path), meant, "{path}");
        }
        assert_eq!(glob.prefixes(), [""]);
        let glob = Glob::any(&["a-b/*", "a/c/*", "a/*"].map(str::to_owned)).expect("valid");
        assert_eq!(glob.prefixes(), ["a", "a-b"]);
    }

    proptest! {
        #[test]
        fn a_match_lies_in_a_listed_folder(pattern in "[ab*?/{},]{1,12}", path in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
            if let Ok(glob) = glob(&pattern) && glob.matches(&path) {
                let listed = glob.prefixes().iter().any(|prefix| {
                    prefix.is_empty() || path.starts_with(&format!("{prefix}/"))
                });
                prop_assert!(listed, "{:?}", glob.prefixes());
            }
        }

        #[test]
        fn a_name_without_wildcards_matches_itself_alone(one in "[a-c]{1,6}", other in "[a-c]{1,6}") {
            prop_assert_eq!(glob(&one).expect("a name").matches(&other), one == other);
        }
    }
}
