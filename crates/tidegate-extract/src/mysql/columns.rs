//! Which column becomes which.

use tidegate_types::{Field, Reason, did_you_mean};

use super::source_type::SourceType;
use crate::ExtractError;

/// A column that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadColumn {
    /// Its name at the source.
    pub(super) name: String,
    /// Its type there.
    pub(super) source: SourceType,
    /// Name and type in the table.
    pub(super) field: Field,
}

/// The columns that are read: those that are declared, or all that the source has.
pub(super) fn chosen(
    source: &[(String, SourceType)],
    declared: Option<&[Field]>,
) -> Result<Vec<ReadColumn>, ExtractError> {
    match declared {
        Some(fields) => fields.iter().map(|field| declared_column(source, field)).collect(),
        None => source.iter().map(|(name, source)| natural_column(name, source)).collect(),
    }
}

fn natural_column(name: &str, source: &SourceType) -> Result<ReadColumn, ExtractError> {
    let data_type = source.natural().ok_or_else(|| {
        let advice = match source {
            SourceType::Decimal { .. } => {
                "which a table's decimal cannot hold; declare it as string"
            }
            _ => "which has no counterpart in a table; declare the columns that you want",
        };
        let what = format!("column {name:?} is {source}, {advice}");
        ExtractError::permanent(Reason::UnsupportedType, what)
    })?;
    let field = Field { name: name.to_owned(), data_type, required: false, from: None };
    Ok(ReadColumn { name: name.to_owned(), source: source.clone(), field })
}

fn declared_column(
    source: &[(String, SourceType)],
    field: &Field,
) -> Result<ReadColumn, ExtractError> {
    let wanted = wanted(field)?;
    let found = source
        .iter()
        .find(|(name, _)| name == wanted)
        .or_else(|| source.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)));
    let Some((name, found)) = found else {
        let near = did_you_mean(wanted, source.iter().map(|(name, _)| name.as_str()));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        let what = format!("the source has no column {wanted:?}{hint}");
        return Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
    };
    if !found.fits(&field.data_type) {
        let natural = found.natural().map_or_else(
            || "and nothing holds it".to_owned(),
            |natural| format!("which {natural} holds"),
        );
        let what = format!(
            "column {name:?} is {found}, {natural}; it does not fit into {}",
            field.data_type
        );
        return Err(ExtractError::permanent(Reason::UnsupportedType, what));
    }
    Ok(ReadColumn { name: name.clone(), source: found.clone(), field: field.clone() })
}

/// The column that a field is read from: `from: $.name`, or its own name.
fn wanted(field: &Field) -> Result<&str, ExtractError> {
    let Some(from) = &field.from else { return Ok(&field.name) };
    from.strip_prefix("$.").filter(|name| !name.contains(['.', '['])).ok_or_else(|| {
        let what = format!(
            "field {:?} is to be read from {from:?}; of a database's row only whole columns are, as $.column",
            field.name
        );
        ExtractError::permanent(Reason::InvalidConfiguration, what)
    })
}

#[cfg(test)]
mod tests {
    use tidegate_types::{Explained, FieldType};

    use super::*;

    #[test]
    fn fields_name_columns() {
        let source = vec![("Id".to_owned(), SourceType::Year), ("note".into(), SourceType::Text)];
        let field = |name: &str, from: Option<&str>| Field {
            name: name.into(),
            data_type: FieldType::String,
            required: false,
            from: from.map(str::to_owned),
        };
        let read = chosen(&source, Some(&[field("id", None), field("text", Some("$.note"))]));
        let names: Vec<_> = read.expect("chosen").into_iter().map(|column| column.name).collect();
        assert_eq!(names, ["Id", "note"]);
        for (wrong, says) in [
            (field("nota", None), "did you mean \"note\"?"),
            (field("x", Some("$.a.b")), "only whole columns"),
        ] {
            let error = chosen(&source, Some(&[wrong])).expect_err("refused");
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.reason(), Reason::InvalidConfiguration);
        }
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        for (source, says) in [
            (SourceType::Other("a geometry".into()), "\"x\" is a geometry"),
            (SourceType::Decimal { precision: 65, scale: 30 }, "declare it as string"),
        ] {
            let error = chosen(&[("x".into(), source)], None).expect_err("refused");
            assert_eq!(error.reason(), Reason::UnsupportedType);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
