//! Whether a pipeline and a table go together. What the configuration alone tells is looked at before anything is
//! claimed, the rest once the source has told its columns; `doctor` looks at all of it.

use arrow::datatypes::Schema;
use tidegate_config::TransferConfig;
use tidegate_decode::arrow_schema;
use tidegate_runtime::RunError;
use tidegate_runtime::table::{does_not_fit, missing_columns};
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::TableSnapshot;
use tidegate_table::schema::check_partitioning;
use tidegate_types::{Incarnation, Ledger, Reason, SYSTEM_PREFIX};

use crate::layout::Layout;

/// What the log says of the ledger beside its intervals, and who else writes to the table.
pub(crate) fn ledger_state(
    table: &TableSnapshot,
    ledger: &Ledger,
) -> Result<LedgerState, RunError> {
    let none = Incarnation::derive("", "", 0);
    Ok(LedgerState::read(table.txns(), ledger, none)?)
}

/// Whether the pipeline may write to the table (X6).
///
/// # Errors
///
/// When the rows there are another ledger's and nothing allows that.
pub(crate) fn check_ledger(config: &TransferConfig, table: &TableSnapshot) -> Result<(), RunError> {
    let mut state = ledger_state(table, &config.ledger)?;
    if let Some(repairs) = &config.repairs {
        // Beside whom a repair writes is its purpose.
        state.other_ledgers.remove(&repairs.ledger);
    }
    Ok(state.check_shared(&config.ledger, config.sink.delta.shared)?)
}

/// What can be compared without the source: partitioning, and columns that are declared.
///
/// # Errors
///
/// What the run would end with behind its claim.
pub(crate) fn check_known(config: &TransferConfig, table: &TableSnapshot) -> Result<(), RunError> {
    let names: Vec<_> = config.sink.partition_by.iter().map(|by| by.column_name()).collect();
    check_partitioning(table.partition_columns(), &names).map_err(does_not_fit)?;
    let Some(fields) = &config.fields else { return Ok(()) };
    let columns = arrow_schema(fields).map_err(|error| {
        let what = "schema.fields cannot be used";
        RunError::permanent(Reason::InvalidConfiguration, what).because(error)
    })?;
    check_columns(config, table, &columns).map(|_| ())
}

/// Compares table and columns as a run does, and says which columns of the table would be null.
///
/// # Errors
///
/// When they do not fit.
pub(crate) fn check_columns(
    config: &TransferConfig,
    table: &TableSnapshot,
    columns: &Schema,
) -> Result<Vec<String>, RunError> {
    let layout = Layout::new(config, columns)?;
    missing_columns(table, &layout.spec, config.evolution)?;
    Ok(null_columns(table.schema(), &layout))
}

/// The columns of the table that the source does not give; not ours.
pub(crate) fn null_columns(table: &Schema, layout: &Layout) -> Vec<String> {
    let given = &layout.spec.schema;
    let names = table.fields().iter().map(|field| field.name());
    let missing = names.filter(|name| given.column_with_name(name).is_none());
    missing.filter(|name| !name.starts_with(SYSTEM_PREFIX)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use tidegate_config::WriteMode;
    use tidegate_types::{PartitionColumn, PartitionTransform};

    use super::*;
    use crate::tests::lake::Lake;

    fn schema(names: &[&str]) -> Schema {
        let field = |name: &&str| Field::new(*name, DataType::Date32, true);
        Schema::new(names.iter().map(field).collect::<Vec<_>>())
    }

    #[test]
    fn columns_that_only_the_table_has_are_null_but_not_ours_and_not_what_is_derived() {
        let mut config = Lake::new(WriteMode::ReplaceInterval).config();
        let by = PartitionColumn { field: "day".into(), transform: PartitionTransform::Month };
        config.sink.partition_by = vec![by];
        let table = schema(&["id", "day", "day_month", "_tg_src", "_tg_window"]);
        for (source, expected) in [
            (vec!["id", "day"], vec![]),
            (vec!["id", "day", "more"], vec![]),
            (vec!["day"], vec!["id"]),
        ] {
            let layout = Layout::new(&config, &schema(&source)).unwrap();
            assert_eq!(null_columns(&table, &layout), expected, "{source:?}");
        }
    }
}
