//! Records and cells, beside a reader that others made.

use proptest::prelude::*;

use super::*;

/// A record's line and its cells; none of a record that is garbled.
type Found = (u64, Vec<Option<String>>);

/// Every record; `step` bytes arrive at a time.
fn all(text: &[u8], step: usize) -> Result<Vec<Found>, String> {
    let mut input = Slow { text, step };
    let cause = Cause::default();
    let mut records = Records::new(&mut input, &cause, b',');
    let mut found = Vec::new();
    let mut scratch = Vec::new();
    loop {
        match records.next() {
            Ok(Some(record)) => {
                let garbled = record.is_garbled();
                let cells = record.cells.iter().map(|cell| {
                    let text = String::from_utf8_lossy(record.text(cell, &mut scratch));
                    (!garbled).then(|| text.into_owned())
                });
                found.push((record.line, cells.collect()));
            }
            Ok(None) => return Ok(found),
            Err(Trouble::Damaged { what, .. }) => return Err(what),
            Err(Trouble::Failed(error)) => panic!("{error}"),
        }
    }
}

struct Slow<'a> {
    text: &'a [u8],
    step: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = self.step.min(into.len());
        self.text.read(&mut into[..most])
    }
}

fn cells(text: &str) -> Vec<Vec<Option<String>>> {
    all(text.as_bytes(), 3).expect(text).into_iter().map(|(_, cells)| cells).collect()
}

fn plain(records: &[&[&str]]) -> Vec<Vec<Option<String>>> {
    let some = |cell: &&str| Some((*cell).to_owned());
    records.iter().map(|cells| cells.iter().map(some).collect()).collect()
}

#[test]
fn records_are_cut_by_the_rules() {
    for (text, wanted) in [
        ("a,b\nc,d\n", &[&["a", "b"][..], &["c", "d"]][..]),
        ("a,b\r\nc,d", &[&["a", "b"], &["c", "d"]]),
        ("a,\n,b\n,", &[&["a", ""], &["", "b"], &["", ""]]),
        ("\"a,\"\"\n\",b\n", &[&["a,\"\n", "b"]]),
        ("\"a\",\"b\"", &[&["a", "b"]]),
        ("\"a\"\r\n\"\"\r\n", &[&["a"], &[""]]),
        ("a\"b,c\"\n", &[&["a\"b", "c\""]]),
        ("a\n\nb", &[&["a"], &[""], &["b"]]),
        ("\"\"\"\"", &[&["\""]]),
        ("", &[]),
        ("\r\n", &[&[""]]),
        ("a\rb\n", &[&["a\rb"]]),
        ("a,b\r", &[&["a", "b"]]),
    ] {
        assert_eq!(cells(text), plain(wanted), "{text:?}");
    }
}

#[test]
fn text_behind_a_closing_quote_is_a_fault_of_its_record_only() {
    assert_eq!(cells("\"a\"x,b\nc,d\n"), [vec![None, None], plain(&[&["c", "d"]]).remove(0)]);
}

#[test]
fn a_quote_that_is_never_closed_is_a_fault_of_the_file() {
    assert!(all(b"a,b\nc,\"d\ne,f\n", 4).unwrap_err().contains("line 2"));
}

#[test]
fn lines_are_counted_within_records_too() {
    let lines: Vec<_> =
        all(b"a\n\"b\nb\"\nc\n", 2).unwrap().into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [1, 2, 4]);
}

#[test]
fn a_record_without_end_is_refused_without_being_held() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            into.fill(b'x');
            Ok(into.len())
        }
    }
    let cause = Cause::default();
    let mut endless = Endless;
    let mut records = Records::new(&mut endless, &cause, b',');
    let Err(Trouble::Damaged { what, .. }) = records.next() else { panic!("no error") };
    assert!(what.contains("16 MiB"), "{what}");
}

#[test]
fn cells_without_end_take_no_memory() {
    let text = ",".repeat(1 << 20) + "\na,b\n";
    let cause = Cause::default();
    let mut input = text.as_bytes();
    let mut records = Records::new(&mut input, &cause, b',');
    let first = records.next().expect("read").expect("a record");
    assert!(first.has_too_many_cells());
    assert_eq!((first.cells.len(), first.bytes.len()), (MOST_CELLS + 1, 1 << 20));
    let second = records.next().expect("read").expect("a record");
    assert_eq!((second.cells.len(), second.has_too_many_cells()), (2, false));
}

fn written(records: &[Vec<String>], line_end: &str) -> String {
    let quoted = |cell: &String| {
        if cell.contains([',', '"', '\n', '\r']) || cell.is_empty() {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    let line = |cells: &Vec<String>| cells.iter().map(quoted).collect::<Vec<_>>().join(",");
    records.iter().map(|cells| line(cells) + line_end).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_however_it_arrives(
        records in prop::collection::vec(prop::collection::vec("[a,\"\n\r é]{0,5}", 1..4), 0..6),
        crlf: bool,
        step in 1_usize..40,
    ) {
        let text = written(&records, if crlf { "\r\n" } else { "\n" });
        let found: Vec<Vec<String>> = all(text.as_bytes(), step).unwrap()
            .into_iter()
            .map(|(_, cells)| cells.into_iter().map(Option::unwrap).collect())
            .collect();
        prop_assert_eq!(found, records);
    }

    #[test]
    fn no_bytes_make_it_panic_and_the_step_does_not_matter(
        text in prop::collection::vec(prop::sample::select(b"a,\"\n\r\xff".to_vec()), 0..60),
        step in 1_usize..9,
    ) {
        prop_assert_eq!(all(&text, step), all(&text, 1_000));
    }
}
