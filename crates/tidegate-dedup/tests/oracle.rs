//! The window against a model that remembers every accepted row.

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use tidegate_dedup::{
    Candidate, Fingerprint, KeyHasher, SnapshotExpectation, SnapshotHeader, Verdict, Window,
    WindowOptions,
};
use tidegate_types::{KeyPrecision, Nonce, PartitionId, Position, Span, StreamTime};

/// Small enough that the streams below move ids to disk, large enough for the indexes of the files.
const TIGHT: usize = 12_000;

#[derive(Debug, Clone, Copy)]
enum Event {
    Keyed(u8),
    Unkeyed,
    /// A dead letter or a filtered message.
    Passed,
}

type Stream = Vec<(Event, StreamTime)>;

fn id(key: u8) -> Fingerprint {
    KeyHasher::new(42).fingerprint(&[key])
}

/// Broker times that mostly rise by a little, sometimes fall and sometimes leap.
fn stream() -> impl Strategy<Value = Stream> {
    let event = prop_oneof![
        8 => any::<u8>().prop_map(Event::Keyed),
        8 => (0_u8..8).prop_map(Event::Keyed),
        1 => Just(Event::Unkeyed),
        1 => Just(Event::Passed),
    ];
    let step = prop_oneof![20 => 0_i64..60, 3 => -9_000_i64..0, 1 => 0_i64..40_000];
    vec((event, step), 0..600).prop_map(|steps| {
        let mut time = 1_000_000;
        let mut at = |step| {
            time += step;
            StreamTime(time)
        };
        steps.into_iter().map(|(event, step)| (event, at(step))).collect()
    })
}

fn windows() -> impl Strategy<Value = Span> {
    prop_oneof![Just(0), Just(1), Just(3), Just(10), Just(u64::MAX)].prop_map(Span::millis)
}

/// D1, word by word, over all accepted rows ever.
#[derive(Default, Clone)]
struct Oracle {
    accepted: Vec<(Fingerprint, StreamTime)>,
    time: i64,
}

impl Oracle {
    fn judge(&mut self, (event, time): (Event, StreamTime), window: Span) -> Option<Verdict> {
        self.time = self.time.max(time.0);
        let horizon = StreamTime(self.time.saturating_sub(window.as_micros()));
        match event {
            Event::Passed => None,
            Event::Unkeyed => Some(Verdict::Unkeyed),
            Event::Keyed(key) if self.accepted.iter().any(|r| r.0 == id(key) && r.1 > horizon) => {
                Some(Verdict::Duplicate)
            }
            Event::Keyed(key) => {
                self.accepted.push((id(key), time));
                Some(Verdict::Row)
            }
        }
    }

    fn judge_all(&mut self, stream: &[(Event, StreamTime)], window: Span) -> Vec<Verdict> {
        stream.iter().filter_map(|event| self.judge(*event, window)).collect()
    }
}

/// Feeds a stream in batches whose sizes go round in `cuts`.
fn feed(window: &mut Window, stream: &[(Event, StreamTime)], cuts: &[usize]) -> Vec<Verdict> {
    let mut cuts = cuts.iter().cycle();
    let (mut verdicts, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let size = cuts.next().copied().unwrap_or(1).clamp(1, rest.len());
        let (batch, after) = rest.split_at(size);
        rest = after;
        verdicts.extend(feed_batch(window, batch));
    }
    verdicts
}

/// Messages that are no candidates go as candidates without id where others follow, and by
/// `advance_time` at the end: both ways must do.
fn feed_batch(window: &mut Window, batch: &[(Event, StreamTime)]) -> Vec<Verdict> {
    let trailing = batch.iter().rev().take_while(|(e, _)| matches!(e, Event::Passed)).count();
    let (judged, passed) = batch.split_at(batch.len() - trailing);
    let candidate = |(event, time): &(Event, StreamTime)| match event {
        Event::Keyed(key) => Candidate { id: Some(id(*key)), time: *time },
        Event::Unkeyed | Event::Passed => Candidate { id: None, time: *time },
    };
    let candidates: Vec<_> = judged.iter().map(candidate).collect();
    let verdicts = window.judge(&candidates).expect("room for the batch");
    passed.iter().for_each(|(_, time)| window.advance_time(*time));
    let real = judged.iter().map(|(event, _)| !matches!(event, Event::Passed));
    verdicts.into_iter().zip(real).filter_map(|(verdict, real)| real.then_some(verdict)).collect()
}

fn roomy(window: Span) -> WindowOptions {
    WindowOptions::in_memory(window, usize::MAX)
}

fn tight(window: Span, folder: &TempDir) -> WindowOptions {
    WindowOptions {
        memory_limit: TIGHT,
        spill_dir: Some(folder.path().to_owned()),
        ..roomy(window)
    }
}

fn header(floor: u64) -> SnapshotHeader {
    SnapshotHeader {
        floor: Position(floor),
        config_hash: 5,
        partition: PartitionId(3),
        nonce: Nonce::from_random(77),
    }
}

fn expectation(base: u64, stream_time: StreamTime) -> SnapshotExpectation {
    let SnapshotHeader { config_hash, partition, nonce, .. } = header(base);
    SnapshotExpectation { base: Position(base), stream_time, config_hash, partition, nonce }
}

fn snapshot_and_restore(window: &Window, options: WindowOptions) -> Window {
    let bytes = window.snapshot(&header(9)).expect("written");
    let expected = expectation(9, window.stream_time());
    Window::restore(bytes.as_slice(), &expected, options).expect("nothing changed").window
}

proptest! {
    #[test]
    fn d1_verdicts_are_those_of_the_model_however_the_stream_is_cut(
        stream in stream(),
        window in windows(),
        cuts in vec(1_usize..60, 1..6),
        short: bool,
    ) {
        let keys = if short { KeyPrecision::Fingerprint } else { KeyPrecision::Exact };
        let mut subject = Window::new(WindowOptions { keys, ..roomy(window) });
        let expected = Oracle::default().judge_all(&stream, window);
        prop_assert_eq!(feed(&mut subject, &stream, &cuts), expected);
        let latest = stream.iter().map(|(_, time)| *time).max().unwrap_or_default();
        prop_assert_eq!(subject.stream_time(), latest);
    }

    #[test]
    fn d4_a_window_that_moves_ids_to_disk_forgets_none(
        stream in stream(),
        window in windows(),
        cuts in vec(1_usize..60, 1..6),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut subject = Window::new(tight(window, &folder));
        let expected = Oracle::default().judge_all(&stream, window);
        prop_assert_eq!(feed(&mut subject, &stream, &cuts), expected);
        prop_assert!(subject.memory_bytes() <= TIGHT);
    }

    #[test]
    fn d2_a_restored_window_goes_on_as_if_it_had_never_been_away(
        stream in stream(),
        window in windows(),
        cuts in vec(1_usize..60, 1..6),
        place: prop::sample::Index,
        (from_disk, to_disk) in any::<(bool, bool)>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let options = |disk| if disk { tight(window, &folder) } else { roomy(window) };
        let (before, after) = stream.split_at(place.index(stream.len() + 1));
        let mut oracle = Oracle::default();
        let mut subject = Window::new(options(from_disk));
        prop_assert_eq!(feed(&mut subject, before, &cuts), oracle.judge_all(before, window));
        let mut restored = snapshot_and_restore(&subject, options(to_disk));
        prop_assert_eq!(feed(&mut restored, after, &cuts), oracle.judge_all(after, window));
    }

    #[test]
    fn d2_a_window_rebuilt_from_the_rows_of_the_table_decides_the_same(
        stream in stream(),
        window in windows(),
        place: prop::sample::Index,
        snapshot_place: prop::sample::Index,
    ) {
        let (before, after) = stream.split_at(place.index(stream.len() + 1));
        let (seen, unseen) = before.split_at(snapshot_place.index(before.len() + 1));
        let mut oracle = Oracle::default();
        oracle.judge_all(seen, window);
        let seen_rows = oracle.accepted.len();
        oracle.judge_all(unseen, window);
        let base_time = StreamTime(oracle.time);

        // Without a snapshot: every row, backwards and twice.
        let mut rebuilt = Window::new(roomy(window));
        rebuilt.resume_at(base_time);
        for (id, time) in oracle.accepted.iter().rev().chain(&oracle.accepted) {
            rebuilt.insert(*id, *time).expect("room");
        }
        // With an older snapshot: the rows behind its floor (D3).
        let mut older = Window::new(roomy(window));
        feed(&mut older, seen, &[7]);
        let mut older = snapshot_and_restore(&older, roomy(window));
        older.resume_at(base_time);
        older.insert_all(&oracle.accepted[seen_rows..]).expect("room");

        let expected = oracle.judge_all(after, window);
        prop_assert_eq!(&feed(&mut rebuilt, after, &[13]), &expected);
        prop_assert_eq!(&feed(&mut older, after, &[13]), &expected);
    }

    #[test]
    fn a_batch_that_does_not_fit_changes_nothing(
        stream in stream(),
        window in windows(),
        limit in 0_usize..20_000,
        cuts in vec(1_usize..60, 1..6),
    ) {
        let mut subject = Window::new(WindowOptions::in_memory(window, limit));
        let mut oracle = Oracle::default();
        for batch in stream.chunks(cuts[0]) {
            let before = (subject.stream_time(), subject.len(), subject.memory_bytes());
            let candidates: Vec<_> = batch
                .iter()
                .map(|(event, time)| Candidate {
                    id: if let Event::Keyed(key) = event { Some(id(*key)) } else { None },
                    time: *time,
                })
                .collect();
            if subject.judge(&candidates).is_err() {
                prop_assert_eq!(before, (subject.stream_time(), subject.len(), subject.memory_bytes()));
            } else {
                oracle.judge_all(batch, window);
                prop_assert!(subject.memory_bytes() <= limit);
                prop_assert_eq!(subject.stream_time().0, oracle.time);
            }
        }
    }
}

#[test]
fn d4_the_tight_limit_of_these_tests_moves_ids_to_disk_and_the_disk_is_freed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut window = Window::new(tight(Span::seconds(1), &folder));
    let time = |n: u64| StreamTime(1_000_000_000 + i64::try_from(n).expect("small") * 1_000);
    let key = |n: u64| KeyHasher::new(1).fingerprint(&n.to_le_bytes());
    let candidate = |n| Candidate { id: Some(key(n)), time: time(n) };
    let mut most_on_disk = 0;
    for n in 0..4_000 {
        assert_eq!(window.judge(&[candidate(n)]).expect("room"), [Verdict::Row], "{n}");
        if n >= 500 {
            let again = Candidate { time: time(n), ..candidate(n - 500) };
            assert_eq!(window.judge(&[again]).expect("room"), [Verdict::Duplicate], "{n}");
        }
        most_on_disk = most_on_disk.max(window.spilled_bytes());
        assert!(window.memory_bytes() <= TIGHT);
    }
    assert!(most_on_disk > 10_000, "{most_on_disk} bytes were on disk");
    window.advance_time(time(1_000_000));
    assert_eq!((window.len(), window.spilled_bytes(), window.memory_bytes()), (0, 0, 0));
    assert!(window.clock_jump().is_some());
}
