//! Snapshots that are not what they should be (D2): thrown away, never trusted.

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_dedup::{
    Candidate, KeyHasher, Restored, SnapshotExpectation, SnapshotHeader, SnapshotRejected, Window,
    WindowOptions,
};
use tidegate_types::{KeyPrecision, Nonce, PartitionId, Position, Span, StreamTime};
use xxhash_rust::xxh3::xxh3_128;

const LATEST: StreamTime = StreamTime(9_100_000);
const CHECKSUM_BYTES: usize = 16;

fn options() -> WindowOptions {
    WindowOptions::in_memory(Span::millis(100), 1 << 20)
}

fn good() -> Vec<u8> {
    let mut window = Window::new(options());
    let hasher = KeyHasher::new(3);
    let candidate = |n: u8| Candidate {
        id: Some(hasher.fingerprint(&[n])),
        time: StreamTime(9_000_100 + i64::from(n) * 1_000),
    };
    window.judge(&(0..90).map(candidate).collect::<Vec<_>>()).expect("room");
    window.advance_time(LATEST);
    let header = SnapshotHeader {
        floor: Position(100),
        config_hash: 11,
        partition: PartitionId(2),
        nonce: Nonce::from_random(1_000),
    };
    window.snapshot(&header).expect("written")
}

fn expected() -> SnapshotExpectation {
    SnapshotExpectation {
        base: Position(100),
        stream_time: LATEST,
        config_hash: 11,
        partition: PartitionId(2),
        nonce: Nonce::from_random(1_000),
    }
}

fn restore(bytes: &[u8]) -> Result<Restored, SnapshotRejected> {
    Window::restore(bytes, &expected(), options())
}

fn signed_again(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(CHECKSUM_BYTES));
    let checksum = xxh3_128(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

#[test]
fn d2_a_whole_snapshot_is_taken() {
    let restored = restore(&good()).expect("whole");
    assert_eq!((restored.floor, restored.window.stream_time()), (Position(100), LATEST));
    assert_eq!(restored.window.len(), 90);
}

#[test]
fn d2_a_snapshot_of_another_time_place_or_configuration_is_rejected_with_the_reason() {
    let base = expected();
    let later = StreamTime(LATEST.0 + 1);
    for (says, expected, options) in [
        ("beyond the base 99", SnapshotExpectation { base: Position(99), ..base }, options()),
        ("configuration hash", SnapshotExpectation { config_hash: 12, ..base }, options()),
        ("partition", SnapshotExpectation { partition: PartitionId(1), ..base }, options()),
        ("nonce", SnapshotExpectation { nonce: Nonce::from_random(8), ..base }, options()),
        ("stream time", SnapshotExpectation { stream_time: later, ..base }, options()),
        (
            "stream time",
            SnapshotExpectation {
                base: Position(101),
                stream_time: StreamTime(LATEST.0 - 1),
                ..base
            },
            options(),
        ),
        ("window", base, WindowOptions { window: Span::millis(99), ..options() }),
        ("precision", base, WindowOptions { keys: KeyPrecision::Fingerprint, ..options() }),
        ("unable to hold", base, WindowOptions { memory_limit: 500, ..options() }),
    ] {
        let rejected = Window::restore(good().as_slice(), &expected, options).expect_err(says);
        assert!(rejected.to_string().contains(says), "{says}: {rejected}");
    }
}

#[test]
fn d3_a_snapshot_from_before_the_base_is_taken() {
    let behind = SnapshotExpectation {
        base: Position(150),
        stream_time: StreamTime(LATEST.0 + 5),
        ..expected()
    };
    let restored = Window::restore(good().as_slice(), &behind, options()).expect("older is fine");
    assert_eq!(restored.floor, Position(100));
}

#[test]
fn d2_every_flipped_bit_every_cut_and_every_tail_is_noticed() {
    let good = good();
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(restore(&flipped).is_err(), "byte {at}");
        assert!(restore(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(matches!(
        restore(&[good.as_slice(), b"x"].concat()),
        Err(SnapshotRejected::TrailingBytes)
    ));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_rejected(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(restore(&bytes).is_err());
    }

    /// What a checksum cannot catch must at least not bring the process down or cost memory.
    #[test]
    fn signed_nonsense_does_not_panic(
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut: prop::sample::Index,
        shorten: bool,
    ) {
        let mut bytes = good();
        for (place, value) in edits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(restored) = restore(&signed_again(bytes)) {
            prop_assert!(restored.window.memory_bytes() <= options().memory_limit);
        }
    }

    #[test]
    fn a_signed_entry_outside_of_the_window_is_rejected(late in 1_i64..i64::MAX / 2, early: bool) {
        let mut bytes = good();
        // Header 60 bytes, count 4, id 16.
        let time = if early { LATEST.0 - 100_000 - (late - 1) } else { LATEST.0 + late };
        bytes[80..88].copy_from_slice(&time.to_le_bytes());
        let rejected = restore(&signed_again(bytes));
        let named = matches!(rejected, Err(SnapshotRejected::EntryOutsideWindow { .. }));
        prop_assert!(named);
    }
}
