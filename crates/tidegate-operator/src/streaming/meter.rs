//! How fast workers are, from what they say about themselves.
//!
//! Two numbers are wanted. A worker's *rate* is records per *busy* second: what it takes when enough
//! waits. The *flow* is what all of them take per second of the clock: on the average what arrives, as
//! long as they keep up. Workers count a record when it is committed, so both are measured from one
//! commit to a later one.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_config::WorkerReport;

/// The shortest stretch between two commits that says anything: polls are seconds apart.
const SHORTEST: Duration = Duration::from_secs(10);
/// How long a worker without a commit is given before it counts as taking nothing; at least two of its
/// flush intervals.
const QUIET: Duration = Duration::from_secs(60);

/// Watches the workers of one pipeline. Begins anew whenever other workers read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    tracks: BTreeMap<String, Track>,
    /// When the count of records was last seen to grow.
    last_record: Option<Timestamp>,
    /// The last rate that was measured, kept while other workers come and go.
    rate: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Track {
    base: Sample,
    /// Whether `base` stands at a commit that was seen to happen.
    begun: bool,
    flow: Option<f64>,
    /// The count in the last report.
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    read: u64,
    busy: f64,
    time: Timestamp,
}

impl Meter {
    /// Takes the reports of the workers that read now. `flush` is the longest time between two commits
    /// of a worker that has something to commit.
    pub(crate) fn observe(
        &mut self,
        reports: &BTreeMap<&str, &WorkerReport>,
        flush: Duration,
        now: Timestamp,
    ) {
        if !self.tracks.keys().map(String::as_str).eq(reports.keys().copied()) {
            let begin = |(name, report): (&&str, &&WorkerReport)| {
                ((*name).to_owned(), Track::begin(report, now))
            };
            self.tracks = reports.iter().map(begin).collect();
            return;
        }
        let quiet = QUIET.max(flush.saturating_mul(2));
        for (name, report) in reports {
            let Some(track) = self.tracks.get_mut(*name) else { continue };
            if report.counters.read > track.seen {
                self.last_record = Some(now);
            }
            track.seen = report.counters.read;
            if let Some(measured) = track.observe(report, quiet, now) {
                self.rate = Some(self.rate.map_or(measured, |rate| f64::midpoint(rate, measured)));
            }
        }
    }

    /// When a record was last seen to be committed.
    pub(crate) fn last_record(&self) -> Option<Timestamp> {
        self.last_record
    }

    /// Records that one worker takes in a busy second; none before two commits were seen.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Records that all workers take in a second; none while that is not known of each.
    pub(crate) fn flow(&self) -> Option<f64> {
        if self.tracks.is_empty() {
            return None;
        }
        self.tracks.values().map(|track| track.flow).sum()
    }
}

impl Track {
    fn begin(report: &WorkerReport, now: Timestamp) -> Self {
        let seen = report.counters.read;
        Self { base: sample(report, now), begun: false, flow: None, seen }
    }

    /// Moves on; the answer is a newly measured rate.
    fn observe(&mut self, report: &WorkerReport, quiet: Duration, now: Timestamp) -> Option<f64> {
        let (read, busy) = (report.counters.read, report.busy_seconds);
        if read < self.base.read || busy < self.base.busy {
            // The process is another one.
            *self = Self::begin(report, now);
            return None;
        }
        if read == self.base.read {
            if seconds(self.base.time, now) > quiet.as_secs_f64() {
                // Nothing came. What comes next is measured from here.
                self.flow = Some(0.0);
                self.begun = true;
                self.base.busy = busy;
                self.base.time = now;
            }
            return None;
        }
        let newest = sample(report, now);
        if !self.begun {
            *self = Self { base: newest, begun: true, ..*self };
            return None;
        }
        let elapsed = seconds(self.base.time, newest.time);
        if elapsed < SHORTEST.as_secs_f64() {
            return None;
        }
        let records = as_number(read - self.base.read);
        let worked = busy - self.base.busy;
        self.flow = Some(records / elapsed);
        self.base = newest;
        (worked > 0.0).then(|| records / worked)
    }
}

/// Records per busy second over the whole life of the workers.
pub(crate) fn lifetime_rate<'a>(reports: impl Iterator<Item = &'a WorkerReport>) -> Option<f64> {
    let (records, busy) = reports.fold((0_u64, 0.0), |(records, busy), report| {
        (records.saturating_add(report.counters.read), busy + report.busy_seconds.max(0.0))
    });
    (records > 0 && busy > 0.0).then(|| as_number(records) / busy)
}

/// The counts belong to the newest commit, so its time is the exact one.
fn sample(report: &WorkerReport, now: Timestamp) -> Sample {
    let commit =
        report.last_commit.and_then(|commit| Timestamp::from_microsecond(commit.time).ok());
    // A pod's clock that runs ahead must not make the next stretch negative for ever.
    let time = commit.map_or(now, |commit| commit.min(now));
    Sample { read: report.counters.read, busy: report.busy_seconds, time }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// A count to reckon with.
pub(crate) fn as_number(count: u64) -> f64 {
    // Exact to 2⁵³, and a rate needs far less.
    #[allow(clippy::cast_precision_loss)]
    let number = count as f64;
    number
}

#[cfg(test)]
mod tests {
    use tidegate_config::CommitReport;
    use tidegate_types::Counters;

    use super::*;

    const FLUSH: Duration = Duration::from_secs(20);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    /// A worker that takes 1000 a busy second, 300 arrive a second, one commit every 20 s.
    fn report(second: i64) -> WorkerReport {
        let commits = second / 20;
        let read = u64::try_from(commits * 20 * 300).expect("not negative");
        WorkerReport {
            counters: Counters { read, rows: read, ..Counters::default() },
            busy_seconds: as_number(read) / 1_000.0,
            last_commit: (commits > 0).then(|| CommitReport {
                version: u64::try_from(commits).expect("not negative"),
                time: at(commits * 20).as_microsecond(),
            }),
            ..WorkerReport::default()
        }
    }

    fn watch(meter: &mut Meter, names: &[&str], seconds: impl Iterator<Item = i64>) {
        for second in seconds {
            let report = report(second);
            let reports = names.iter().map(|name| (*name, &report)).collect();
            meter.observe(&reports, FLUSH, at(second));
        }
    }

    fn near(found: Option<f64>, wanted: f64) -> bool {
        found.is_some_and(|found| (found - wanted).abs() < wanted / 50.0)
    }

    #[test]
    fn rate_and_flow_do_not_depend_on_when_it_is_asked() {
        for step in [3, 7, 10, 13] {
            let mut meter = Meter::default();
            watch(&mut meter, &["w0", "w1"], (0..200).step_by(step));
            assert!(near(meter.rate(), 1_000.0), "{:?} with step {step}", meter.rate());
            assert!(near(meter.flow(), 600.0), "{:?} with step {step}", meter.flow());
        }
    }

    #[test]
    fn a_new_worker_begins_the_measuring_of_flow_again_and_keeps_the_rate() {
        let mut meter = Meter::default();
        watch(&mut meter, &["w0"], (0..200).step_by(10));
        assert!(near(meter.flow(), 300.0));
        watch(&mut meter, &["w0", "w1"], (200..220).step_by(10));
        assert_eq!(meter.flow(), None, "what two take is not known yet");
        assert!(near(meter.rate(), 1_000.0));
        watch(&mut meter, &["w0", "w1"], (220..300).step_by(10));
        assert!(near(meter.flow(), 600.0), "{:?}", meter.flow());
    }

    #[test]
    fn a_worker_to_which_nothing_comes_takes_nothing() {
        let mut meter = Meter::default();
        watch(&mut meter, &["w0"], (0..200).step_by(10));
        let last = report(199);
        for second in (200..400).step_by(10) {
            meter.observe(&BTreeMap::from([("w0", &last)]), FLUSH, at(second));
        }
        assert_eq!(meter.flow(), Some(0.0));
        assert!(near(meter.rate(), 1_000.0), "what it could take is remembered");
    }

    #[test]
    fn a_restarted_worker_is_no_negative_number() {
        let mut meter = Meter::default();
        watch(&mut meter, &["w0"], (0..200).step_by(10));
        let fresh = WorkerReport::default();
        meter.observe(&BTreeMap::from([("w0", &fresh)]), FLUSH, at(210));
        assert_eq!(meter.flow(), None);
    }

    #[test]
    fn a_life_without_records_has_no_rate() {
        assert_eq!(lifetime_rate([&WorkerReport::default()].into_iter()), None);
        assert!(near(lifetime_rate([&report(100), &report(40)].into_iter()), 1_000.0));
    }
}
