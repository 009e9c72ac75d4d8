//! `{a,b}` in a pattern, which stands for either.

use super::TemplateError;

/// Most patterns that the braces of one may multiply to.
const MOST_ALTERNATIVES: usize = 256;

/// Every pattern that the braces of one stand for, each once; the pattern alone where it has none.
///
/// # Errors
///
/// When braces do not close, or multiply too much.
pub fn expand_braces(pattern: &str) -> Result<Vec<String>, TemplateError> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(text) = open.pop() {
        if done.len() + open.len() > MOST_ALTERNATIVES {
            return Err(TemplateError::too_many_alternatives(pattern, MOST_ALTERNATIVES));
        }
        // The innermost braces first: the first that close, back to the last that opened before.
        let Some(close) = text.find('}') else {
            if text.contains('{') {
                return Err(TemplateError::brace(pattern, "has a brace that is not closed"));
            }
            done.push(text);
            continue;
        };
        let Some(start) = text[..close].rfind('{') else {
            return Err(TemplateError::brace(pattern, "has a closing brace that was not opened"));
        };
        let (before, after) = (&text[..start], &text[close + 1..]);
        open.extend(text[start + 1..close].split(',').map(|one| format!("{before}{one}{after}")));
    }
    done.sort();
    done.dedup();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_each_of_what_they_hold() {
        for (pattern, expected) in [
            ("a/*.csv", vec!["a/*.csv"]),
            ("*.{csv,csv.gz}", vec!["*.csv", "*.csv.gz"]),
            ("{a,b{c,d}}/*", vec!["a/*", "bc/*", "bd/*"]),
            ("{a/,}*", vec!["*", "a/*"]),
            ("{a,a}", vec!["a"]),
        ] {
            assert_eq!(expand_braces(pattern).expect(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn braces_are_bounded_and_must_close() {
        let bomb = "{a,b}".repeat(40);
        for (pattern, says) in [
            ("{a,b", "not closed"),
            ("a}", "not opened"),
            (bomb.as_str(), "more than 256 patterns"),
        ] {
            let error = expand_braces(pattern).expect_err(pattern).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
