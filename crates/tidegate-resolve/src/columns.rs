//! Columns: that their types can be read, that their names are distinct, and that whatever refers to
//! one finds it and can use it.

use std::collections::BTreeMap;

use tidegate_api::FieldSpec;
use tidegate_config::EventTime;
use tidegate_types::{
    DedupKey, DuplicateWindow, Field, FieldType, MAX_FIELDS, PartitionColumn, PartitionTransform,
    SYSTEM_PREFIX, did_you_mean,
};

use crate::faults::Faults;

/// The declared columns; none when one cannot be read.
pub(crate) fn resolve(specs: &[FieldSpec], faults: &mut Faults) -> Option<Vec<Field>> {
    if specs.len() > MAX_FIELDS {
        faults.add("spec.schema.fields", format!("has {} entries", specs.len()));
        faults.instead(format!("declare at most {MAX_FIELDS}, and put the rest into structs"));
    }
    check_names(specs, faults);
    let fields: Vec<Field> =
        specs.iter().enumerate().filter_map(|(index, spec)| field(index, spec, faults)).collect();
    (fields.len() == specs.len()).then_some(fields)
}

fn field(index: usize, spec: &FieldSpec, faults: &mut Faults) -> Option<Field> {
    match spec.data_type.parse::<FieldType>() {
        Ok(data_type) => Some(Field {
            name: spec.name.clone(),
            data_type,
            required: spec.required,
            from: spec.from.clone(),
        }),
        Err(error) => {
            faults.add(format!("spec.schema.fields[{index}].type"), error.to_string());
            None
        }
    }
}

/// Delta and SQL engines compare names without regard to case.
fn check_names(specs: &[FieldSpec], faults: &mut Faults) {
    let mut seen = BTreeMap::new();
    for (index, spec) in specs.iter().enumerate() {
        let place = format!("spec.schema.fields[{index}].name");
        let folded = spec.name.to_lowercase();
        if folded.starts_with(SYSTEM_PREFIX) {
            faults.add(&place, format!("{:?} begins with {SYSTEM_PREFIX}", spec.name));
            faults.instead("choose another name and read the value by `from`");
        }
        if let Some(first) = seen.insert(folded, &spec.name) {
            faults.add(&place, format!("{:?} and {first:?} are one column", spec.name));
            faults.instead("rename one and read its value by `from`");
        }
    }
}

/// Partition columns derive from declared ones, by a transform that fits, under names of their own.
pub(crate) fn check_partitions(
    fields: &[Field],
    partitions: &[PartitionColumn],
    faults: &mut Faults,
) {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for (index, partition) in partitions.iter().enumerate() {
        let place = format!("spec.sink.partitionBy[{index}]");
        let Some(field) = find(fields, &partition.field, &format!("{place}.field"), faults) else {
            continue;
        };
        if let Some(wanted) = misfit(partition.transform, &field.data_type) {
            faults.add(
                format!("{place}.transform"),
                format!("does not fit {} of type {}", field.name, field.data_type),
            );
            faults.instead(wanted);
        }
        let name = partition.column_name();
        let identity = partition.transform == PartitionTransform::Identity;
        if !identity && fields.iter().any(|field| field.name.eq_ignore_ascii_case(&name)) {
            faults.add(&place, format!("makes the column {name}, which is declared already"));
            faults.instead(format!("rename the declared column {name}"));
        }
        if let Some(first) = taken.insert(name.to_lowercase(), index) {
            faults.add(&place, format!("is the same column as partitionBy[{first}]"));
            faults.instead("remove one");
        }
    }
}

/// What the transform wants instead of this type; none when it fits.
fn misfit(transform: PartitionTransform, data_type: &FieldType) -> Option<&'static str> {
    use FieldType as T;
    let instant = matches!(data_type, T::Timestamp | T::TimestampNtz);
    let plain = !data_type.is_nested() && !matches!(data_type, T::Float | T::Double);
    match transform {
        PartitionTransform::Hour if !instant => Some("Hour wants a timestamp"),
        PartitionTransform::Day | PartitionTransform::Month
            if !instant && *data_type != T::Date =>
        {
            Some("Day and Month want a timestamp or a date")
        }
        // Binary values cannot stand in a folder's name in a form that every engine reads back.
        PartitionTransform::Identity if !plain || *data_type == T::Binary => {
            Some("Identity wants a plain type other than float, double and binary")
        }
        PartitionTransform::Bucket(_) if !plain => {
            Some("Bucket wants a plain type other than float and double")
        }
        _ => None,
    }
}

/// The event's time is an instant or a day; without a zone it is neither.
pub(crate) fn check_event_time(
    fields: &[Field],
    event_time: Option<&EventTime>,
    faults: &mut Faults,
) {
    let Some(event_time) = event_time else { return };
    let place = "spec.sink.eventTime.field";
    let Some(field) = find(fields, &event_time.field, place, faults) else { return };
    if !matches!(field.data_type, FieldType::Timestamp | FieldType::Date) {
        faults.add(place, format!("{} has the type {}", field.name, field.data_type));
        faults.instead("name a column of type timestamp or date");
    }
}

/// A key in a column must stay in the data files (the window is rebuilt from them, D2) and have one
/// form of its value.
pub(crate) fn check_dedup_key(
    fields: &[Field],
    dedup: Option<&DuplicateWindow>,
    partitions: &[PartitionColumn],
    faults: &mut Faults,
) {
    let Some(DuplicateWindow { key: DedupKey::Field(name), .. }) = dedup else { return };
    let place = "spec.dedup.key.field";
    let Some(field) = find(fields, name, place, faults) else { return };
    if field.data_type.is_nested()
        || matches!(field.data_type, FieldType::Float | FieldType::Double)
    {
        faults.add(place, format!("{name} has the type {}", field.data_type));
        faults.instead("name a column of a plain type other than float and double");
    }
    let leaves_files = |partition: &PartitionColumn| {
        partition.field == *name && partition.transform == PartitionTransform::Identity
    };
    if partitions.iter().any(leaves_files) {
        faults.add(place, format!("{name} is an Identity partition column, which files leave out"));
        faults.instead("partition by a Bucket of it, or by another column");
    }
}

fn find<'a>(
    fields: &'a [Field],
    name: &str,
    place: &str,
    faults: &mut Faults,
) -> Option<&'a Field> {
    let found = fields.iter().find(|field| field.name == name);
    if found.is_none() {
        faults.add(place, format!("there is no column {name:?} in spec.schema.fields"));
        match did_you_mean(name, fields.iter().map(|field| field.name.as_str())) {
            Some(near) => faults.instead(format!("did you mean {near}?")),
            None => faults.instead("declare it, or name a declared one"),
        }
    }
    found
}
