//! Objects and what is stepped over: the parts of reading a record that no column sees.

use tidegate_types::{Coercion, Reason, UnknownFields};

use crate::cursor::{Cursor, RawText};
use crate::escape::unescape;
use crate::fault::{Fault, Parsed, excerpt};
use crate::keys::{KeyLog, Mark, duplicate};
use crate::members::Members;

/// Cells that a message may take beyond the values it spells out: members that are missing from
/// structs inside of lists. Without a limit, 1 MiB of `{},{},…` under a wide struct would take
/// gigabytes.
const MAX_FILLED_CELLS: usize = 1 << 22;

/// What the configuration says about reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) unknown_fields: UnknownFields,
    pub(crate) coercion: Coercion,
    pub(crate) max_depth: u32,
    /// Whether a record is bad in which a name is nearly that of a field it lacks.
    pub(crate) refuse_near_names: bool,
}

/// Memory that is used again for each message.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Text without its escapes.
    pub(crate) text: Vec<u8>,
    /// The undeclared fields of the record, `"key":value` with commas between.
    pub(crate) extra: Vec<u8>,
    keys: KeyLog,
    /// A key as names are compared that are nearly the same.
    folded: String,
    skipped: Vec<Skipped>,
    /// Counts the objects read, so that each has a number of its own.
    objects: u64,
}

/// A container that is being stepped over.
#[derive(Debug)]
enum Skipped {
    Object(Mark),
    List,
}

/// Reads one record.
#[derive(Debug)]
pub(crate) struct Parser<'a> {
    pub(crate) cursor: Cursor<'a>,
    pub(crate) rules: Rules,
    pub(crate) scratch: &'a mut Scratch,
    /// Undeclared fields that were dropped.
    pub(crate) unknown: u64,
    /// Set while a value is read for several columns: what one of them does not know, another may.
    pub(crate) shared: bool,
    filled: usize,
    depth: u32,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(message: &'a [u8], rules: Rules, scratch: &'a mut Scratch) -> Self {
        scratch.extra.clear();
        scratch.keys.clear();
        scratch.skipped.clear();
        let cursor = Cursor::new(message);
        Self { cursor, rules, scratch, unknown: 0, shared: false, filled: 0, depth: 0 }
    }

    /// Reads an object, the cursor being at its brace. `value` reads the value of a known member.
    /// Returns how many of the known members there were.
    pub(crate) fn object(
        &mut self,
        members: &mut Members,
        mut value: impl FnMut(&mut Self, usize) -> Parsed<()>,
    ) -> Parsed<usize> {
        self.enter()?;
        self.scratch.objects += 1;
        let object = self.scratch.objects;
        let mark = self.scratch.keys.mark();
        let (mut place, mut seen) = (0, 0);
        self.cursor.skip_space();
        if self.cursor.take(b'}') {
            self.depth -= 1;
            return Ok(seen);
        }
        loop {
            if let Some(index) = self.member(members, place)? {
                if !members.mark(index, object) {
                    return Err(duplicate(members.name(index).as_bytes()));
                }
                self.cursor.skip_space();
                value(self, index).map_err(|fault| fault.within(members.name(index)))?;
                (place, seen) = (index + 1, seen + 1);
            }
            self.cursor.skip_space();
            if self.cursor.take(b'}') {
                break;
            }
            self.comma()?;
        }
        // What one column of a shared value does not know may be another's.
        if self.rules.refuse_near_names && seen < members.len() && !self.shared {
            self.check_near_names(members, object, mark)?;
        }
        self.scratch.keys.close(mark, self.cursor.bytes())?;
        self.depth -= 1;
        Ok(seen)
    }

    /// Refuses an object that has a member which it lacks under a name that is nearly the same: its value would
    /// become null without a word.
    fn check_near_names(&mut self, members: &Members, object: u64, mark: Mark) -> Parsed<()> {
        let Scratch { keys, folded, .. } = &mut *self.scratch;
        for key in keys.since(mark, self.cursor.bytes()) {
            let name = std::str::from_utf8(key).unwrap_or_default();
            if let Some(meant) = members.lacking(object, name, folded) {
                return Err(near_name(name, meant));
            }
        }
        Ok(())
    }

    /// Reads a key and its colon; an unknown member is dealt with and yields none.
    #[inline]
    fn member(&mut self, members: &mut Members, place: usize) -> Parsed<Option<usize>> {
        if let Some((index, length)) = members.guess(place, self.cursor.rest()) {
            self.cursor.advance(length);
            return Ok(Some(index));
        }
        let key = self.key()?;
        let known = if key.escaped {
            self.scratch.text.clear();
            unescape(key, &mut self.scratch.text)?;
            members.find(&self.scratch.text)
        } else {
            members.find(key.bytes)
        };
        match known {
            Some(index) => members.learn(place, index),
            None => self.unknown_member(key)?,
        }
        Ok(known)
    }

    fn unknown_member(&mut self, key: RawText<'a>) -> Parsed<()> {
        self.scratch.keys.push(key)?;
        if self.rules.unknown_fields == UnknownFields::DeadLetter && !self.shared {
            let text = format!("the schema does not declare the field {}", excerpt(key.bytes));
            return Err(Fault::at(Reason::UnknownField, text, key.at - 1));
        }
        self.cursor.skip_space();
        let start = self.cursor.at();
        self.skip()?;
        // Only the record's own fields are captured; a struct's undeclared members are counted.
        if self.rules.unknown_fields == UnknownFields::Capture && self.depth == 1 {
            let extra = &mut self.scratch.extra;
            extra.push(if extra.is_empty() { b'{' } else { b',' });
            let bytes = self.cursor.bytes();
            extra.extend_from_slice(&bytes[key.at - 1..key.at + key.bytes.len() + 1]);
            extra.push(b':');
            extra.extend_from_slice(&bytes[start..self.cursor.at()]);
        } else if !self.shared {
            self.unknown += 1;
        }
        Ok(())
    }

    /// Reads a key and its colon, the cursor being at the quote.
    pub(crate) fn key(&mut self) -> Parsed<RawText<'a>> {
        if self.cursor.peek() != b'"' {
            return Err(self.cursor.malformed("expected a key in quotes"));
        }
        let key = self.cursor.text()?;
        self.cursor.skip_space();
        if !self.cursor.take(b':') {
            return Err(self.cursor.malformed("expected ':'"));
        }
        Ok(key)
    }

    /// Steps over the comma between two members and the space behind it.
    pub(crate) fn comma(&mut self) -> Parsed<()> {
        if !self.cursor.take(b',') {
            return Err(self.cursor.malformed("expected ',' or '}'"));
        }
        self.cursor.skip_space();
        Ok(())
    }

    /// Steps over the brace or bracket that opens a container.
    pub(crate) fn enter(&mut self) -> Parsed<()> {
        self.check_depth(self.depth + 1)?;
        self.depth += 1;
        self.cursor.advance(1);
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    fn check_depth(&self, depth: u32) -> Parsed<()> {
        if depth > self.rules.max_depth {
            let text = format!("nested deeper than {}", self.rules.max_depth);
            return Err(Fault::at(Reason::TooDeep, text, self.cursor.at()));
        }
        Ok(())
    }

    /// Counts cells that the message takes without spelling them out.
    pub(crate) fn fill(&mut self, cells: usize) -> Parsed<()> {
        self.filled += cells;
        if self.filled > MAX_FILLED_CELLS {
            let text = format!("takes more than {MAX_FILLED_CELLS} cells");
            return Err(Fault::at(Reason::TooLarge, text, self.cursor.at()));
        }
        Ok(())
    }

    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Steps over one value of any shape and checks it all the same. A loop with a stack of its own:
    /// no nesting can exhaust the thread's.
    pub(crate) fn skip(&mut self) -> Parsed<()> {
        debug_assert!(self.scratch.skipped.is_empty(), "skipping does not nest");
        loop {
            self.cursor.skip_space();
            if self.skip_opening()? {
                continue;
            }
            // A value has ended: so may the containers around it.
            loop {
                let Some(container) = self.scratch.skipped.last() else { return Ok(()) };
                let is_object = matches!(container, Skipped::Object(_));
                self.cursor.skip_space();
                if self.cursor.take(if is_object { b'}' } else { b']' }) {
                    self.skip_closed()?;
                    continue;
                }
                if !self.cursor.take(b',') {
                    let wanted =
                        if is_object { "expected ',' or '}'" } else { "expected ',' or ']'" };
                    return Err(self.cursor.malformed(wanted));
                }
                if is_object {
                    self.cursor.skip_space();
                    self.skip_key()?;
                }
                break;
            }
        }
    }

    /// Steps over a plain value or into a container; true when a value must follow.
    fn skip_opening(&mut self) -> Parsed<bool> {
        match self.cursor.peek() {
            b'{' => {
                self.enter_skipped(Skipped::Object(self.scratch.keys.mark()))?;
                if self.cursor.take(b'}') {
                    self.skip_closed()?;
                    return Ok(false);
                }
                self.skip_key()?;
                return Ok(true);
            }
            b'[' => {
                self.enter_skipped(Skipped::List)?;
                if self.cursor.take(b']') {
                    self.skip_closed()?;
                    return Ok(false);
                }
                return Ok(true);
            }
            b'"' => {
                let text = self.cursor.text()?;
                self.check_escapes(text)?;
            }
            b't' => self.cursor.word("true")?,
            b'f' => self.cursor.word("false")?,
            b'n' => self.cursor.word("null")?,
            b'-' | b'0'..=b'9' => drop(self.cursor.number()?),
            _ => return Err(self.cursor.malformed("expected a value")),
        }
        Ok(false)
    }

    fn enter_skipped(&mut self, container: Skipped) -> Parsed<()> {
        let skipped = u32::try_from(self.scratch.skipped.len()).unwrap_or(u32::MAX);
        self.check_depth(self.depth.saturating_add(skipped).saturating_add(1))?;
        self.scratch.skipped.push(container);
        self.cursor.advance(1);
        self.cursor.skip_space();
        Ok(())
    }

    fn skip_closed(&mut self) -> Parsed<()> {
        if let Some(Skipped::Object(mark)) = self.scratch.skipped.pop() {
            self.scratch.keys.close(mark, self.cursor.bytes())?;
        }
        Ok(())
    }

    fn skip_key(&mut self) -> Parsed<()> {
        let key = self.key()?;
        self.scratch.keys.push(key)
    }

    fn check_escapes(&mut self, text: RawText<'_>) -> Parsed<()> {
        if text.escaped {
            self.scratch.text.clear();
            unescape(text, &mut self.scratch.text)?;
        }
        Ok(())
    }
}

#[cold]
fn near_name(name: &str, meant: &str) -> Fault {
    let (name, meant) = (excerpt(name.as_bytes()), excerpt(meant.as_bytes()));
    let text =
        format!("the record calls it {name}, which is declared as {meant}: correct one of them");
    Fault::new(Reason::MissingField, text)
}
