//! Comma-separated values.
//!
//! An empty cell is null; so is the text that the pipeline names for it, where no quotes stand around it. A
//! quoted empty cell is empty text, and null in a column that holds no text. An empty line is passed over,
//! unless there is only one column, whose null it is.

mod records;

use std::io::Read;

use tidegate_config::CsvOptions;
use tidegate_decode::CellDecoder;
use tidegate_types::{Field, FieldType, Reason};

use super::missing::{Lacking, MissingColumns};
use super::outbox::{BadRecord, Outbox};
use super::text::Text;
use super::trouble::Trouble;
use crate::ExtractError;
use records::{Cell, MOST_CELLS, Record, Records};

/// What an empty cell counts.
const CELL: usize = 8;

/// Decodes files of one chunk.
pub(crate) struct Csv {
    decoder: CellDecoder,
    fields: Vec<Field>,
    delimiter: u8,
    header: bool,
    null: Vec<u8>,
    scratch: Vec<u8>,
    /// Bytes of the rows that wait.
    bytes: usize,
}

/// Which cell each field takes, and how many cells a record has.
struct Layout {
    cell_of: Vec<Option<usize>>,
    cells: usize,
}

impl Csv {
    /// # Errors
    ///
    /// When the columns cannot stand beside each other or in a cell, or the delimiter is none.
    pub(crate) fn new(fields: &[Field], options: &CsvOptions) -> Result<Self, ExtractError> {
        let refuse = |what: String| ExtractError::permanent(Reason::InvalidConfiguration, what);
        let delimiter = u8::try_from(options.delimiter)
            .ok()
            .filter(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r'))
            .ok_or_else(|| {
                refuse(format!("csv.delimiter {:?} cannot delimit cells", options.delimiter))
            })?;
        let decoder = CellDecoder::new(fields).map_err(|error| {
            refuse("the declared fields cannot be read from CSV".to_owned()).because(error)
        })?;
        Ok(Self {
            decoder,
            fields: fields.to_vec(),
            delimiter,
            header: options.header,
            null: options.null.clone().into_bytes(),
            scratch: Vec::new(),
            bytes: 0,
        })
    }

    /// Reads one file.
    pub(crate) fn read(&mut self, text: Text<'_>, out: &mut Outbox) -> Result<(), Trouble> {
        let Text { path, input, cause } = text;
        // What an earlier file left behind when it broke off.
        let _ = self.decoder.finish();
        self.bytes = 0;
        let mut input = WithoutMark { input, begun: false };
        let mut records = Records::new(&mut input, cause, self.delimiter);
        let layout = match (self.header, records_header(&mut records, self.header)?) {
            (false, _) => Layout::in_order(&self.fields),
            (true, Some(names)) => Layout::by_name(path, &self.fields, &names)?,
            (true, None) => return Ok(()),
        };
        while let Some(record) = records.next()? {
            if record.is_empty() && layout.cells != 1 {
                continue;
            }
            self.record(path, &record, &layout, out)?;
            let size = out.size();
            if self.decoder.rows() >= size.rows || self.bytes >= size.bytes {
                self.hand_over(out)?;
            }
        }
        self.hand_over(out)
    }

    fn record(
        &mut self,
        path: &str,
        record: &Record<'_>,
        layout: &Layout,
        out: &mut Outbox,
    ) -> Result<(), Trouble> {
        let Err((reason, detail)) = self.row(record, layout) else {
            self.bytes += record.bytes.len() + CELL * self.fields.len();
            return Ok(());
        };
        self.decoder.take_back();
        // Rows first, so that numbers ascend.
        self.hand_over(out)?;
        out.bad_record(BadRecord {
            ordinal: out.ordinal(),
            place: format!("{path}:{}", record.line),
            reason,
            detail,
            payload: record.bytes,
        })
    }

    fn row(&mut self, record: &Record<'_>, layout: &Layout) -> Result<(), (Reason, String)> {
        if record.is_garbled() {
            let text = "text follows a closing quote";
            return Err((Reason::Malformed, text.to_owned()));
        }
        if record.has_too_many_cells() {
            let text = format!("more than {MOST_CELLS} cells instead of {}", layout.cells);
            return Err((Reason::TooLarge, text));
        }
        if record.cells.len() != layout.cells {
            let text = format!("{} cells instead of {}", record.cells.len(), layout.cells);
            return Err((Reason::Malformed, text));
        }
        for (column, cell) in layout.cell_of.iter().enumerate() {
            let Some(cell) = cell else { continue };
            let cell = &record.cells[*cell];
            let text = record.text(cell, &mut self.scratch);
            let is_null = is_null(cell, text, &self.null, &self.fields[column].data_type);
            self.decoder.set(column, (!is_null).then_some(text))?;
        }
        self.decoder.end_row()
    }

    fn hand_over(&mut self, out: &mut Outbox) -> Result<(), Trouble> {
        self.bytes = 0;
        Ok(out.rows(self.decoder.finish())?)
    }
}

fn is_null(cell: &Cell, text: &[u8], null: &[u8], field_type: &FieldType) -> bool {
    if !cell.quoted {
        return text.is_empty() || text == null;
    }
    text.is_empty() && !matches!(field_type, FieldType::String | FieldType::Binary)
}

/// The names of the first line; none of a file without any line.
fn records_header(records: &mut Records<'_>, wanted: bool) -> Result<Option<Vec<String>>, Trouble> {
    if !wanted {
        return Ok(None);
    }
    let Some(record) = records.next()? else { return Ok(None) };
    if record.is_garbled() {
        return Err(Trouble::damaged("in its header text follows a closing quote"));
    }
    if record.has_too_many_cells() {
        let what = format!("its header has more than {MOST_CELLS} cells");
        return Err(Trouble::Damaged { reason: Reason::TooLarge, what });
    }
    let mut scratch = Vec::new();
    let mut names = Vec::with_capacity(record.cells.len());
    for cell in record.cells {
        let name = std::str::from_utf8(record.text(cell, &mut scratch));
        let name = name.map_err(|_| Trouble::damaged("its header is not UTF-8"))?;
        // Such a file would be one long header without a row.
        if !cell.quoted && name.contains('\r') {
            let what = "its lines end with a carriage return alone; let them end with a line feed";
            return Err(Trouble::damaged(what));
        }
        names.push(name.to_owned());
    }
    Ok(Some(names))
}

impl Layout {
    fn in_order(fields: &[Field]) -> Self {
        Self { cell_of: (0..fields.len()).map(Some).collect(), cells: fields.len() }
    }

    fn by_name(path: &str, fields: &[Field], names: &[String]) -> Result<Self, Trouble> {
        let mut cell_of = Vec::with_capacity(fields.len());
        let mut missing = MissingColumns::default();
        for field in fields {
            let name = name_in_file(field);
            let mut places = names.iter().enumerate().filter(|(_, other)| *other == name);
            let place = places.next().map(|(place, _)| place);
            if places.next().is_some() {
                return Err(Trouble::damaged(format!("its header names {name:?} twice")));
            }
            if place.is_none() {
                let lacking = Lacking { within: "", name, required: field.required };
                missing.note(lacking, names.iter().map(String::as_str))?;
            }
            cell_of.push(place);
        }
        if cell_of.iter().all(Option::is_none) {
            let what = "its first line names none of the declared fields; without such a line, set csv.header to false";
            return Err(Trouble::damaged(what));
        }
        missing.tell(path);
        Ok(Self { cell_of, cells: names.len() })
    }
}

/// How a file names the column.
fn name_in_file(field: &Field) -> &str {
    let from = field.from.as_deref().map(|from| from.strip_prefix("$.").unwrap_or(from));
    from.unwrap_or(&field.name)
}

/// A text without the byte order marks that some programs put in front of UTF-8: a file that was put together may
/// begin with several.
struct WithoutMark<'a> {
    input: &'a mut dyn Read,
    begun: bool,
}

impl Read for WithoutMark<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.begun || into.len() < 3 {
            return self.input.read(into);
        }
        self.begun = true;
        loop {
            let mut read = 0;
            while read < 3 {
                match self.input.read(&mut into[read..3])? {
                    0 => break,
                    more => read += more,
                }
            }
            if into[..read] != *b"\xef\xbb\xbf" {
                return Ok(read);
            }
        }
    }
}
