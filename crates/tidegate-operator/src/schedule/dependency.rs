//! Pipelines that must be complete first.

use jiff::Timestamp;

/// How far another pipeline is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// Its name.
    pub(crate) name: String,
    /// Whether there is one of this name.
    pub(crate) exists: bool,
    /// Up to when it is complete, as far as that is known.
    pub(crate) complete_through: Option<Timestamp>,
}

/// For whom an interval that ends then still waits, in words; none when for nobody.
pub(crate) fn waits_for(dependencies: &[Dependency], end: Timestamp) -> Option<String> {
    let late = |one: &&Dependency| one.complete_through.is_none_or(|through| through < end);
    let first = dependencies.iter().find(late)?;
    let name = &first.name;
    Some(match (first.exists, first.complete_through) {
        (false, _) => format!("waits for pipeline {name}, which does not exist"),
        (true, None) => format!("waits for pipeline {name}, which has not said how far it is"),
        (true, Some(through)) => format!("waits for pipeline {name}, which is at {through}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_waits_until_everybody_is_complete_up_to_its_end() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let one = |name: &str, through: Option<i64>| Dependency {
            name: name.to_owned(),
            exists: true,
            complete_through: through.map(at),
        };
        let end = at(3600);
        assert_eq!(waits_for(&[], end), None);
        assert_eq!(waits_for(&[one("a", Some(3600)), one("b", Some(9000))], end), None);
        let late = waits_for(&[one("a", Some(3600)), one("b", Some(3599))], end).unwrap();
        assert!(late.contains("pipeline b") && late.contains("00:59:59"), "{late}");
        assert!(waits_for(&[one("a", None)], end).unwrap().contains("has not said"));
        let missing = Dependency { exists: false, ..one("a", None) };
        assert!(waits_for(&[missing], end).unwrap().contains("does not exist"));
    }
}
