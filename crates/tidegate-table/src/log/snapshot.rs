//! A table at one version.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::TryFromKernel;
use delta_kernel::snapshot::SnapshotRef;
use delta_kernel::table_features::{ColumnMappingMode, Operation};

use super::boot_time::BootTime;
use super::error::LogError;
use super::txns::Txns;

/// Writing this property makes the kernel (and others) forget `txn` actions, and with them floors.
const TXN_RETENTION: &str = "delta.setTransactionRetentionDuration";

/// A table at one version: metadata, every `txn`, and the way to its files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    pub(super) kernel: SnapshotRef,
    pub(super) txns: Arc<Txns>,
    schema: SchemaRef,
    /// Taken before the log was read, so that the age errs on the safe side (P8).
    loaded_at: BootTime,
}

impl TableSnapshot {
    pub(super) fn new(
        kernel: SnapshotRef,
        txns: Arc<Txns>,
        loaded_at: BootTime,
    ) -> Result<Self, arrow::error::ArrowError> {
        let schema = Arc::new(Schema::try_from_kernel(kernel.schema().as_ref())?);
        Ok(Self { kernel, txns, schema, loaded_at })
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.kernel.version()
    }

    /// The table's id: another one means that it was replaced (T1).
    #[must_use]
    pub fn metadata_id(&self) -> &str {
        self.kernel.table_configuration().metadata().id()
    }

    /// All columns in order, partition columns included.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Names of the partition columns, in order.
    #[must_use]
    pub fn partition_columns(&self) -> &[String] {
        self.kernel.table_configuration().metadata().partition_columns()
    }

    /// The table's properties.
    #[must_use]
    pub fn properties(&self) -> &HashMap<String, String> {
        self.kernel.metadata_configuration()
    }

    /// Every application id's latest version.
    #[must_use]
    pub fn txns(&self) -> &Txns {
        &self.txns
    }

    /// When the reading of the log began.
    #[must_use]
    pub fn loaded_at(&self) -> BootTime {
        self.loaded_at
    }

    /// Refuses tables whose settings would break what Tidegate promises: features that cannot be
    /// written, column mapping (files could not be read as a folder), and forgetting `txn` actions
    /// (P8).
    ///
    /// # Errors
    ///
    /// [`LogError::Mismatch`], or [`LogError::Kernel`] naming the feature.
    pub fn check_usable(&self, table: &str) -> Result<(), LogError> {
        let mismatch = |problem: String| LogError::Mismatch { table: table.to_owned(), problem };
        let configuration = self.kernel.table_configuration();
        configuration.ensure_operation_supported(Operation::Write).map_err(|source| {
            LogError::Kernel {
                operation: "check the features",
                table: table.to_owned(),
                source: Box::new(source),
            }
        })?;
        if configuration.column_mapping_mode() != ColumnMappingMode::None {
            return Err(mismatch("it uses column mapping".to_owned()));
        }
        if let Some(retention) = self.properties().get(TXN_RETENTION) {
            let problem = format!("{TXN_RETENTION} is {retention}: positions would be forgotten");
            return Err(mismatch(problem));
        }
        Ok(())
    }
}
