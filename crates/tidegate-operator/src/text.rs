//! Text for people, bounded.

use tidegate_config::LONGEST_MESSAGE;

/// Cuts a message of any origin to [`LONGEST_MESSAGE`] bytes at a character's border, on one line.
pub(crate) fn bounded(message: &str) -> String {
    cut(message, LONGEST_MESSAGE)
}

/// Cuts to `limit` bytes, with an ellipsis where something is left out.
pub(crate) fn cut(message: &str, limit: usize) -> String {
    const ELLIPSIS: &str = "…";
    let tame = |c: char| if c.is_control() { ' ' } else { c };
    if message.len() <= limit {
        return message.chars().map(tame).collect();
    }
    let room = limit.saturating_sub(ELLIPSIS.len());
    let border = (0..=room).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
    let mut short: String = message[..border].chars().map(tame).collect();
    short.push_str(ELLIPSIS);
    short
}

/// `1 worker`, `2 workers`.
pub(crate) fn count(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {one}{plural}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_is_never_too_long_and_always_begins_like_what_was_said(text in ".{0,400}") {
            let short = bounded(&text);
            prop_assert!(short.len() <= LONGEST_MESSAGE);
            prop_assert!(!short.chars().any(char::is_control));
            let one_line: String =
                text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            if text.len() <= LONGEST_MESSAGE {
                prop_assert_eq!(short, one_line);
            } else {
                let kept = short.strip_suffix('…');
                prop_assert!(kept.is_some_and(|kept| one_line.starts_with(kept)));
            }
        }
    }

    #[test]
    fn several_lines_become_one() {
        assert_eq!(bounded("a\nb\tc"), "a b c");
        assert_eq!(cut("größer", 6), "gr…");
        assert_eq!(
            (count(1, "worker"), count(0, "worker")),
            ("1 worker".into(), "0 workers".into())
        );
    }
}
