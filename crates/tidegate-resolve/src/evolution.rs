//! An edit against the spec that was accepted before: what a running ledger takes and what it would
//! refuse for ever.
//!
//! The table has at least the columns of the accepted spec, so that whoever obeys these rules is never
//! refused by the workers, which compare with the table itself. They are stricter in two things. A
//! column is not removed, because the table keeps it: one of the same name and another type, declared
//! later, would fit the accepted spec and not the table. And nothing becomes required, because messages
//! that were published before would all become dead letters.

use std::collections::BTreeSet;

use tidegate_api::{
    DatabaseSpec, FieldSpec, IngestionPipelineSpec, JetStreamSpec, PartitioningSpec, RepairsSpec,
    Violation,
};
use tidegate_types::{Evolution, FieldType, StructField};

use crate::faults::Faults;

/// Checks an edit of an accepted spec. The rules are those of the new spec's `schema.evolution`.
///
/// Both specs must be ones that [`resolve`](crate::resolve) takes. A changed deduplication key or window
/// is no fault: the window begins anew.
///
/// Returns the columns and members of structs that the table gets, with dots between the steps.
///
/// # Errors
///
/// Every change that is not allowed, with the field's path.
pub fn check_evolution(
    accepted: &IngestionPipelineSpec,
    new: &IngestionPipelineSpec,
) -> Result<Vec<String>, Vec<Violation>> {
    let mut faults = Faults::new("");
    check_fixed(accepted, new, &mut faults);
    let (old_fields, new_fields) = (&accepted.schema.fields, &new.schema.fields);
    if old_fields.is_empty() || new_fields.is_empty() {
        // The source describes itself, so that the run compares with the table.
        return faults.or(new_fields.iter().map(|field| field.name.clone()).collect());
    }
    check_removed(old_fields, new_fields, &mut faults);
    let frozen = new.schema.evolution == Evolution::Frozen;
    let mut added = Vec::new();
    for (index, field) in new_fields.iter().enumerate() {
        let change = Change { place: format!("spec.schema.fields[{index}]"), frozen };
        match old_fields.iter().find(|old| same_name(&old.name, &field.name)) {
            None => change.new_column(field, &mut added, &mut faults),
            Some(old) => change.old_column(old, field, &mut added, &mut faults),
        }
    }
    faults.or(added)
}

/// The definition's rules say the same; an object may have come in under one without them.
fn check_fixed(old: &IngestionPipelineSpec, new: &IngestionPipelineSpec, faults: &mut Faults) {
    let source = "spec.source.jetStream";
    let (old_stream, new_stream) = (old.source.jet_stream.as_ref(), new.source.jet_stream.as_ref());
    let stream = |source: Option<&JetStreamSpec>| source.map(|source| source.stream.clone());
    let parts = |source: Option<&JetStreamSpec>| source.map(|source| parts(&source.partitioning));
    for (place, is_same) in [
        ("spec.ledger", old.ledger == new.ledger),
        ("spec.source.type", old.source.source_type == new.source.source_type),
        (&format!("{source}.stream"), stream(old_stream) == stream(new_stream)),
        (&format!("{source}.partitioning"), parts(old_stream) == parts(new_stream)),
        ("spec.source.postgres", relation(&old.source.postgres) == relation(&new.source.postgres)),
        ("spec.source.mysql", relation(&old.source.mysql) == relation(&new.source.mysql)),
        ("spec.source.objectStore.storage.url", address(old) == address(new)),
        ("spec.bulk.incremental.cursorField", same_cursor(old, new)),
        ("spec.bulk.repairs", repaired(old) == repaired(new)),
        ("spec.sink.storage.url", old.sink.storage.url == new.sink.storage.url),
        ("spec.sink.partitionBy", old.sink.partition_by == new.sink.partition_by),
    ] {
        if !is_same {
            faults.add(place, "cannot be changed");
            faults.instead("write what stood there before, or make another pipeline");
        }
    }
}

/// Whose rows are replaced.
fn repaired(spec: &IngestionPipelineSpec) -> Option<&RepairsSpec> {
    spec.bulk.as_ref()?.repairs.as_ref()
}

/// What of a database is read.
fn relation(source: &Option<DatabaseSpec>) -> Option<(&Option<String>, &Option<String>)> {
    source.as_ref().map(|source| (&source.table, &source.query))
}

fn address(spec: &IngestionPipelineSpec) -> Option<&str> {
    spec.source.object_store.as_ref().map(|source| source.storage.url.as_str())
}

/// Loads may become whole, and by interval again, but by one column.
fn same_cursor(old: &IngestionPipelineSpec, new: &IngestionPipelineSpec) -> bool {
    let cursor = |spec: &IngestionPipelineSpec| {
        spec.bulk.as_ref()?.incremental.as_ref().map(|found| found.cursor_field.clone())
    };
    cursor(old).zip(cursor(new)).is_none_or(|(old, new)| old == new)
}

/// A promise about ids does not move any message to another partition.
fn parts(partitioning: &PartitioningSpec) -> PartitioningSpec {
    PartitioningSpec { id_subject_stable: None, ..partitioning.clone() }
}

fn check_removed(old: &[FieldSpec], new: &[FieldSpec], faults: &mut Faults) {
    for gone in old.iter().filter(|old| new.iter().all(|new| !same_name(&new.name, &old.name))) {
        faults.add(
            "spec.schema.fields",
            format!("column {} is gone, and a table keeps it", gone.name),
        );
        faults.instead(format!(
            "declare {} again; a record may lack it unless it is required",
            gone.name
        ));
    }
}

/// Delta takes names that differ in case for the same.
fn same_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// One column of the new spec.
struct Change {
    place: String,
    frozen: bool,
}

impl Change {
    fn new_column(&self, field: &FieldSpec, added: &mut Vec<String>, faults: &mut Faults) {
        if self.frozen {
            self.refuse_frozen(&field.name, faults);
        } else if field.required {
            faults.add(
                format!("{}.required", self.place),
                format!("column {} is new, and every message so far lacks it", field.name),
            );
            faults.instead("write required: false");
        }
        added.push(field.name.clone());
    }

    fn old_column(
        &self,
        old: &FieldSpec,
        new: &FieldSpec,
        added: &mut Vec<String>,
        faults: &mut Faults,
    ) {
        if old.name != new.name {
            faults.add(
                format!("{}.name", self.place),
                format!("{} differs from the table's {} only in its case", new.name, old.name),
            );
            faults.instead(format!("write {}", old.name));
            return;
        }
        let before = added.len();
        self.compare_types(old, new, added, faults);
        let becomes_required = new.required && !old.required;
        let read_otherwise = old.from != new.from || old.required != new.required;
        if self.frozen && (added.len() > before || read_otherwise) {
            self.refuse_frozen(&new.name, faults);
        } else if becomes_required {
            faults.add(
                format!("{}.required", self.place),
                format!("column {} was not required, and messages so far may lack it", new.name),
            );
            faults.instead("write required: false");
        }
    }

    fn compare_types(
        &self,
        old: &FieldSpec,
        new: &FieldSpec,
        added: &mut Vec<String>,
        faults: &mut Faults,
    ) {
        if old.data_type == new.data_type {
            return;
        }
        let (known, wanted) = (old.data_type.parse(), new.data_type.parse());
        let outcome = match (known, wanted) {
            (Ok(known), Ok(wanted)) => compare(&known, &wanted, &new.name, added),
            _ => Err(format!("column {} has the type {}", new.name, old.data_type)),
        };
        if let Err(problem) = outcome {
            faults.add(format!("{}.type", self.place), problem);
            faults.instead(
                "write what stood there before, and read the value into a new column by `from`",
            );
        }
    }

    fn refuse_frozen(&self, name: &str, faults: &mut Faults) {
        faults
            .add(&self.place, format!("column {name} is changed, and schema.evolution is Frozen"));
        faults.instead("write evolution: AddColumns for new columns, or what stood there before");
    }
}

/// Notes the members that are new; the error says what differs otherwise.
fn compare(
    old: &FieldType,
    new: &FieldType,
    path: &str,
    added: &mut Vec<String>,
) -> Result<(), String> {
    match (old, new) {
        (FieldType::Struct(old), FieldType::Struct(new)) => compare_members(old, new, path, added),
        (FieldType::List(old), FieldType::List(new)) => {
            compare(old, new, &format!("{path}.element"), added)
        }
        (FieldType::Map(old_key, old_value), FieldType::Map(new_key, new_value)) => {
            compare(old_key, new_key, &format!("{path}.key"), added)?;
            compare(old_value, new_value, &format!("{path}.value"), added)
        }
        _ if old == new => Ok(()),
        _ => Err(format!("column {path} has the type {old} in the table, not {new}")),
    }
}

fn compare_members(
    old: &[StructField],
    new: &[StructField],
    path: &str,
    added: &mut Vec<String>,
) -> Result<(), String> {
    for member in new {
        let at = format!("{path}.{}", member.name);
        match old.iter().find(|old| same_name(&old.name, &member.name)) {
            None => added.push(at),
            Some(known) if known.name == member.name => {
                compare(&known.data_type, &member.data_type, &at, added)?;
            }
            Some(known) => {
                return Err(format!(
                    "{at} differs from the table's {} only in its case",
                    known.name
                ));
            }
        }
    }
    let kept: BTreeSet<&str> = new.iter().map(|member| member.name.as_str()).collect();
    match old.iter().find(|old| !kept.contains(old.name.as_str())) {
        Some(gone) => Err(format!("{path}.{} is gone, and a table keeps it", gone.name)),
        None => Ok(()),
    }
}
