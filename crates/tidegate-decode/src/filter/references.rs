//! What an expression refers to, so that misspelt names are found before the first row and only the
//! columns that are read become values.

use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use cel::common::ast::operators::{INDEX, OPT_INDEX};
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use tidegate_types::did_you_mean;

use super::{FilterError, RECORD};

/// Deepest nesting of an expression. Evaluation recurses once for each level; this keeps it far inside
/// of the smallest stack that a worker thread has.
const MAX_DEPTH: usize = 64;

/// Functions that expressions may call; operators have names that begin with no letter.
const FUNCTIONS: [&str; 24] = [
    "contains",
    "size",
    "max",
    "min",
    "startsWith",
    "endsWith",
    "string",
    "bytes",
    "double",
    "int",
    "uint",
    "matches",
    "duration",
    "timestamp",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// The columns that an expression reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum References {
    /// These.
    Some(BTreeSet<String>),
    /// Any: the record is used as a whole.
    All,
}

/// The columns that the expression reads.
///
/// # Errors
///
/// [`FilterError`] when a name does not exist or the expression is nested too deeply.
pub(super) fn column_references(
    expression: &IdedExpr,
    text: &str,
    schema: &Schema,
) -> Result<References, FilterError> {
    let mut walk = Walk { text, schema, bound: Vec::new(), columns: BTreeSet::new(), all: false };
    walk.visit(&expression.expr, 0)?;
    Ok(if walk.all { References::All } else { References::Some(walk.columns) })
}

struct Walk<'a> {
    text: &'a str,
    schema: &'a Schema,
    /// Variables of the comprehensions around the current place.
    bound: Vec<&'a str>,
    columns: BTreeSet<String>,
    all: bool,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, expr: &'a Expr, depth: usize) -> Result<(), FilterError> {
        if depth > MAX_DEPTH {
            return Err(FilterError::TooDeep { most: MAX_DEPTH });
        }
        let deeper = depth + 1;
        match expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) if self.is_record(&select.operand) => self.column(&select.field),
            Expr::Select(select) => self.visit(&select.operand.expr, deeper),
            Expr::Call(call) => self.call(call, deeper),
            Expr::List(list) => list.elements.iter().try_for_each(|e| self.visit(&e.expr, deeper)),
            Expr::Map(map) => {
                map.entries.iter().try_for_each(|entry| self.entry(&entry.expr, deeper))
            }
            Expr::Struct(message) => Err(self.unknown("type", &message.type_name, None)),
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range.expr, deeper)?;
                self.visit(&comprehension.accu_init.expr, deeper)?;
                let outer = self.bound.len();
                self.bound.push(&comprehension.iter_var);
                self.bound.extend(comprehension.iter_var2.as_deref());
                self.bound.push(&comprehension.accu_var);
                self.visit(&comprehension.loop_cond.expr, deeper)?;
                self.visit(&comprehension.loop_step.expr, deeper)?;
                self.visit(&comprehension.result.expr, deeper)?;
                self.bound.truncate(outer);
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr, depth: usize) -> Result<(), FilterError> {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value.expr, depth),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key.expr, depth)?;
                self.visit(&entry.value.expr, depth)
            }
        }
    }

    fn call(&mut self, call: &'a CallExpr, depth: usize) -> Result<(), FilterError> {
        let name = call.func_name.as_str();
        let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !is_operator && !FUNCTIONS.contains(&name) {
            return Err(self.unknown("function", name, did_you_mean(name, FUNCTIONS)));
        }
        if let (INDEX | OPT_INDEX, [of, index]) = (name, call.args.as_slice())
            && self.is_record(of)
            && let Expr::Literal(LiteralValue::String(column)) = &index.expr
        {
            return self.column(column.inner());
        }
        if let Some(target) = &call.target {
            self.visit(&target.expr, depth)?;
        }
        call.args.iter().try_for_each(|argument| self.visit(&argument.expr, depth))
    }

    fn is_record(&self, expression: &IdedExpr) -> bool {
        matches!(&expression.expr, Expr::Ident(name) if name == RECORD)
            && !self.bound.contains(&RECORD)
    }

    fn variable(&mut self, name: &str) -> Result<(), FilterError> {
        if self.bound.contains(&name) || name.starts_with('@') {
            Ok(())
        } else if name == RECORD {
            self.all = true;
            Ok(())
        } else if self.schema.field_with_name(name).is_ok() {
            Err(self.unknown("variable", name, Some(&format!("{RECORD}.{name}"))))
        } else {
            Err(self.unknown("variable", name, did_you_mean(name, [RECORD])))
        }
    }

    fn column(&mut self, name: &str) -> Result<(), FilterError> {
        if self.schema.field_with_name(name).is_err() {
            let known = self.schema.fields().iter().map(|field| field.name().as_str());
            return Err(self.unknown("column", name, did_you_mean(name, known)));
        }
        self.columns.insert(name.to_owned());
        Ok(())
    }

    fn unknown(&self, kind: &'static str, name: &str, near: Option<&str>) -> FilterError {
        let before = self.text.find(name).map_or(0, |at| self.text[..at].chars().count());
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        FilterError::Unknown { kind, name: name.to_owned(), at: before + 1, hint }
    }
}
