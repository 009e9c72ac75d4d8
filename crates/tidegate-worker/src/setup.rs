//! Everything that is opened and checked before the first message is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use tidegate_batch::PartitionRouter;
use tidegate_config::PipelineConfig;
use tidegate_decode::{DecodeOptions, Decoder, Filter};
use tidegate_dedup::KeyHasher;
use tidegate_runtime::RunError;
use tidegate_table::files::system::{SystemColumns, file_schema, table_schema};
use tidegate_table::log::TableSpec;
use tidegate_types::{DedupKey, Reason};

use crate::event_time::EventTimeRule;
use crate::judge::{DedupRule, Judge, JudgeRules};

/// What the rows of a pipeline look like, everywhere on their way.
pub(crate) struct Layout {
    pub(crate) spec: TableSpec,
    /// The data files' columns.
    pub(crate) file_schema: Arc<Schema>,
    pub(crate) system: SystemColumns,
}

/// Whether schema, filter and partitioning can be compiled; needs neither broker nor store.
///
/// # Errors
///
/// What is wrong, with the column or the place in the expression.
pub fn check_rules(config: &PipelineConfig) -> Result<(), RunError> {
    compile(config).map(drop)
}

/// Compiles decoder, filter, router and the table's layout.
pub(crate) fn compile(
    config: &PipelineConfig,
) -> Result<(Decoder, Option<Filter>, PartitionRouter, Layout), RunError> {
    let invalid = |what: &'static str| {
        move |source: Box<dyn std::error::Error + Send + Sync>| {
            RunError::permanent(Reason::InvalidConfiguration, what).because(source)
        }
    };
    let decode = &config.decode;
    let decoder = Decoder::new(DecodeOptions {
        fields: config.schema.fields.clone(),
        unknown_fields: config.schema.unknown_fields,
        coercion: decode.coercion,
        compression: decode.compression,
        max_bytes: decode.max_bytes,
        max_depth: decode.max_depth,
        refuse_near_names: false,
    })
    .map_err(|error| invalid("the schema cannot be decoded into")(Box::new(error)))?;
    let declared = decoder.schema();
    let filter = match &config.filter {
        Some(expression) => Some(
            Filter::compile(expression, &declared)
                .map_err(|error| invalid("filter.cel cannot be used")(Box::new(error)))?,
        ),
        None => None,
    };
    let router = PartitionRouter::new(&config.sink.partition_by, &declared)
        .map_err(|error| invalid("partitionBy cannot be used")(Box::new(error)))?;
    let key = config.dedup.as_ref().map(|dedup| &dedup.key);
    let system = SystemColumns {
        dedup: key.is_some(),
        id_in_header: matches!(key, Some(DedupKey::Header(_))),
    };
    let partition_columns: Vec<String> =
        router.partition_fields().iter().map(|field| field.name().clone()).collect();
    let table = table_schema(&declared, router.partition_fields(), system);
    let file_schema = Arc::new(file_schema(&table, &partition_columns));
    let spec = TableSpec::new(Arc::new(table), partition_columns);
    Ok((decoder, filter, router, Layout { spec, file_schema, system }))
}

/// Puts the judge together.
pub(crate) fn judge(
    config: &PipelineConfig,
    (decoder, filter, router): (Decoder, Option<Filter>, PartitionRouter),
    seed: u64,
) -> Result<Judge, RunError> {
    let declared = decoder.schema();
    let column = |name: &str| {
        declared.index_of(name).map_err(|source| {
            let what = format!("column {name} is not declared in schema.fields");
            RunError::permanent(Reason::InvalidConfiguration, what).because(source)
        })
    };
    let event_time = match &config.sink.event_time {
        Some(rule) => Some(EventTimeRule {
            column: column(&rule.field)?,
            allowed: rule.allowed_lateness,
            policy: rule.late_policy,
            after_repair: rule.after_repair,
        }),
        None => None,
    };
    let dedup = match &config.dedup {
        Some(window) => Some(DedupRule {
            column: match &window.key {
                DedupKey::Field(name) => Some(column(name)?),
                DedupKey::Header(_) => None,
            },
            window: window.clone(),
            hasher: KeyHasher::new(seed),
        }),
        None => None,
    };
    let on_error = config.decode.on_error;
    Ok(Judge::new(JudgeRules { decoder, filter, event_time, dedup, router, on_error }))
}

/// The partitions to work on.
pub(crate) fn wanted(
    config: &PipelineConfig,
    chosen: Option<&Vec<tidegate_types::PartitionId>>,
) -> BTreeSet<tidegate_types::PartitionId> {
    let all = (0..config.source.partitioning.count()).map(tidegate_types::PartitionId);
    match chosen {
        Some(chosen) => all.filter(|partition| chosen.contains(partition)).collect(),
        None => all.collect(),
    }
}
