//! Columns of instants and days as microseconds since 1970.

use arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::FileError;

/// The instants of a column; a day begins at midnight UTC. None when the batch has no such column.
///
/// # Errors
///
/// [`FileError::Columns`] when the column is of another type.
pub fn microseconds(
    batch: &RecordBatch,
    name: &str,
) -> Result<Option<TimestampMicrosecondArray>, FileError> {
    let Some(column) = batch.column_by_name(name) else { return Ok(None) };
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        DataType::Date32 | DataType::Date64 => None,
        other => {
            let source = ArrowError::CastError(format!("{name} is {other}, which is no time"));
            return Err(FileError::Columns { source });
        }
    };
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let column = cast(column, &wanted).map_err(|source| FileError::Columns { source })?;
    Ok(Some(column.as_primitive::<TimestampMicrosecondType>().clone()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, Int64Array, TimestampMillisecondArray};

    use super::*;

    #[test]
    fn instants_and_days_are_microseconds_and_numbers_are_no_times() {
        let of = |array: ArrayRef| {
            let batch = RecordBatch::try_from_iter_with_nullable([("t", array, true)]).unwrap();
            let found = microseconds(&batch, "t").map(|found| found.expect("there"));
            found.map(|times| times.iter().collect::<Vec<_>>())
        };
        let millis = TimestampMillisecondArray::from(vec![Some(5), None]).with_timezone("UTC");
        assert_eq!(of(Arc::new(millis)).unwrap(), [Some(5_000), None]);
        assert_eq!(of(Arc::new(Date32Array::from(vec![1]))).unwrap(), [Some(86_400_000_000)]);
        assert!(of(Arc::new(Int64Array::from(vec![1]))).is_err());
    }
}
