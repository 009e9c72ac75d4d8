//! Verdicts over whole runs of messages: each record has one fate, in the order of the rules.

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_decode::DecodeOptions;
use tidegate_dedup::WindowOptions;
use tidegate_types::{
    ByteSize, Coercion, Counters, Field, KeyPrecision, PartitionColumn, PartitionTransform,
    PayloadCompression, Span, StreamTime, UnknownFields,
};

use super::*;

const SECOND: i64 = 1_000_000;

fn message(sequence: u64, seconds: i64, id: Option<&str>, payload: &str) -> Message {
    Message {
        sequence,
        time: StreamTime(seconds * SECOND),
        subject: "s".into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        id: id.map(|id| Bytes::copy_from_slice(id.as_bytes())),
    }
}

fn field(name: &str, data_type: &str, required: bool) -> Field {
    Field { name: name.into(), data_type: data_type.parse().expect("a type"), required, from: None }
}

struct Rules {
    filter: Option<&'static str>,
    late: LatePolicy,
    after_repair: AfterRepairPolicy,
    missing: MissingKeyPolicy,
    on_error: BadRowPolicy,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            filter: None,
            late: LatePolicy::DeadLetter,
            after_repair: AfterRepairPolicy::DeadLetter,
            missing: MissingKeyPolicy::Accept,
            on_error: BadRowPolicy::DeadLetter,
        }
    }
}

impl Rules {
    fn judge(self) -> Judge {
        let decoder = Decoder::new(DecodeOptions {
            fields: vec![field("n", "long", true), field("ts", "timestamp", false)],
            unknown_fields: UnknownFields::Ignore,
            coercion: Coercion::None,
            compression: PayloadCompression::None,
            max_bytes: ByteSize::mib(1),
            max_depth: 8,
            refuse_near_names: false,
        })
        .expect("a schema");
        let schema = decoder.schema();
        let router = PartitionRouter::new(
            &[PartitionColumn { field: "ts".into(), transform: PartitionTransform::Day }],
            &schema,
        )
        .expect("a router");
        let filter = self.filter.map(|cel| Filter::compile(cel, &schema).expect("a filter"));
        let time = EventTimeRule {
            column: 1,
            allowed: Span::seconds(3_600),
            policy: self.late,
            after_repair: self.after_repair,
        };
        let dedup = DedupRule {
            window: DuplicateWindow {
                key: DedupKey::Header("id".into()),
                window: Span::seconds(60),
                keys: KeyPrecision::Exact,
                on_missing_key: self.missing,
            },
            column: None,
            hasher: KeyHasher::new(1),
        };
        let (event_time, dedup, on_error) = (Some(time), Some(dedup), self.on_error);
        Judge::new(JudgeRules { decoder, filter, event_time, dedup, router, on_error })
    }
}

fn window() -> Window {
    Window::new(WindowOptions::in_memory(Span::seconds(60), 1 << 20))
}

fn reasons(judged: &Judged) -> Vec<(u32, Reason)> {
    judged.dead.iter().map(|dead| (dead.index, dead.reason)).collect()
}

#[test]
fn every_record_has_one_fate() {
    let messages = [
        message(1, 0, Some("a"), r#"{"n": 1}"#),
        message(2, 1, Some("a"), r#"{"n": 1}"#),
        message(3, 2, Some("b"), r#"{"n": "#),
        message(4, 3, Some("c"), r#"{"n": -5}"#),
        message(5, 4, None, r#"{"n": 5}"#),
        message(6, 5, Some("d"), r#"{"n": 6, "ts": "2020-01-01T00:00:00Z"}"#),
    ];
    let mut judge = Rules { filter: Some("record.n > 0"), ..Rules::default() }.judge();
    let judged = judge.judge(&messages, Some(&mut window())).expect("judged");
    assert_eq!(judged.source, [0, 4]);
    assert_eq!(reasons(&judged), [(2, Reason::Malformed), (5, Reason::TooFarAhead)]);
    let expected = Counters { read: 6, rows: 2, dead: 2, duplicate: 1, filtered: 1 };
    assert_eq!(judged.counters, expected);
    assert_eq!(judged.unkeyed, 1);
}

#[test]
fn d1_dead_filtered_and_duplicate_records_do_not_enter_the_window() {
    let messages = [
        message(1, 0, Some("x"), r#"{"n": "poison"}"#),
        message(2, 1, Some("x"), r#"{"n": 1}"#),
        message(3, 2, Some("y"), r#"{"n": 0}"#),
        message(4, 3, Some("y"), r#"{"n": 2}"#),
        message(5, 50, Some("x"), r#"{"n": 1}"#),
        message(6, 61, Some("x"), r#"{"n": 1}"#),
    ];
    let mut judge = Rules { filter: Some("record.n > 0"), ..Rules::default() }.judge();
    let judged = judge.judge(&messages, Some(&mut window())).expect("judged");
    // 1 is poison and 2 its correction; 5 repeats 2 within the window, 6 repeats it a window later,
    // because the duplicate at 5 did not renew it.
    assert_eq!(judged.source, [1, 3, 5]);
    assert_eq!(judged.counters.duplicate, 1);
}

#[test]
fn a_missing_key_is_judged_by_policy() {
    let messages = [message(1, 0, None, r#"{"n": 1}"#), message(2, 0, Some(""), r#"{"n": 2}"#)];
    let mut judge = Rules { missing: MissingKeyPolicy::DeadLetter, ..Rules::default() }.judge();
    let judged = judge.judge(&messages[..1], Some(&mut window())).expect("judged");
    assert_eq!(reasons(&judged), [(0, Reason::MissingKey)]);
}

#[test]
fn late_records_are_rows_where_the_policy_is_append() {
    let messages = [message(1, 0, Some("a"), r#"{"n": 1, "ts": "2020-01-01T00:00:00Z"}"#)];
    let mut judge = Rules { late: LatePolicy::Append, ..Rules::default() }.judge();
    let judged = judge.judge(&messages, Some(&mut window())).expect("judged");
    assert_eq!(judged.counters.rows, 1);
}

/// The judge's seconds, from the one on and up to the other.
fn seconds(start: i64, end: i64) -> DataInterval {
    let at = |second: i64| jiff::Timestamp::from_second(second).expect("in range");
    DataInterval::new(at(start), at(end)).expect("not empty")
}

#[test]
fn b10_records_of_a_repaired_interval_are_dead_letters_unless_they_may_be_rows() {
    let at = |sequence: u64, time: &str| {
        let payload = format!(r#"{{"n": 1, "ts": "1970-01-01T00:{time}Z"}}"#);
        message(sequence, 60, Some(&sequence.to_string()), &payload)
    };
    let times = ["00:09.999999", "00:10", "00:19.5", "00:20", "00:39", "00:40", "00:41"];
    let mut messages: Vec<_> =
        (1..).zip(times).map(|(sequence, time)| at(sequence, time)).collect();
    messages.push(message(9, 60, Some("9"), r#"{"n": 1}"#));
    for (late, after_repair, expected) in [
        (LatePolicy::DeadLetter, AfterRepairPolicy::DeadLetter, vec![1, 2, 5]),
        (LatePolicy::Append, AfterRepairPolicy::DeadLetter, vec![1, 2, 5]),
        (LatePolicy::DeadLetter, AfterRepairPolicy::Append, vec![]),
        (LatePolicy::Append, AfterRepairPolicy::Append, vec![]),
    ] {
        let mut judge = Rules { late, after_repair, ..Rules::default() }.judge();
        judge
            .know_repaired(vec![seconds(10, 20), seconds(40, 41)])
            .expect("there is an event time");
        let judged = judge.judge(&messages, Some(&mut window())).expect("judged");
        let expected: Vec<_> =
            expected.into_iter().map(|n| (n, Reason::IntervalRepaired)).collect();
        assert_eq!(reasons(&judged), expected, "{late:?} {after_repair:?}");
        judge.know_repaired(Vec::new()).expect("nothing");
        let judged = judge.judge(&messages[1..2], Some(&mut window())).expect("judged");
        assert_eq!(judged.counters.rows, 1, "before it was repaired");
    }
}

#[test]
fn b10_without_an_event_time_nothing_is_judged_over_repaired_intervals() {
    let mut judge = Rules::default().judge();
    judge.rules.event_time = None;
    judge.know_repaired(Vec::new()).expect("nothing was repaired");
    let error = judge.know_repaired(vec![seconds(10, 20)]).expect_err("which records are of it?");
    assert!(!error.is_transient() && error.to_string().contains("sink.eventTime"), "{error}");
}

#[test]
fn b10_what_comes_after_a_repair_halts_nothing() {
    let late = r#"{"n": 1, "ts": "1970-01-01T00:00:15Z"}"#;
    let messages = [message(1, 60, Some("a"), late), message(2, 60, Some("b"), "oops")];
    let mut judge = Rules { on_error: BadRowPolicy::Halt, ..Rules::default() }.judge();
    judge.know_repaired(vec![seconds(10, 20)]).expect("there is an event time");
    let judged = judge.judge(&messages, Some(&mut window())).expect("judged");
    assert_eq!(reasons(&judged), [(0, Reason::IntervalRepaired)]);
    assert_eq!(judged.halted_at.map(|dead| dead.index), Some(1), "only a bad record does");
}

#[test]
fn s7_a_record_that_is_late_by_itself_is_late_whatever_was_repaired() {
    let messages = [message(1, 4_000, Some("a"), r#"{"n": 1, "ts": "1970-01-01T00:00:15Z"}"#)];
    let mut judge = Rules::default().judge();
    judge.know_repaired(vec![seconds(10, 20)]).expect("there is an event time");
    let judged = judge.judge(&messages, Some(&mut window())).expect("judged");
    assert_eq!(reasons(&judged), [(0, Reason::TooLate)]);
}

#[test]
fn under_halt_the_verdicts_end_before_the_first_bad_record() {
    let messages = [
        message(1, 0, Some("a"), r#"{"n": 1}"#),
        message(2, 1, Some("b"), "oops"),
        message(3, 2, Some("c"), r#"{"n": 3}"#),
    ];
    let mut window = window();
    let mut judge = Rules { on_error: BadRowPolicy::Halt, ..Rules::default() }.judge();
    let judged = judge.judge(&messages, Some(&mut window)).expect("judged");
    assert_eq!(judged.counters, Counters { read: 1, rows: 1, ..Counters::default() });
    assert_eq!(judged.halted_at.map(|dead| dead.index), Some(1));
    assert!(judged.dead.is_empty(), "the bad record stays unread");
    assert_eq!(window.len(), 1, "and what follows it, too");
}

#[test]
fn s8_a_deadly_message_is_dead_undecoded_and_moves_stream_time_alone() {
    let deadly = message(2, 70, Some("a"), "never looked at");
    let later = [message(3, 71, Some("a"), r#"{"n": 1}"#)];
    let mut judge = Rules::default().judge();
    let mut window = window();
    judge.judge(&[message(1, 0, Some("a"), r#"{"n": 1}"#)], Some(&mut window)).expect("judged");
    let judged = judge.condemn(&deadly, "signal 6".into(), Some(&mut window)).expect("judged");
    assert_eq!(reasons(&judged), [(0, Reason::CrashedDecoder)]);
    assert_eq!(judged.counters, Counters { read: 1, dead: 1, ..Counters::default() });
    let corrected = judge.judge(&later, Some(&mut window)).expect("judged");
    assert_eq!(corrected.counters.rows, 1, "its id did not enter the window");

    let judge = Rules { on_error: BadRowPolicy::Halt, ..Rules::default() }.judge();
    let judged = judge.condemn(&deadly, "signal 6".into(), None).expect("judged");
    assert_eq!(judged.halted_at.map(|dead| dead.reason), Some(Reason::CrashedDecoder));
    assert_eq!(judged.counters, Counters::default());
}

fn arbitrary_message() -> impl Strategy<Value = (i64, Option<u8>, &'static str)> {
    let payload = prop::sample::select(vec![
        r#"{"n": 1}"#,
        r#"{"n": -1}"#,
        r#"{"n": null}"#,
        r#"{"m": 1}"#,
        "",
        "[]",
        r#"{"n": 1, "ts": "1970-01-01T00:00:30Z"}"#,
        r#"{"n": 1, "ts": "2031-01-01T00:00:00Z"}"#,
    ]);
    (0_i64..200, prop::option::of(0_u8..4), payload)
}

proptest! {
    /// S7: where a batch is cut changes no verdict.
    #[test]
    fn s7_verdicts_do_not_depend_on_the_cut(
        drawn in prop::collection::vec(arbitrary_message(), 1..60),
        cuts in prop::collection::vec(0_usize..60, 0..6),
    ) {
        let messages: Vec<Message> = (1_u64..)
            .zip(&drawn)
            .map(|(sequence, (seconds, id, payload))| {
                let id = id.map(|id| id.to_string());
                message(sequence, *seconds, id.as_deref(), payload)
            })
            .collect();
        let rules = || Rules { filter: Some("record.n > 0"), ..Rules::default() };
        let whole = rules().judge().judge(&messages, Some(&mut window())).expect("judged");
        prop_assert!(whole.counters.conserved());

        let mut ends: Vec<usize> = cuts.into_iter().filter(|cut| *cut < messages.len()).collect();
        ends.push(messages.len());
        ends.sort_unstable();
        let (mut judge, mut window) = (rules().judge(), window());
        let (mut counters, mut rows, mut dead, mut start) =
            (Counters::default(), Vec::new(), Vec::new(), 0);
        for end in ends {
            let part = judge.judge(&messages[start..end], Some(&mut window)).expect("judged");
            let offset = u32::try_from(start).expect("small");
            counters += part.counters;
            rows.extend(part.source.iter().map(|index| index + offset));
            dead.extend(part.dead.iter().map(|d| (d.index + offset, d.reason)));
            start = end;
        }
        prop_assert_eq!(counters, whole.counters);
        prop_assert_eq!(rows, whole.source.clone());
        prop_assert_eq!(dead, reasons(&whole));
    }
}
