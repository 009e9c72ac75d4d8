//! Declared columns that a file lacks, and members of its structs.

use tidegate_decode::is_nearly;
use tidegate_types::Reason;

use super::trouble::Trouble;

/// What a file is found to lack, gathered while its columns are looked up.
#[derive(Debug, Default)]
pub(crate) struct MissingColumns {
    names: Vec<String>,
}

/// What was looked for and not found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lacking<'a> {
    /// The column that it is a member of, as a path; empty for a column of the file itself.
    pub(crate) within: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Whether a file without it is of no use.
    pub(crate) required: bool,
}

impl MissingColumns {
    /// Notes that none of the names `present`, among which it would be, is the wanted one.
    ///
    /// # Errors
    ///
    /// When it is required, or one is there that differs in case or blanks alone: its values would become nulls
    /// without a word.
    pub(crate) fn note<'p>(
        &mut self,
        lacking: Lacking<'_>,
        mut present: impl Iterator<Item = &'p str>,
    ) -> Result<(), Trouble> {
        let path = path_of(lacking.within, lacking.name);
        if let Some(meant) = present.find(|other| is_nearly(lacking.name, other)) {
            let what = format!(
                "it calls the column {:?}, which is declared as {path:?}: correct one of them",
                path_of(lacking.within, meant)
            );
            return Err(Trouble::Damaged { reason: Reason::MissingField, what });
        }
        if lacking.required {
            let what = format!("it lacks the column {path:?}, which is required");
            return Err(Trouble::Damaged { reason: Reason::MissingField, what });
        }
        self.names.push(path);
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

/// A column's name, or the path of a member.
pub(crate) fn path_of(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") }
}
