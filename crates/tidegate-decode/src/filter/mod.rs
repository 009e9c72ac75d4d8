//! The filter expression: which rows are kept.
//!
//! CEL over the variable `record`, whose members are the columns. Values are CEL's: integers of every
//! width are `int`, floats and decimals `double` (a decimal is rounded), dates and timestamps
//! `timestamp` (a date is its midnight, a time without zone is taken as UTC), binary `bytes`, structs and
//! maps `map`. A null is `null`: it equals nothing but `null`, and comparing it by order is an error, so
//! write `record.n != null && record.n > 3`.
//!
//! A row on which the expression fails is neither kept nor dropped: [`Verdict::Failed`] says why.

mod references;
mod sample;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use cel::objects::{Key, Map};
use cel::{Context, ExecutionError, Program, Value};
use thiserror::Error;

use crate::fault::{MAX_DETAIL, cut};
use references::{References, column_references};

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 4_096;
/// Stack of the thread that parses an expression. The parser recurses through some twenty functions for
/// each level, and 4096 bytes hold at most as many levels: 16 KiB each.
const PARSER_STACK: usize = 64 << 20;
/// The one variable.
const RECORD: &str = "record";

/// The expression cannot be a filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// It is too long.
    #[error("the filter has {length} bytes, at most {MAX_LENGTH} are possible")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// It is nested too deeply.
    #[error("the filter is nested deeper than {most}")]
    TooDeep {
        /// The limit.
        most: usize,
    },
    /// It is not CEL.
    #[error("the filter is not CEL: line {line}, column {column}: {problem}")]
    Syntax {
        /// Line, from one.
        line: usize,
        /// Column, from one.
        column: usize,
        /// What the parser says.
        problem: String,
    },
    /// It names something that is not there.
    #[error("the filter names {kind} {name:?} at character {at}, which does not exist{hint}")]
    Unknown {
        /// A column, variable or function.
        kind: &'static str,
        /// The name.
        name: String,
        /// Where it first stands, counted from one.
        at: usize,
        /// What may have been meant, with its punctuation; or nothing.
        hint: String,
    },
    /// It has another result than true or false.
    #[error("the filter yields {found}, not true or false")]
    NotBoolean {
        /// The result's type.
        found: String,
    },
    /// Its types do not fit each other.
    #[error("the filter fails on values of the declared types: {problem}")]
    Types {
        /// What CEL says.
        problem: String,
    },
}

/// What the filter says of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The row stays.
    Keep,
    /// The row is dropped and counted.
    Drop,
    /// The expression failed; the text is at most 256 bytes.
    Failed(String),
}

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    /// The names of the columns that the expression reads; no other becomes a value.
    columns: Vec<Arc<String>>,
}

impl Filter {
    /// Compiles an expression over the columns of `schema`.
    ///
    /// # Errors
    ///
    /// [`FilterError`] when it could not work: not CEL, a column that is not declared, types that do not
    /// fit, a result that is not boolean.
    pub fn compile(expression: &str, schema: &Schema) -> Result<Self, FilterError> {
        if expression.len() > MAX_LENGTH {
            return Err(FilterError::TooLong { length: expression.len() });
        }
        let program = parse(expression)?;
        let columns = match column_references(program.expression(), expression, schema)? {
            References::Some(names) => names,
            References::All => schema.fields().iter().map(|field| field.name().clone()).collect(),
        };
        let columns: Vec<_> = columns.into_iter().map(Arc::new).collect();
        let sample = columns.iter().filter_map(|name| {
            let field = schema.field_with_name(name).ok()?;
            Some((Key::String(Arc::clone(name)), sample::value(field.data_type())))
        });
        check_types(evaluate(&program, &Context::default(), sample.collect()))?;
        Ok(Self { program, columns })
    }

    /// The verdict for each row.
    #[must_use]
    pub fn evaluate(&self, batch: &RecordBatch) -> Vec<Verdict> {
        let context = Context::default();
        let columns: Vec<(Key, &dyn Array)> = self
            .columns
            .iter()
            .filter_map(|name| {
                Some((Key::String(Arc::clone(name)), &**batch.column_by_name(name)?))
            })
            .collect();
        let record = |row| {
            let values =
                columns.iter().map(|(key, array)| (key.clone(), values::value(*array, row)));
            values.collect::<HashMap<_, _>>()
        };
        (0..batch.num_rows())
            .map(|row| verdict(evaluate(&self.program, &context, record(row))))
            .collect()
    }
}

fn evaluate(
    program: &Program,
    context: &Context<'_>,
    record: HashMap<Key, Value>,
) -> Result<Value, ExecutionError> {
    let mut scope = context.new_inner_scope();
    scope.add_variable_from_value(RECORD, Value::Map(Map { map: Arc::new(record) }));
    program.execute(&scope)
}

fn verdict(result: Result<Value, ExecutionError>) -> Verdict {
    match result {
        Ok(Value::Bool(true)) => Verdict::Keep,
        Ok(Value::Bool(false)) => Verdict::Drop,
        Ok(other) => Verdict::Failed(format!("the filter yields {}", other.type_of())),
        Err(error) => Verdict::Failed(cut(&error.to_string(), MAX_DETAIL).to_owned()),
    }
}

/// Judges the result on made-up values: a mistake in the types shows on any value, everything else may
/// be the values' fault.
fn check_types(result: Result<Value, ExecutionError>) -> Result<(), FilterError> {
    match result {
        Ok(Value::Bool(_)) => Ok(()),
        Ok(other) => Err(FilterError::NotBoolean { found: other.type_of().to_string() }),
        Err(
            error @ (ExecutionError::NoSuchOverload
            | ExecutionError::ValuesNotComparable(..)
            | ExecutionError::UnsupportedBinaryOperator(..)
            | ExecutionError::UnsupportedUnaryOperator(..)
            | ExecutionError::UndeclaredReference(..)),
        ) => Err(FilterError::Types { problem: error.to_string() }),
        Err(_) => Ok(()),
    }
}

/// Parses on a thread of its own: the parser recurses as deep as the text is nested, and panics on some
/// texts that are no CEL.
fn parse(expression: &str) -> Result<Program, FilterError> {
    let text = expression.to_owned();
    let parser = std::thread::Builder::new()
        .stack_size(PARSER_STACK)
        .spawn(move || Program::compile(&text).map_err(|errors| syntax_error(&errors)));
    let parsed = parser.map_err(|error| error.to_string()).and_then(|thread| {
        thread.join().map_err(|_| "the parser could not make sense of it".to_owned())
    });
    parsed.unwrap_or_else(|problem| Err(FilterError::Syntax { line: 1, column: 1, problem }))
}

fn syntax_error(errors: &cel::ParseErrors) -> FilterError {
    let place = |at: isize| usize::try_from(at).unwrap_or(0).max(1);
    let first = errors.errors.first();
    let (line, column) = first.map_or((1, 1), |error| (place(error.pos.0), place(error.pos.1)));
    let problem = first.map_or("no expression", |error| error.msg.as_str());
    FilterError::Syntax { line, column, problem: cut(problem, MAX_DETAIL).to_owned() }
}
