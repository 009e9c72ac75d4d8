//! Violations while they are gathered.

use tidegate_api::Violation;
use tidegate_types::Span;

/// The violations of one document.
pub(crate) struct Faults {
    document: String,
    violations: Vec<Violation>,
}

impl Faults {
    pub(crate) fn new(document: &str) -> Self {
        Self { document: document.to_owned(), violations: Vec::new() }
    }

    /// Notes what is wrong with a field.
    pub(crate) fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.violations.push(Violation::new(&self.document, field, problem));
    }

    /// Says what to write instead of the last fault.
    pub(crate) fn instead(&mut self, instead: impl Into<String>) {
        if let Some(last) = self.violations.last_mut() {
            last.instead = Some(instead.into());
        }
    }

    /// Notes a length of time that is zero.
    pub(crate) fn positive(&mut self, field: &str, span: Span) {
        if span == Span::default() {
            self.add(field, "is zero");
            self.instead("write a length of time such as 1m");
        }
    }

    pub(crate) fn or<T>(self, value: T) -> Result<T, Vec<Violation>> {
        if self.violations.is_empty() { Ok(value) } else { Err(self.violations) }
    }

    pub(crate) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}
