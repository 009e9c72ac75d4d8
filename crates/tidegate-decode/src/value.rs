//! A value of the record into a column of its type.

use tidegate_types::{Coercion, Reason};

use crate::column::{Column, Lists, Maps, Structs};
use crate::cursor::RawText;
use crate::escape::unescape;
use crate::fault::{Fault, Parsed, excerpt};
use crate::parser::Parser;
use crate::scalar::{Misfit, push_boolean, push_number, push_short_number, push_text};

impl Parser<'_> {
    /// Reads the value at the cursor and appends it to `column`: exactly one value, or a fault, after
    /// which the row must be taken back. Recursion is bounded by the column's type.
    #[inline]
    pub(crate) fn value(&mut self, column: &mut Column) -> Parsed<()> {
        match self.cursor.peek() {
            b'"' => {
                let text = self.cursor.text()?;
                match column {
                    Column::Text(values) if !text.escaped => {
                        values.push(text.bytes);
                        Ok(())
                    }
                    column => self.text_value(column, text, self.rules.coercion),
                }
            }
            b'-' | b'0'..=b'9' => {
                if push_short_number(&mut self.cursor, column) {
                    return Ok(());
                }
                self.long_number(column)
            }
            _ => self.other_value(column),
        }
    }

    fn long_number(&mut self, column: &mut Column) -> Parsed<()> {
        let at = self.cursor.at();
        let token = self.cursor.number()?;
        push_number(column, token, self.rules.coercion)
            .map_err(|misfit| misfit.into_fault(column, "number", token, at))
    }

    fn other_value(&mut self, column: &mut Column) -> Parsed<()> {
        let at = self.cursor.at();
        match (self.cursor.peek(), &mut *column) {
            (b'n', _) => {
                self.cursor.word("null")?;
                self.fill(column.width())?;
                column.push_null();
                Ok(())
            }
            (b'{', Column::Struct(structs)) => self.struct_value(structs),
            (b'{', Column::Map(maps)) => self.map_value(maps),
            (b'[', Column::List(lists)) => self.list_value(lists),
            (first @ (b't' | b'f'), _) => {
                let value = first == b't';
                let word = if value { "true" } else { "false" };
                self.cursor.word(word)?;
                push_boolean(column, value)
                    .map_err(|misfit| misfit.into_fault(column, "boolean", word.as_bytes(), at))
            }
            (b'{', _) => Err(Misfit::Type.into_fault(column, "object", b"{", at)),
            (b'[', _) => Err(Misfit::Type.into_fault(column, "list", b"[", at)),
            _ => Err(self.cursor.malformed("expected a value")),
        }
    }

    /// Text into any column.
    fn text_value(
        &mut self,
        column: &mut Column,
        text: RawText<'_>,
        coercion: Coercion,
    ) -> Parsed<()> {
        if !text.escaped {
            return push_text(column, text.bytes, coercion)
                .map_err(|misfit| misfit.into_fault(column, "text", text.bytes, text.at - 1));
        }
        if let Column::Text(values) = column {
            unescape(text, values.open())?;
            values.close();
            return Ok(());
        }
        self.scratch.text.clear();
        unescape(text, &mut self.scratch.text)?;
        push_text(column, &self.scratch.text, coercion)
            .map_err(|misfit| misfit.into_fault(column, "text", text.bytes, text.at - 1))
    }

    fn struct_value(&mut self, structs: &mut Structs) -> Parsed<()> {
        let Structs { members, children, .. } = structs;
        let seen = self.object(members, |parser, index| parser.value(&mut children[index]))?;
        if seen < children.len() {
            let len = structs.len();
            for child in structs.children.iter_mut().filter(|child| child.len() == len) {
                self.fill(child.width())?;
                child.push_null();
            }
        }
        structs.close();
        Ok(())
    }

    fn list_value(&mut self, lists: &mut Lists) -> Parsed<()> {
        self.enter()?;
        self.cursor.skip_space();
        let mut index = 0;
        if !self.cursor.take(b']') {
            loop {
                self.cursor.skip_space();
                self.value(&mut lists.element).map_err(|fault| fault.within_element(index))?;
                index += 1;
                self.cursor.skip_space();
                if self.cursor.take(b']') {
                    break;
                }
                if !self.cursor.take(b',') {
                    return Err(self.cursor.malformed("expected ',' or ']'"));
                }
            }
        }
        self.leave();
        lists.close();
        Ok(())
    }

    fn map_value(&mut self, maps: &mut Maps) -> Parsed<()> {
        let start = maps.keys.len();
        self.enter()?;
        self.cursor.skip_space();
        if !self.cursor.take(b'}') {
            loop {
                let key = self.key()?;
                // A JSON key is text whatever the map's key type: it is read as text would be.
                self.text_value(&mut maps.keys, key, Coercion::Lossless)?;
                self.cursor.skip_space();
                self.value(&mut maps.values)
                    .map_err(|fault| fault.within(&String::from_utf8_lossy(key.bytes)))?;
                self.cursor.skip_space();
                if self.cursor.take(b'}') {
                    break;
                }
                self.comma()?;
            }
        }
        if maps.keys.repeats(start) {
            return Err(Fault::at(Reason::Malformed, "a map key stands twice", self.cursor.at()));
        }
        self.leave();
        maps.close();
        Ok(())
    }
}

impl Misfit {
    /// The fault, with what was expected and a glimpse of what was found.
    #[cold]
    pub(crate) fn into_fault(self, column: &Column, kind: &str, found: &[u8], at: usize) -> Fault {
        let (reason, text) = self.told(column, kind, found);
        Fault::at(reason, text, at)
    }

    /// The same without a place.
    #[cold]
    pub(crate) fn into_fault_of(self, column: &Column, kind: &str, found: &[u8]) -> Fault {
        let (reason, text) = self.told(column, kind, found);
        Fault::new(reason, text)
    }

    fn told(self, column: &Column, kind: &str, found: &[u8]) -> (Reason, String) {
        let glimpse = match kind {
            "text" => format!("text {}", excerpt(found)),
            "number" => format!("number {}", excerpt(found).trim_matches('"')),
            other => other.to_owned(),
        };
        match self {
            Self::Type => {
                (Reason::WrongType, format!("expected {}, found {glimpse}", column.type_name()))
            }
            Self::Range(problem) => {
                (Reason::OutOfRange, format!("{glimpse} {problem} for {}", column.type_name()))
            }
        }
    }
}
