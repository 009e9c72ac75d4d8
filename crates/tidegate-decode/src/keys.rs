//! Keys of objects that the schema does not know, kept so that a key that stands twice is found: an
//! object with two values for one key has no meaning that two readers share.

use tidegate_types::Reason;

use crate::cursor::RawText;
use crate::escape::unescape;
use crate::fault::{Fault, Parsed, excerpt};
use crate::leaf::any_twice;

/// Keys of the objects that are open, outermost first.
#[derive(Debug, Default)]
pub(crate) struct KeyLog {
    keys: Vec<Key>,
    /// Keys that had escapes, without them.
    unescaped: Vec<u8>,
}

/// Where a key's text stands.
#[derive(Debug, Clone, Copy)]
struct Key {
    start: usize,
    end: usize,
    unescaped: bool,
}

/// How many keys there were when an object was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    keys: usize,
    unescaped: usize,
}

impl KeyLog {
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.unescaped.clear();
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { keys: self.keys.len(), unescaped: self.unescaped.len() }
    }

    /// Adds a key of the innermost object.
    pub(crate) fn push(&mut self, key: RawText<'_>) -> Parsed<()> {
        let (start, end) = if key.escaped {
            let start = self.unescaped.len();
            unescape(key, &mut self.unescaped)?;
            (start, self.unescaped.len())
        } else {
            (key.at, key.at + key.bytes.len())
        };
        self.keys.push(Key { start, end, unescaped: key.escaped });
        Ok(())
    }

    /// Closes the innermost object, opened at `mark`, and refuses it when a key stands twice.
    pub(crate) fn close(&mut self, mark: Mark, message: &[u8]) -> Parsed<()> {
        let keys = &self.keys[mark.keys..];
        if keys.len() > 1 {
            let texts = || keys.iter().map(|key| self.text(*key, message));
            if any_twice(texts()) {
                let mut seen = std::collections::HashSet::new();
                let twice = texts().find(|text| !seen.insert(*text)).unwrap_or_default();
                return Err(duplicate(twice));
            }
        }
        self.keys.truncate(mark.keys);
        self.unescaped.truncate(mark.unescaped);
        Ok(())
    }

    /// The keys since `mark`, which are those of the innermost object.
    pub(crate) fn since<'a>(
        &'a self,
        mark: Mark,
        message: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        self.keys[mark.keys..].iter().map(|key| self.text(*key, message))
    }

    fn text<'a>(&'a self, key: Key, message: &'a [u8]) -> &'a [u8] {
        let bytes = if key.unescaped { &self.unescaped } else { message };
        &bytes[key.start..key.end]
    }
}

/// The fault that a key stands twice in one object.
#[cold]
pub(crate) fn duplicate(key: &[u8]) -> Fault {
    Fault::new(Reason::Malformed, format!("key {} stands twice in one object", excerpt(key)))
}
