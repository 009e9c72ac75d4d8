//! What is wrong with a document, in words for the person who wrote it.

use std::fmt;

use thiserror::Error;

/// One fault: where it is, what it is, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Violation {
    /// The file, as it was named on the command line; empty when the document did not come from one.
    pub file: String,
    /// The document's `metadata.name`, or `document 2` when it has none.
    pub document: String,
    /// The field, such as `spec.sink.flush.maxRows`; empty when the whole document is meant.
    pub field: String,
    /// What is wrong, without the field's name in front.
    pub problem: String,
    /// What to write instead, when that can be said.
    pub instead: Option<String>,
}

impl Violation {
    /// A fault of a document that did not come from a file.
    #[must_use]
    pub fn new(document: &str, field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            file: String::new(),
            document: document.to_owned(),
            field: field.into(),
            problem: problem.into(),
            instead: None,
        }
    }

    /// The same fault with what to write instead.
    #[must_use]
    pub fn instead(mut self, instead: impl Into<String>) -> Self {
        self.instead = Some(instead.into());
        self
    }

    /// The same fault in a named file.
    #[must_use]
    pub fn in_file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = [&self.file, &self.document, &self.field];
        for place in places.into_iter().filter(|place| !place.is_empty()) {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.problem)?;
        match &self.instead {
            Some(instead) => write!(f, "; {instead}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_one_line_with_place_problem_and_remedy() {
        let violation = Violation::new("clicks", "spec.sink.flush.maxRow", "is no known field")
            .instead("did you mean maxRows?")
            .in_file("clicks.yaml");
        assert_eq!(
            violation.to_string(),
            "clicks.yaml: clicks: spec.sink.flush.maxRow: is no known field; did you mean maxRows?"
        );
        assert_eq!(Violation::new("clicks", "", "is empty").to_string(), "clicks: is empty");
    }
}
