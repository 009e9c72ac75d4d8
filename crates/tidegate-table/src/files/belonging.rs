//! What an object below a table's root is for. Only for deciding what a removal takes along: nothing else is
//! ever inferred from a path.

use object_store::path::Path;
use tidegate_types::Ledger;

use super::layout::{DEAD_LETTER_TABLE, FileName, LOG_FOLDER, SIDE_FOLDER};

/// What an object below a table's root is for, by its place and name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belonging {
    /// A data file of the ledger, committed or not.
    Data,
    /// Of the dead-letter table.
    DeadLetters,
    /// A side file of the ledger, or left behind by a store probe.
    Side,
    /// Of the table's log.
    Log,
    /// Neither, as far as can be seen.
    Unknown,
}

/// What an object is for in a table of `ledger`.
#[must_use]
pub(crate) fn belonging(object: &Path, ledger: &Ledger) -> Belonging {
    let parts: Vec<_> = object.parts().map(|part| part.as_ref().to_owned()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [LOG_FOLDER, _, ..] => Belonging::Log,
        [DEAD_LETTER_TABLE, _, ..] => Belonging::DeadLetters,
        [SIDE_FOLDER, owner, _, ..] if *owner == ledger.as_str() => Belonging::Side,
        [SIDE_FOLDER, name] if name.starts_with("probe-") => Belonging::Side,
        [folders @ .., name]
            if folders.iter().all(|folder| folder.contains('='))
                && FileName::parse(name).is_some_and(|name| name.ledger == *ledger) =>
        {
            Belonging::Data
        }
        _ => Belonging::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::layout::DataPath;
    use crate::files::layout::testing::name;

    #[test]
    fn an_object_is_the_tables_only_by_a_name_that_we_give() {
        let of = |path: &str| belonging(&Path::parse(path).expect("a path"), &name().ledger);
        let values = [("ts_day".to_owned(), Some("2026-06-01".to_owned()))];
        let data = DataPath::new(&values, &name());
        assert_eq!(belonging(data.object(), &name().ledger), Belonging::Data);
        let file = data.object().filename().expect("a name").to_owned();
        for (path, expected) in [
            (file.as_str(), Belonging::Data),
            (&format!("other/{file}"), Belonging::Unknown),
            (&format!("a=1/b=2/{file}"), Belonging::Data),
            (&file.replace("clicks", "clicks-x"), Belonging::Unknown),
            (&file.replace("tg-", "xx-tg-"), Belonging::Unknown),
            (&file.replace(".parquet", ".parquet.tmp"), Belonging::Unknown),
            ("tg-analytics.clicks-12.7-0000000000000001-0.parquet", Belonging::Data),
            ("part-00000-c000.snappy.parquet", Belonging::Unknown),
            ("_delta_log/00000000000000000007.json", Belonging::Log),
            ("_delta_log/_sidecars/x.parquet", Belonging::Log),
            ("sub/_delta_log/00000000000000000007.json", Belonging::Unknown),
            ("_dead_letters/_delta_log/00000000000000000000.json", Belonging::DeadLetters),
            ("_tidegate/analytics.clicks/keys-0000000000000001.json", Belonging::Side),
            ("_tidegate/analytics.other/keys-0000000000000001.json", Belonging::Unknown),
            ("_tidegate/probe-0000000000000001-race", Belonging::Side),
            ("_tidegate/notes.txt", Belonging::Unknown),
            ("README.md", Belonging::Unknown),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
        // A ledger whose name another one begins with.
        let longer = Ledger::new("analytics.clicks-3").expect("valid");
        let of_longer = DataPath::new(&[], &FileName { ledger: longer, ..name() });
        assert_eq!(belonging(of_longer.object(), &name().ledger), Belonging::Unknown);
    }
}
