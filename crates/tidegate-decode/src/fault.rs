//! Why one record cannot be a row, and where in it.

use tidegate_types::Reason;

/// Longest detail of a bad record, in bytes.
pub(crate) const MAX_DETAIL: usize = 256;
/// Longest piece of a payload that a detail quotes, in bytes.
const MAX_EXCERPT: usize = 32;

/// The result of reading a piece of a record.
pub(crate) type Parsed<T> = Result<T, Fault>;

/// The first fault found in a record. Boxed, so that the results of the hot path stay one word.
#[derive(Debug)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    reason: Reason,
    text: String,
    at: Option<usize>,
    /// Innermost first: the path grows while the fault travels outwards.
    path: Vec<String>,
}

impl Fault {
    /// A fault of the whole record.
    #[cold]
    pub(crate) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self(Box::new(Inner { reason, text: text.into(), at: None, path: Vec::new() }))
    }

    /// A fault at a byte of the record.
    #[cold]
    pub(crate) fn at(reason: Reason, text: impl Into<String>, at: usize) -> Self {
        Self(Box::new(Inner { reason, text: text.into(), at: Some(at), path: Vec::new() }))
    }

    /// The same fault, seen from the object around it.
    #[cold]
    pub(crate) fn within(mut self, member: &str) -> Self {
        let dot = self.0.path.last().is_some_and(|inner| !inner.starts_with('['));
        let name = cut(member, MAX_EXCERPT);
        self.0.path.push(if dot { format!("{name}.") } else { name.to_owned() });
        self
    }

    /// The same fault, seen from the list around it.
    #[cold]
    pub(crate) fn within_element(mut self, index: usize) -> Self {
        let dot = self.0.path.last().is_some_and(|inner| !inner.starts_with('['));
        self.0.path.push(if dot { format!("[{index}].") } else { format!("[{index}]") });
        self
    }

    /// The reason, and one line that names the field and the place.
    pub(crate) fn into_parts(self) -> (Reason, String) {
        let Inner { reason, text, at, path } = *self.0;
        let mut detail: String = path.into_iter().rev().collect();
        if !detail.is_empty() {
            detail.push_str(": ");
        }
        detail.push_str(&text);
        if let Some(at) = at {
            detail = format!("{} at byte {at}", cut(&detail, MAX_DETAIL - 32));
        }
        (reason, cut(&detail, MAX_DETAIL).to_owned())
    }
}

/// The beginning of a piece of payload, quoted, for a detail.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(MAX_EXCERPT)];
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(cut).trim_end_matches('\u{fffd}'))
}

/// At most `most` bytes of `text`, whole characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_printed_from_the_outside() {
        let fault = Fault::at(Reason::WrongType, "expected long", 7)
            .within("b")
            .within_element(3)
            .within("a");
        assert_eq!(fault.into_parts().1, "a[3].b: expected long at byte 7");
        let nested =
            Fault::new(Reason::WrongType, "x").within_element(0).within_element(1).within("m");
        assert_eq!(nested.into_parts().1, "m[1][0]: x");
    }

    #[test]
    fn details_are_short_and_whole_characters() {
        let long = "ü".repeat(1_000);
        let (_, detail) = Fault::at(Reason::Malformed, long.clone(), 5).within(&long).into_parts();
        assert!(detail.len() <= MAX_DETAIL && detail.ends_with("at byte 5"), "{detail}");
        assert!(excerpt(long.as_bytes()).len() <= MAX_EXCERPT + 5);
    }
}
