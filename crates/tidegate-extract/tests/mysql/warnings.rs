//! Values that the server changes and warns of, which fails no SELECT.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::ground::Ground;

/// Warnings of the log, a line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("tidegate_extract")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn what_the_server_warns_of_is_told_and_nothing_else() {
    let ground = Ground::shared().await;
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let plain = "SELECT 1 AS id, CAST('2026-02-28' AS DATE) AS day";
    assert_eq!(ground.rows(ground.query(plain)).await, ["1|2026-02-28"]);
    assert!(log.0.lock().unwrap().is_empty());
    let changed = "SELECT 1 AS id, CAST('2026-02-31' AS DATE) AS day, CAST('12abc' AS SIGNED) AS n";
    assert_eq!(ground.rows(ground.query(changed)).await, ["1|NULL|12"]);
    let told = log.0.lock().unwrap().join("\n");
    assert!(told.contains("the server warns") && told.contains("2026-02-31"), "{told}");
}
