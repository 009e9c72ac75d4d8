//! What verdicts have to know of repairs (B10).

use tidegate_runtime::RunError;
use tidegate_table::ledger::{RepairError, RepairRecord};
use tidegate_types::{DataInterval, Nonce};

use super::Engine;
use super::turn::showing_life;
use crate::batch::FileSettings;

impl Engine {
    /// From here on verdicts know what was repaired up to the record of the claim (B10). While anything is
    /// read under an older one it stays: the commit that it leads to is refused (I1), and all is read again.
    pub(super) async fn know_repairs(&mut self, record: Option<Nonce>) -> Result<(), RunError> {
        if !self.active.is_empty() || record == self.record {
            return Ok(());
        }
        let FileSettings { store, ledger, .. } = &self.parts.files;
        let load = RepairRecord::newest(store.as_ref(), ledger, record);
        let newest = showing_life(&self.parts.metrics, load).await?;
        let event_time = self.parts.config.sink.event_time.as_ref();
        let repaired = repaired(newest.as_ref(), event_time.map(|rule| rule.field.as_str()))?;
        self.parts.judge.know_repaired(repaired)?;
        self.record = record;
        Ok(())
    }
}

/// What was repaired up to the record, by the column that still is the event's time.
fn repaired(
    newest: Option<&RepairRecord>,
    event_time: Option<&str>,
) -> Result<Vec<DataInterval>, RepairError> {
    let Some(record) = newest else { return Ok(Vec::new()) };
    // Without a column the judge refuses.
    event_time.map_or(Ok(()), |field| record.check_event_time(field))?;
    Ok(record.repaired.stretches())
}

#[cfg(test)]
mod tests {
    use tidegate_table::ledger::RepairedTime;
    use tidegate_types::{Explained, Ledger};

    use super::*;

    #[test]
    fn b10_records_are_never_judged_by_another_column_than_the_repairs() {
        let interval = "1970-01-01T00:00:10Z/1970-01-01T00:00:20Z".parse().expect("valid");
        let by = Ledger::new("mend").expect("valid");
        let record = RepairRecord {
            before: None,
            interval,
            event_time: "ts".to_owned(),
            generation: 1,
            rows: 1,
            replaced: 0,
            cuts: Vec::new(),
            repaired: RepairedTime::default().with(&by, interval).expect("the first"),
            by,
        };
        assert_eq!(repaired(Some(&record), Some("ts")), Ok(vec![interval]));
        assert_eq!(repaired(Some(&record), None), Ok(vec![interval]));
        assert_eq!(repaired(None, Some("at")), Ok(Vec::new()));
        let error = repaired(Some(&record), Some("at")).expect_err("another column");
        assert!(!error.is_transient() && error.to_string().contains("field: ts"), "{error}");
    }
}
