//! Names of files that hold fields of time (`dt=%Y-%m-%d/*.csv`), and which of them are an interval's.
//!
//! A template has a name for every unit of its finest field, such as every day, told on the schedule's
//! clock. An interval `[start, end)` has those of every unit `u` with `floor(start) <= u < floor(end)`.
//! Intervals that touch thus divide the names among them: each belongs to one, and none is left out.
//! Schedules with which that would not hold are refused, see [`Template::check`].

mod braces;
mod error;
mod fit;
mod unit;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tidegate_types::DataInterval;

pub use self::braces::expand_braces;
pub use self::error::TemplateError;
use self::unit::Unit;

/// Most names of an interval: a day of minutes, or five years of days. Each may cost a listing.
const MOST_NAMES: usize = 2_000;
/// Most patterns of an interval: those that braces stand for, under every name. Each object of a folder is
/// compared with them.
const MOST_PATTERNS: usize = 10_000;

/// A pattern with fields of time, or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// The finest field; none: there is no field.
    unit: Option<Unit>,
    /// How many patterns its braces stand for.
    alternatives: usize,
}

/// A piece of a pattern.
enum Piece {
    Letter(char),
    /// What follows a percent sign; none at the end.
    Field(Option<char>),
}

impl Template {
    /// Reads a pattern: `%Y`, `%m`, `%d`, `%H`, `%M` and `%S` (always 00) are fields, `%%` is the sign
    /// itself.
    ///
    /// # Errors
    ///
    /// When a field is not known, or one that is coarser than another is missing, so that the names would
    /// come again; and when braces do not close or multiply too much.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let mut found = Vec::new();
        for piece in pieces(text) {
            let Piece::Field(letter) = piece else { continue };
            let unit = letter.and_then(Unit::of_field);
            found.push(unit.ok_or_else(|| TemplateError::unknown(text, letter))?);
        }
        let unit = found.iter().max().copied();
        let is_missing = |coarse: &Unit| !found.contains(coarse);
        let coarser = Unit::ALL.into_iter().take_while(|one| unit.is_some_and(|unit| *one <= unit));
        match coarser.filter(is_missing).last() {
            Some(missing) => Err(TemplateError::repeats(text, missing)),
            None => {
                let alternatives = expand_braces(text)?.len();
                Ok(Self { text: text.to_owned(), unit, alternatives })
            }
        }
    }

    /// The names of an interval's files, from the earliest on; without fields the pattern alone.
    ///
    /// # Errors
    ///
    /// When there are fields and no interval, and when it has no name or too many.
    pub fn names(
        &self,
        interval: Option<DataInterval>,
        zone: &TimeZone,
    ) -> Result<Vec<String>, TemplateError> {
        let Some(unit) = self.unit else { return Ok(vec![self.fill(DateTime::ZERO)]) };
        let interval = interval.ok_or_else(|| TemplateError::no_interval(&self.text))?;
        let (first, end) = self.units(unit, interval, zone)?;
        let next = |at: &DateTime| unit.next(*at);
        let units = std::iter::successors(Some(first), next).take_while(|at| *at < end);
        Ok(units.take(MOST_NAMES).map(|at| self.fill(at)).collect())
    }

    /// The first unit of an interval, and the first behind it: at least one, and not too many.
    fn units(
        &self,
        unit: Unit,
        interval: DataInterval,
        zone: &TimeZone,
    ) -> Result<(DateTime, DateTime), TemplateError> {
        let first = unit.floor(zone.to_datetime(interval.start()));
        let end = unit.floor(zone.to_datetime(interval.end()));
        match usize::try_from(unit.count(first, end)) {
            Err(_) | Ok(0) => Err(TemplateError::no_name(&self.text, unit, interval, zone)),
            Ok(names) if names > MOST_NAMES => Err(TemplateError::too_many(&self.text, interval)),
            Ok(names) if names * self.alternatives > MOST_PATTERNS => {
                let each = self.alternatives;
                Err(TemplateError::too_many_patterns(&self.text, interval, (names, each)))
            }
            Ok(_) => Ok((first, end)),
        }
    }

    fn fill(&self, at: DateTime) -> String {
        let mut filled = String::with_capacity(self.text.len() + 16);
        for piece in pieces(&self.text) {
            match piece {
                Piece::Letter(letter) => filled.push(letter),
                Piece::Field(field) => filled.push_str(&value(field, at)),
            }
        }
        filled
    }
}

fn value(field: Option<char>, at: DateTime) -> String {
    match field {
        Some('Y') => format!("{:04}", at.year()),
        Some('m') => format!("{:02}", at.month()),
        Some('d') => format!("{:02}", at.day()),
        Some('H') => format!("{:02}", at.hour()),
        Some('M') => format!("{:02}", at.minute()),
        // Seconds: what is no field was refused when the template was read.
        _ => "00".to_owned(),
    }
}

fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    let mut letters = text.chars();
    std::iter::from_fn(move || {
        Some(match letters.next()? {
            '%' => match letters.next() {
                Some('%') => Piece::Letter('%'),
                field => Piece::Field(field),
            },
            letter => Piece::Letter(letter),
        })
    })
}
