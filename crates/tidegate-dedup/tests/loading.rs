//! Loading rows of the table, and the arithmetic of memory.

use tidegate_dedup::{
    Candidate, Fingerprint, KeyHasher, Verdict, Window, WindowError, WindowOptions,
};
use tidegate_types::{Span, StreamTime};

/// Slices of this window are a millisecond long.
const WINDOW: Span = Span::millis(12);

fn id(n: u64) -> Fingerprint {
    KeyHasher::new(9).fingerprint(&n.to_le_bytes())
}

fn candidate(n: u64, time: i64) -> Candidate {
    Candidate { id: Some(id(n)), time: StreamTime(time) }
}

#[test]
fn d1_of_several_rows_with_one_id_the_latest_counts_in_any_order() {
    let (early, late) = ((id(1), StreamTime(100_100)), (id(1), StreamTime(100_900)));
    for rows in [[early, late], [late, early]] {
        let mut window = Window::new(WindowOptions::in_memory(WINDOW, usize::MAX));
        for (id, time) in rows {
            window.insert(id, time).expect("room");
        }
        let verdicts = window.judge(&[candidate(1, 112_899)]).expect("room");
        assert_eq!(verdicts, [Verdict::Duplicate], "{rows:?}");
        let verdicts = window.judge(&[candidate(1, 112_900)]).expect("room");
        assert_eq!(verdicts, [Verdict::Row], "{rows:?}");
    }
}

#[test]
fn d4_stream_time_is_never_before_a_row_that_was_loaded() {
    let mut window = Window::new(WindowOptions::in_memory(WINDOW, usize::MAX));
    window.insert(id(1), StreamTime(100_000)).expect("room");
    assert_eq!((window.stream_time(), window.len()), (StreamTime(100_000), 1));
    window.insert(id(2), StreamTime(88_000)).expect("nothing to hold");
    assert_eq!(window.len(), 1, "a row outside of the window needs no memory");
    assert_eq!(window.clock_jump(), None);
}

#[test]
fn rows_before_the_window_need_no_memory_once_stream_time_is_known() {
    let mut window = Window::new(WindowOptions::in_memory(WINDOW, 1_000));
    window.resume_at(StreamTime(10_000_000));
    let old: Vec<_> = (0..100_000).map(|n| (id(n), StreamTime(9_000_000))).collect();
    window.insert_all(&old).expect("nothing to hold");
    assert!(window.is_empty());
}

#[test]
fn growing_counts_the_old_table_beside_the_new_one() {
    let first: Vec<_> = (0..28).map(|n| candidate(n, 100_000)).collect();
    let size_after = |more: u64, limit: usize| {
        let mut window = Window::new(WindowOptions::in_memory(WINDOW, limit));
        window.judge(&first)?;
        window.judge(&(28..28 + more).map(|n| candidate(n, 100_000)).collect::<Vec<_>>())?;
        Ok::<_, WindowError>(window.memory_bytes())
    };
    let before = size_after(0, usize::MAX).expect("no limit");
    let after = size_after(1, usize::MAX).expect("no limit");
    assert!(after > before, "the 29th id makes the table grow");
    let refused = size_after(1, after + before / 2);
    assert!(matches!(refused, Err(WindowError::OverBudget { .. })));
    assert!(size_after(1, after + before + 100).is_ok());
}

#[test]
fn d4_a_jump_that_empties_the_window_makes_room_for_the_batch_that_brings_it() {
    let mut window = Window::new(WindowOptions::in_memory(WINDOW, 1_000));
    let batch = |from, time| (from..from + 28).map(|n| candidate(n, time)).collect::<Vec<_>>();
    window.judge(&batch(0, 100_000)).expect("room");
    assert!(window.judge(&batch(28, 101_500)).is_err(), "the window is full");
    window.judge(&batch(28, 200_000)).expect("everything before is forgotten by then");
}

#[test]
fn d4_a_broken_disk_changes_no_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = WindowOptions {
        spill_dir: Some(folder.path().join("gone")),
        ..WindowOptions::in_memory(WINDOW, 1_000)
    };
    let mut window = Window::new(options);
    window.judge(&[candidate(1, 100_000)]).expect("room");
    let large: Vec<_> = (2..100).map(|n| candidate(n, 100_500)).collect();
    assert!(matches!(window.judge(&large), Err(WindowError::Spill(_))));
    assert_eq!(window.stream_time(), StreamTime(100_000));
    let verdicts = window.judge(&[candidate(1, 100_001), candidate(2, 100_001)]).expect("room");
    assert_eq!(verdicts, [Verdict::Duplicate, Verdict::Row]);
}
