//! Which objects are meant: fields of the interval's start filled in, then wildcards.

use jiff::Timestamp;

/// Most alternatives that braces may multiply to.
const MAX_ALTERNATIVES: usize = 256;

/// Fills the time into a pattern: `%Y`, `%m`, `%d`, `%H`, `%M`, `%S` in UTC, `%%` for the sign itself.
///
/// # Errors
///
/// One line, when a field is not known, or there is one and no time.
pub fn fill_glob(template: &str, start: Option<Timestamp>) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len() + 16);
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            filled.push(letter);
            continue;
        }
        let field = match letters.next() {
            Some('%') => {
                filled.push('%');
                continue;
            }
            Some(field @ ('Y' | 'm' | 'd' | 'H' | 'M' | 'S')) => format!("%{field}"),
            other => {
                let field = other.map_or_else(String::new, String::from);
                return Err(format!(
                    "glob {template:?} has the field \"%{field}\"; %Y %m %d %H %M %S are known, and %% is a percent sign"
                ));
            }
        };
        let Some(start) = start else {
            return Err(format!(
                "glob {template:?} has the field {field:?}, but the run has no interval; give the pipeline a schedule, or write %% for a percent sign"
            ));
        };
        filled.push_str(&start.strftime(&field).to_string());
    }
    Ok(filled)
}

/// A compiled pattern. `*` and `?` stay within a folder, `**` as a whole folder stands for any number of
/// them, none too, and `{a,b}` for either.
#[derive(Debug)]
pub(crate) struct Glob {
    alternatives: Vec<Vec<String>>,
}

impl Glob {
    /// # Errors
    ///
    /// One line, when the braces do not close or multiply too much, or nothing is left.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let texts = expand(pattern)?;
        let split = |text: &String| -> Vec<String> {
            text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let alternatives: Vec<_> = texts.iter().map(split).collect();
        if alternatives.iter().any(Vec::is_empty) {
            return Err(format!("glob {pattern:?} names no files"));
        }
        Ok(Self { alternatives })
    }

    /// Whether the object's path, relative to the source's address, is meant.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        self.alternatives.iter().any(|pattern| folders_match(pattern, &parts))
    }

    /// The folders of which one must be listed to see every match; none lies below another.
    pub(crate) fn prefixes(&self) -> Vec<String> {
        let mut prefixes: Vec<String> =
            self.alternatives.iter().map(|a| literal_prefix(a)).collect();
        prefixes.sort();
        let mut kept: Vec<String> = Vec::new();
        for prefix in prefixes {
            let below = |above: &String| {
                above.is_empty() || prefix == *above || prefix.starts_with(&format!("{above}/"))
            };
            if !kept.iter().any(below) {
                kept.push(prefix);
            }
        }
        kept
    }
}

/// The leading folders without wildcards; the last part is a file's name.
fn literal_prefix(pattern: &[String]) -> String {
    let folders = &pattern[..pattern.len() - 1];
    let literal = folders.iter().take_while(|part| !part.contains(['*', '?']));
    literal.map(String::as_str).collect::<Vec<_>>().join("/")
}

/// Every text that the braces stand for.
fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(text) = open.pop() {
        if done.len() + open.len() > MAX_ALTERNATIVES {
            return Err(format!(
                "glob {pattern:?}: the braces stand for more than {MAX_ALTERNATIVES} patterns"
            ));
        }
        // The innermost braces first: the first that close, back to the last that opened before.
        let Some(close) = text.find('}') else {
            if text.contains('{') {
                return Err(format!("glob {pattern:?}: a brace is not closed"));
            }
            done.push(text);
            continue;
        };
        let Some(start) = text[..close].rfind('{') else {
            return Err(format!("glob {pattern:?}: a brace closes that was not opened"));
        };
        let (before, after) = (&text[..start], &text[close + 1..]);
        open.extend(text[start + 1..close].split(',').map(|one| format!("{before}{one}{after}")));
    }
    done.sort();
    done.dedup();
    Ok(done)
}

/// Whether folders match, by the set of positions in the pattern that are reachable: linear in both.
fn folders_match(pattern: &[String], path: &[&str]) -> bool {
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
                next[at] = true;
            } else if name_matches(part, name) {
                next[at + 1] = true;
            }
        }
        skip(&mut next);
        reached = next;
    }
    reached[pattern.len()]
}

/// Whether a name matches; going back to the last star only, so linear in practice and never more than the
/// product of the lengths.
fn name_matches(pattern: &str, name: &str) -> bool {
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

    #[test]
    fn patterns_mean_what_people_expect() {
        for (pattern, path, meant) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "x/a.csv", false),
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
            assert_eq!(Glob::new(pattern).expect(pattern).matches(path), meant, "{pattern} {path}");
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
            assert_eq!(Glob::new(pattern).expect(pattern).prefixes(), prefixes, "{pattern}");
        }
    }

    #[test]
    fn the_intervals_start_is_filled_in_utc() {
        let start: Timestamp = "2026-06-01T23:05:09+09:00".parse().expect("a time");
        for (template, filled) in [
            ("dt=%Y-%m-%d/%H/*.csv", "dt=2026-06-01/14/*.csv"),
            ("%Y%m%d%H%M%S", "20260601140509"),
            ("100%%/*", "100%/*"),
        ] {
            assert_eq!(fill_glob(template, Some(start)).as_deref(), Ok(filled));
        }
        assert!(fill_glob("%Q", Some(start)).expect_err("unknown").contains("%Q"));
        assert!(fill_glob("a%", Some(start)).is_err());
        assert!(fill_glob("%Y/*", None).expect_err("no interval").contains("schedule"));
        assert_eq!(fill_glob("*", None).as_deref(), Ok("*"));
    }

    #[test]
    fn braces_are_bounded_and_must_close() {
        for (pattern, says) in
            [("{a,b", "not closed"), ("a}", "not opened"), ("", "no files"), ("/", "no files")]
        {
            assert!(Glob::new(pattern).expect_err(pattern).contains(says), "{pattern}");
        }
        let bomb = "{a,b}".repeat(40);
        assert!(Glob::new(&bomb).expect_err("a bomb").contains("256"));
    }

    proptest! {
        #[test]
        fn a_match_lies_in_a_listed_folder(pattern in "[ab*?/{},]{1,12}", path in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
            if let Ok(glob) = Glob::new(&pattern) && glob.matches(&path) {
                let listed = glob.prefixes().iter().any(|prefix| {
                    prefix.is_empty() || path.starts_with(&format!("{prefix}/"))
                });
                prop_assert!(listed, "{:?}", glob.prefixes());
            }
        }

        #[test]
        fn a_name_without_wildcards_matches_itself_alone(one in "[a-c]{1,6}", other in "[a-c]{1,6}") {
            prop_assert_eq!(Glob::new(&one).expect("a name").matches(&other), one == other);
        }
    }
}
