//! From the source's columns to the table's.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use tidegate_batch::PartitionRouter;
use tidegate_config::TransferConfig;
use tidegate_runtime::RunError;
use tidegate_table::files::system::{BulkColumns, file_schema};
use tidegate_table::log::TableSpec;
use tidegate_types::{Reason, SYSTEM_PREFIX};

/// What the rows of a run look like on their way.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// What the table must have.
    pub(crate) spec: TableSpec,
    /// The data files' columns.
    pub(crate) file_schema: SchemaRef,
    pub(crate) router: PartitionRouter,
}

impl Layout {
    /// Lays out the source's columns.
    ///
    /// # Errors
    ///
    /// When a column has a name that is ours or stands twice, or the table cannot be partitioned by it.
    pub(crate) fn new(config: &TransferConfig, columns: &Schema) -> Result<Self, RunError> {
        check_names(columns)?;
        let router =
            PartitionRouter::new(&config.sink.partition_by, columns).map_err(|source| {
                let what = "partitionBy cannot be used with the source's columns";
                RunError::permanent(Reason::InvalidConfiguration, what).because(source)
            })?;
        let partition_columns: Vec<String> =
            router.partition_fields().iter().map(|field| field.name().clone()).collect();
        let table = BulkColumns.table_schema(columns, router.partition_fields());
        let file_schema = Arc::new(file_schema(&table, &partition_columns));
        let spec = TableSpec::new(Arc::new(table), partition_columns);
        Ok(Self { spec, file_schema, router })
    }
}

/// Nothing can be made of the source's rows.
pub(crate) fn no_columns() -> RunError {
    let what = "the source has no columns; declare them under schema.fields, or begin with an interval \
                that has files";
    RunError::permanent(Reason::TableMismatch, what)
}

fn check_names(columns: &Schema) -> Result<(), RunError> {
    let refuse = |what| Err(RunError::permanent(Reason::TableMismatch, what));
    if columns.fields().is_empty() {
        return Err(no_columns());
    }
    for (at, field) in columns.fields().iter().enumerate() {
        let name = field.name();
        if name.starts_with(SYSTEM_PREFIX) {
            return refuse(format!(
                "column {name} of the source has a name that Tidegate's own columns have; give it \
                 another one by schema.fields or a query"
            ));
        }
        // Delta does not tell columns apart by case.
        let same = |other: &&Arc<arrow::datatypes::Field>| other.name().eq_ignore_ascii_case(name);
        if let Some(twin) = columns.fields()[..at].iter().find(same) {
            return refuse(format!(
                "columns {} and {name} of the source differ only by case, which the table does not \
                 tell apart; name them by a query",
                twin.name()
            ));
        }
    }
    Ok(())
}
