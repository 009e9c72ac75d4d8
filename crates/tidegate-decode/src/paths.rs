//! Where in a record the columns stand: the tree of `from` paths.

use thiserror::Error;
use tidegate_types::{Field, Reason};

use crate::column::Column;
use crate::fault::{Fault, Parsed};
use crate::members::Members;
use crate::parser::Parser;

/// Most steps of a path.
const MAX_STEPS: usize = 16;

/// A `from` path cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("field {field:?}: {path:?} is not a path: write $.name or $.name.name, at most 16 names")]
pub struct PathError {
    /// The field.
    pub field: String,
    /// The path.
    pub path: String,
}

/// An object of the record, and what to do with its members.
#[derive(Debug)]
pub(crate) struct Shape {
    members: Members,
    targets: Vec<Target>,
}

/// Who wants the value of a member: columns, the paths that lead further in, or both.
#[derive(Debug)]
struct Target {
    columns: Vec<Wanted>,
    inner: Option<Shape>,
}

/// A column at its place.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    column: usize,
    required: bool,
}

/// A shape while it is put together; members in the order in which the fields name them.
#[derive(Default)]
struct Draft {
    members: Vec<(String, Draft)>,
    columns: Vec<Wanted>,
}

impl Shape {
    /// The shape of the records that hold these fields.
    pub(crate) fn compile(fields: &[Field]) -> Result<Self, PathError> {
        let mut draft = Draft::default();
        for (column, field) in fields.iter().enumerate() {
            let wanted = Wanted { column, required: field.required };
            match &field.from {
                None => draft.descend(std::iter::once(field.name.as_str())).columns.push(wanted),
                Some(path) => {
                    let refuse = || PathError { field: field.name.clone(), path: path.clone() };
                    let steps = path.strip_prefix("$.").ok_or_else(refuse)?.split('.');
                    if steps.clone().count() > MAX_STEPS || steps.clone().any(str::is_empty) {
                        return Err(refuse());
                    }
                    draft.descend(steps).columns.push(wanted);
                }
            }
        }
        Ok(draft.into_shape())
    }

    /// Reads the object at the cursor. Columns whose fields are missing are left as they are.
    pub(crate) fn read(&mut self, parser: &mut Parser<'_>, columns: &mut [Column]) -> Parsed<()> {
        let Self { members, targets } = self;
        parser.object(members, |parser, index| targets[index].read(parser, columns))?;
        Ok(())
    }
}

impl Target {
    #[inline]
    fn read(&mut self, parser: &mut Parser<'_>, columns: &mut [Column]) -> Parsed<()> {
        match (self.columns.as_slice(), &mut self.inner) {
            ([wanted], None) => wanted.read(parser, columns),
            ([], Some(inner)) => inner.read_inner(parser, columns),
            _ => self.read_repeatedly(parser, columns),
        }
    }

    /// Reads the same value once for each that wants it. What is read is bounded: a path has at most
    /// [`MAX_STEPS`] steps.
    fn read_repeatedly(&mut self, parser: &mut Parser<'_>, columns: &mut [Column]) -> Parsed<()> {
        let start = parser.cursor.at();
        let outer = std::mem::replace(&mut parser.shared, true);
        for wanted in &self.columns {
            parser.cursor.go_to(start);
            wanted.read(parser, columns)?;
        }
        if let Some(inner) = &mut self.inner {
            parser.cursor.go_to(start);
            inner.read_inner(parser, columns)?;
        }
        parser.shared = outer;
        Ok(())
    }
}

impl Wanted {
    #[inline]
    fn read(self, parser: &mut Parser<'_>, columns: &mut [Column]) -> Parsed<()> {
        if self.required && parser.cursor.peek() == b'n' {
            let at = parser.cursor.at();
            parser.cursor.word("null")?;
            return Err(Fault::at(Reason::MissingField, "required, but null", at));
        }
        parser.value(&mut columns[self.column])
    }
}

impl Shape {
    /// As [`Self::read`], for an object inside of the record, which may be null.
    fn read_inner(&mut self, parser: &mut Parser<'_>, columns: &mut [Column]) -> Parsed<()> {
        match parser.cursor.peek() {
            b'{' => self.read(parser, columns),
            b'n' => parser.cursor.word("null"),
            b'"' | b'[' | b't' | b'f' | b'-' | b'0'..=b'9' => {
                let text = "expected an object that declared fields are taken from";
                Err(Fault::at(Reason::WrongType, text, parser.cursor.at()))
            }
            _ => Err(parser.cursor.malformed("expected a value")),
        }
    }
}

impl Draft {
    fn descend<'a>(&mut self, steps: impl Iterator<Item = &'a str>) -> &mut Self {
        let mut draft = self;
        for step in steps {
            let known = draft.members.iter().position(|(name, _)| name == step);
            let index = known.unwrap_or(draft.members.len());
            if known.is_none() {
                draft.members.push((step.to_owned(), Self::default()));
            }
            draft = &mut draft.members[index].1;
        }
        draft
    }

    fn into_shape(self) -> Shape {
        let members = Members::new(self.members.iter().map(|(name, _)| name.as_str()));
        let targets = self.members.into_iter().map(|(_, draft)| draft.into_target()).collect();
        Shape { members, targets }
    }

    fn into_target(mut self) -> Target {
        let columns = std::mem::take(&mut self.columns);
        let inner = if self.members.is_empty() { None } else { Some(self.into_shape()) };
        Target { columns, inner }
    }
}
