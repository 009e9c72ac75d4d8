//! Declared columns that a file lacks.

use tidegate_types::{Field, Reason};

use super::trouble::Trouble;

/// What a file is found to lack, gathered while its columns are looked up.
#[derive(Debug, Default)]
pub(crate) struct MissingColumns<'a> {
    names: Vec<&'a str>,
}

impl<'a> MissingColumns<'a> {
    /// Notes that none of the file's columns, which are `present`, is called `name`.
    ///
    /// # Errors
    ///
    /// When the field is required, or a column is there whose name differs in case or blanks alone: its
    /// values would become nulls without a word.
    pub(crate) fn note<'p>(
        &mut self,
        field: &Field,
        name: &'a str,
        mut present: impl Iterator<Item = &'p str>,
    ) -> Result<(), Trouble> {
        if let Some(meant) = present.find(|other| is_nearly(name, other)) {
            let what = format!(
                "it calls the column {meant:?}, which is declared as {name:?}: correct one of them"
            );
            return Err(Trouble::Damaged { reason: Reason::MissingField, what });
        }
        if field.required {
            let what = format!("it lacks the column {name:?}, which is required");
            return Err(Trouble::Damaged { reason: Reason::MissingField, what });
        }
        self.names.push(name);
        Ok(())
    }

    /// Tells which columns of the file are null throughout.
    pub(crate) fn tell(&self, path: &str) {
        if !self.names.is_empty() {
            let columns = self.names.join(", ");
            tracing::warn!(
                file = path,
                columns,
                "declared columns are not in the file; they are null"
            );
        }
    }
}

fn is_nearly(name: &str, other: &str) -> bool {
    name.trim().to_lowercase() == other.trim().to_lowercase()
}
