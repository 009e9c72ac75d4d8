//! Made-up events for `tidegate generate`: pure functions of a seed.

use std::fmt;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tidegate_runtime::Random;

/// The first event's time, in seconds since 1970 (2026-01-01T00:00:00Z).
const FIRST_SECOND: i64 = 1_767_225_600;
/// Time between two events.
const STEP_MILLIS: i64 = 10;

/// What an event looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{id: string, ts: timestamp, sensor: string, value: double}`.
    Small,
    /// Small plus `user: struct<…>`, `position: struct<lat, lon>`, `tags: list<string>`,
    /// `attributes: map<string, string>`, `items: list<struct<…>>`.
    Medium,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event(Value);

/// What an event's values are drawn by.
#[derive(Debug, Clone)]
pub(crate) struct Draws(Random);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::seeded(seed))
    }

    /// The draws that belong to one numbered event of a seed.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        Self::new(Random::seeded(seed).bits() ^ Random::seeded(!number).bits())
    }

    /// A number below `end`; zero when `end` is.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The bias of the remainder is below 2^-40 for the small ends used here.
        self.0.bits().checked_rem(end).unwrap_or(0)
    }

    /// Whether something that happens in `percent` of the cases happens now.
    pub(crate) fn chance(&mut self, percent: f64) -> bool {
        self.unit() * 100.0 < percent
    }

    /// A number in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.0.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in `[low, high)`, with two decimals.
    fn decimal(&mut self, low: f64, high: f64) -> f64 {
        ((low + self.unit() * (high - low)) * 100.0).round() / 100.0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

impl Event {
    /// The event with this number.
    pub(crate) fn make(shape: Shape, number: u64, draws: &mut Draws) -> Self {
        let mut event = json!({
            "id": format!("{number:08x}-{:08x}", draws.below(1 << 32)),
            "ts": time_of(number),
            "sensor": format!("s-{:04}", draws.below(5_000)),
            "value": draws.decimal(-40.0, 60.0),
        });
        if shape == Shape::Medium {
            add_details(&mut event, draws);
        }
        Self(event)
    }

    /// A line that looks much like this event and can be no row.
    pub(crate) fn poisoned(&self, draws: &mut Draws) -> Vec<u8> {
        let text = self.to_string();
        match draws.below(4) {
            // Any proper prefix of an object is malformed.
            0 => text.as_bytes()[..text.len() / 2].to_vec(),
            1 => {
                // An id of its own, or the broker would drop the line as a duplicate of the event.
                let id = json!(format!("poison-{:08x}", draws.below(1 << 32)));
                let wrong = self.with("ts", json!({"not": "a time"})).with("id", id);
                wrong.to_string().into_bytes()
            }
            2 => {
                let mut bytes = text.into_bytes();
                bytes[2] = 0xff;
                bytes
            }
            _ => self.with("id", Value::Null).to_string().into_bytes(),
        }
    }

    fn with(&self, field: &str, value: Value) -> Self {
        let mut changed = self.clone();
        changed.0[field] = value;
        changed
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn time_of(number: u64) -> String {
    let first = Timestamp::from_second(FIRST_SECOND).unwrap_or(Timestamp::UNIX_EPOCH);
    let millis = i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(STEP_MILLIS);
    let time = first.checked_add(millis.milliseconds()).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

fn add_details(event: &mut Value, draws: &mut Draws) {
    let items: Vec<Value> = (0..1 + draws.below(4))
        .map(|_| {
            json!({
                "sku": format!("sku-{:05}", draws.below(100_000)),
                "quantity": 1 + draws.below(9),
                "price": draws.decimal(1.0, 200.0),
            })
        })
        .collect();
    event["user"] = json!({
        "name": format!("user-{:06}", draws.below(1_000_000)),
        "country": draws.pick(&["DE", "FR", "JP", "KR", "US", "ZA"]),
        "member": draws.chance(30.0),
    });
    event["position"] =
        json!({"lat": draws.decimal(-90.0, 90.0), "lon": draws.decimal(-180.0, 180.0)});
    event["tags"] = json!([
        draws.pick(&["web", "app", "kiosk"]),
        draws.pick(&["new", "returning", "grüße", "東京", "🌊"]),
    ]);
    event["attributes"] = json!({
        "browser": draws.pick(&["firefox", "chromium", "safari"]),
        "campaign": format!("c-{}", draws.below(40)),
        "note": "the quick brown fox \"jumps\" over the lazy dog\n".repeat(2),
    });
    event["items"] = Value::Array(items);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_of_their_size_and_in_time_order() {
        let mut draws = Draws::new(1);
        for (shape, sizes) in [(Shape::Small, 80..130), (Shape::Medium, 450..800)] {
            let first = Event::make(shape, 0, &mut draws);
            let later = Event::make(shape, 123_456, &mut draws);
            assert_eq!(first.0["ts"], "2026-01-01T00:00:00.000Z");
            assert_eq!(later.0["ts"], "2026-01-01T00:20:34.560Z");
            let size = later.to_string().len();
            assert!(sizes.contains(&size), "{shape:?}: {size}");
        }
    }

    #[test]
    fn every_kind_of_poison_is_no_row() {
        let mut draws = Draws::new(2);
        for number in 0..400 {
            let poison = Event::make(Shape::Small, number, &mut draws).poisoned(&mut draws);
            let read: Option<Value> = serde_json::from_slice(&poison).ok();
            let is_row =
                read.is_some_and(|event| event["id"].is_string() && event["ts"].is_string());
            assert!(!is_row, "{}", String::from_utf8_lossy(&poison));
        }
    }

    #[test]
    fn a_chance_is_kept_in_the_long_run() {
        let mut draws = Draws::new(3);
        let hits = (0..100_000).filter(|_| draws.chance(10.0)).count();
        assert!((9_500..10_500).contains(&hits), "{hits}");
        assert!(!draws.chance(0.0) && draws.chance(100.0));
    }
}
