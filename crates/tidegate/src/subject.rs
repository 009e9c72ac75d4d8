//! Subject templates of `tidegate publish`: `flights.{carrier}`.

use std::collections::HashMap;
use std::str::FromStr;

use serde_json::value::RawValue;
use thiserror::Error;

/// What stands for a field that a message does not have.
const UNKNOWN: &str = "unknown";
/// Keeps a subject below NATS' own limits, whatever a message says.
const LONGEST_TOKEN: usize = 128;

/// A subject with places for fields of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubjectTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

/// The text is no subject template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{template:?} is not a subject template: {problem}; write one such as flights.{{carrier}}")]
pub(crate) struct SubjectTemplateError {
    template: String,
    problem: &'static str,
}

/// The first level of a message's JSON; empty when it is not a JSON object.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(HashMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Reads a message without looking into its values.
    pub(crate) fn of(message: &'a [u8]) -> Self {
        serde_json::from_slice(message).map(Self).unwrap_or_default()
    }

    /// A field as plain text: strings without their quotes, numbers and booleans as they are
    /// written. Null, lists and objects count as missing.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let raw = self.0.get(name)?.get();
        match raw.as_bytes().first()? {
            b'"' => serde_json::from_str(raw).ok(),
            b'{' | b'[' | b'n' => None,
            _ => Some(raw.to_owned()),
        }
    }
}

impl SubjectTemplate {
    /// The subject of a message.
    pub(crate) fn render(&self, fields: &Fields<'_>) -> String {
        let mut subject = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => subject.push_str(text),
                Piece::Field(name) => match fields.text(name).filter(|text| !text.is_empty()) {
                    Some(text) => {
                        subject.extend(text.chars().take(LONGEST_TOKEN).map(token_letter))
                    }
                    None => subject.push_str(UNKNOWN),
                },
            }
        }
        subject
    }
}

/// A value is one token: what would split it or match others becomes `_`.
fn token_letter(letter: char) -> char {
    let splits = matches!(letter, '.' | '*' | '>') || letter.is_whitespace() || letter.is_control();
    if splits { '_' } else { letter }
}

impl FromStr for SubjectTemplate {
    type Err = SubjectTemplateError;

    fn from_str(template: &str) -> Result<Self, SubjectTemplateError> {
        let refuse = |problem| SubjectTemplateError { template: template.to_owned(), problem };
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            let (text, field) = (&rest[..open], &rest[open + 1..]);
            let close = field.find('}').ok_or_else(|| refuse("a '{' is not closed"))?;
            if close == 0 {
                return Err(refuse("'{}' names no field"));
            }
            pieces.push(Piece::Text(text.to_owned()));
            pieces.push(Piece::Field(field[..close].to_owned()));
            rest = &field[close + 1..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        let parsed = Self(pieces);
        match subject_problem(&parsed.render(&Fields::default())) {
            Some(problem) => Err(refuse(problem)),
            None => Ok(parsed),
        }
    }
}

fn subject_problem(subject: &str) -> Option<&'static str> {
    if subject.contains(['*', '>', '}']) {
        return Some("wildcards and '}' cannot be published to");
    }
    if subject.chars().any(char::is_whitespace) {
        return Some("it has a space");
    }
    subject.split('.').any(str::is_empty).then_some("it has an empty token")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, message: &str) -> String {
        template.parse::<SubjectTemplate>().expect(template).render(&Fields::of(message.as_bytes()))
    }

    #[test]
    fn fields_of_the_message_fill_the_subject() {
        for (template, message, subject) in [
            ("flights", r#"{"a": 1}"#, "flights"),
            ("flights.{carrier}", r#"{"carrier": "UA"}"#, "flights.UA"),
            ("f.{a}.{b}-{a}", r#"{"b": true, "a": 7}"#, "f.7.true-7"),
            ("f.{a}", r#"{"a": "x.y z*>\n"}"#, "f.x_y_z___"),
            ("f.{a}", r#"{"a": "\u00e9"}"#, "f.é"),
            ("f.{a}", r#"{"a": ""}"#, "f.unknown"),
            ("f.{a}", r#"{"a": null}"#, "f.unknown"),
            ("f.{a}", r#"{"a": [1]}"#, "f.unknown"),
            ("f.{a}", r#"{"b": 1}"#, "f.unknown"),
            ("f.{a}", r#"{"a": "#, "f.unknown"),
            ("f.{a}", "[1, 2]", "f.unknown"),
        ] {
            assert_eq!(rendered(template, message), subject, "{template} {message}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_have_no_fields() {
        assert_eq!(Fields::of(b"{\"a\": \"\xff\"}").text("a"), None);
    }

    #[test]
    fn a_value_cannot_make_a_subject_of_any_length() {
        let message = format!(r#"{{"a": "{}"}}"#, "x".repeat(10_000));
        assert_eq!(rendered("f.{a}", &message).len(), 2 + LONGEST_TOKEN);
    }

    #[test]
    fn templates_that_are_no_subjects_are_refused() {
        for (template, says) in [
            ("f.{a", "not closed"),
            ("f.{}", "names no field"),
            ("f.*", "wildcards"),
            ("f.>", "wildcards"),
            ("f.a}", "wildcards"),
            ("f..{a}", "empty token"),
            ("", "empty token"),
            ("f. {a}", "space"),
        ] {
            let error = template.parse::<SubjectTemplate>().expect_err(template).to_string();
            assert!(error.contains(says), "{template}: {error}");
        }
    }
}
