//! A repair writes rows of its interval and no others: what lies outside was not taken out (B10).

use arrow::array::{Array, RecordBatch};
use jiff::Timestamp;
use tidegate_config::TransferConfig;
use tidegate_runtime::RunError;
use tidegate_table::files::times::microseconds;
use tidegate_types::{DataInterval, Reason};

/// What the event times of a repair's rows must be.
#[derive(Debug, Clone)]
pub(crate) struct EventTimes {
    column: String,
    interval: DataInterval,
}

impl EventTimes {
    /// None of a run that is no repair.
    pub(crate) fn of(config: &TransferConfig, interval: Option<DataInterval>) -> Option<Self> {
        let column = config.repairs.as_ref()?.event_time.clone();
        Some(Self { column, interval: interval? })
    }

    /// Checks rows of the source.
    ///
    /// # Errors
    ///
    /// When the source has no such column, or a row has no event time or one outside of the interval.
    pub(crate) fn check(&self, rows: &RecordBatch) -> Result<(), RunError> {
        let column = &self.column;
        let Some(times) = microseconds(rows, column)? else {
            let what = format!(
                "the source gives no column {column}, which is the event time of the table; name it in the \
                 query and in schema.fields"
            );
            return Err(RunError::permanent(Reason::TableMismatch, what));
        };
        if times.null_count() > 0 {
            let what =
                format!("a row of the source has no {column}, which is the table's event time");
            return Err(RunError::permanent(Reason::NullCursor, what));
        }
        let span = self.interval.start().as_microsecond()..self.interval.end().as_microsecond();
        let Some(strange) = times.values().iter().find(|time| !span.contains(time)) else {
            return Ok(());
        };
        let at = Timestamp::from_microsecond(*strange)
            .map_or_else(|_| strange.to_string(), |at| at.to_string());
        let what = format!(
            "a row of the source has {column} {at}, outside of {}; bulk.incremental.timeZone says in which \
             zone the source tells its times, the table has them in UTC",
            self.interval
        );
        Err(RunError::permanent(Reason::InvalidConfiguration, what))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn b10_rows_outside_of_the_interval_are_never_written() {
        let interval = "1970-01-01T00:00:10Z/1970-01-01T00:00:20Z".parse().unwrap();
        let event_times = EventTimes { column: "ts".to_owned(), interval };
        let check = |name: &str, times: Vec<Option<i64>>| {
            let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
            let rows = RecordBatch::try_from_iter_with_nullable([(name, times, true)]).unwrap();
            event_times.check(&rows).map_err(|error| error.reason())
        };
        const S: i64 = 1_000_000;
        assert_eq!(check("ts", vec![Some(10 * S), Some(20 * S - 1)]), Ok(()));
        assert_eq!(check("ts", vec![]), Ok(()));
        let outside = Err(Reason::InvalidConfiguration);
        assert_eq!(check("ts", vec![Some(15 * S), Some(20 * S)]), outside);
        assert_eq!(check("ts", vec![Some(10 * S - 1)]), outside);
        assert_eq!(check("ts", vec![Some(15 * S), None]), Err(Reason::NullCursor));
        assert_eq!(check("at", vec![Some(15 * S)]), Err(Reason::TableMismatch));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![15 * S]));
        let rows = RecordBatch::try_from_iter([("ts", numbers)]).unwrap();
        assert!(event_times.check(&rows).is_err(), "a number is no time");
    }
}
