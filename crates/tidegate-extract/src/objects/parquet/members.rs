//! Members of structs, which go by name like columns do.

use arrow::datatypes::{DataType, Field as ArrowField, Fields};
use tidegate_types::{FieldType, Reason, StructField};

use crate::objects::missing::{Lacking, MissingColumns, path_of};
use crate::objects::trouble::Trouble;

/// Looks up a column and the members behind it, one below the other; where it is lacking that is noted.
///
/// # Errors
///
/// As [`MissingColumns::note`].
pub(super) fn descend<'a>(
    columns: &'a Fields,
    names: &[&str],
    required: bool,
    missing: &mut MissingColumns,
) -> Result<Option<(usize, &'a DataType)>, Trouble> {
    let (mut around, mut within) = (columns, String::new());
    let mut found: Option<(usize, &DataType)> = None;
    for name in names {
        if let Some((_, data_type)) = found {
            let DataType::Struct(members) = data_type else {
                missing.note(Lacking { within: &within, name, required }, std::iter::empty())?;
                return Ok(None);
            };
            around = members;
        }
        let Some((place, field)) = around.find(name) else {
            missing.note(Lacking { within: &within, name, required }, names_of(around))?;
            return Ok(None);
        };
        within = path_of(&within, name);
        found = Some((found.map_or(place, |(root, _)| root), field.data_type()));
    }
    Ok(found)
}

/// Compares the names of members below a column, which is called `within`, with those that are wanted; what is
/// lacking is noted. Are they those of the first file and not `declared`, there may be no others.
///
/// # Errors
///
/// As [`MissingColumns::note`], and when there is a member that the first file has not.
pub(super) fn compare(
    within: &str,
    (from, to): (&DataType, &FieldType),
    declared: bool,
    missing: &mut MissingColumns,
) -> Result<(), Trouble> {
    match (from, to) {
        (DataType::Struct(members), FieldType::Struct(wanted)) => {
            compare_structs(within, (members, wanted), declared, missing)
        }
        (DataType::List(element), FieldType::List(to)) => {
            compare(within, (element.data_type(), to), declared, missing)
        }
        (DataType::Map(entries, _), FieldType::Map(_, to)) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                compare(within, (pair[1].data_type(), to), declared, missing)
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn compare_structs(
    within: &str,
    (members, wanted): (&Fields, &[StructField]),
    declared: bool,
    missing: &mut MissingColumns,
) -> Result<(), Trouble> {
    let is_wanted = |member: &ArrowField| wanted.iter().any(|one| one.name == *member.name());
    if let (false, Some(extra)) = (declared, members.iter().find(|member| !is_wanted(member))) {
        return Err(beside_the_first(&path_of(within, extra.name())));
    }
    for member in wanted {
        let Some((_, found)) = members.find(&member.name) else {
            let lacking = Lacking { within, name: &member.name, required: false };
            missing.note(lacking, names_of(members))?;
            continue;
        };
        let pair = (found.data_type(), &member.data_type);
        compare(&path_of(within, &member.name), pair, declared, missing)?;
    }
    Ok(())
}

/// A column that nobody declared and the first file has not.
pub(super) fn beside_the_first(extra: &str) -> Trouble {
    Trouble::Damaged {
        reason: Reason::TableMismatch,
        what: format!(
            "it has the column {extra:?}, which the first file has not; declare the columns under schema.fields"
        ),
    }
}

fn names_of(fields: &Fields) -> impl Iterator<Item = &str> {
    fields.iter().map(|field| field.name().as_str())
}
