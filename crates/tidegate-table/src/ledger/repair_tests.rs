//! Records of repairs, and what was repaired.

use object_store::memory::InMemory;
use proptest::prelude::*;

use super::*;

fn ledger(name: &str) -> Ledger {
    Ledger::new(name).expect("valid")
}

fn hours(start: i64, end: i64) -> DataInterval {
    let at = |hour: i64| jiff::Timestamp::from_second(hour * 3600).expect("in range");
    DataInterval::new(at(start), at(end)).expect("not empty")
}

fn nonce(number: i64) -> Nonce {
    Nonce::from_txn(number).expect("positive")
}

fn record(before: Option<Nonce>, interval: DataInterval, known: &RepairedTime) -> RepairRecord {
    let by = ledger("loads");
    RepairRecord {
        before,
        interval,
        event_time: "ts".to_owned(),
        generation: 2,
        rows: 9,
        replaced: 1,
        cuts: vec![Cut {
            incarnation: Incarnation::derive("S", "", 0),
            partition: PartitionId(3),
            floor: Position(70),
            removed: vec![RemovedRange { from: 1, to: 60, rows: 7 }],
        }],
        repaired: known.with(&by, interval).expect("nobody else"),
        by,
    }
}

#[tokio::test]
async fn b10_records_are_read_back_from_the_newest_to_the_first() {
    let (store, clicks) = (InMemory::new(), ledger("clicks"));
    let first = record(None, hours(0, 1), &RepairedTime::default());
    let second = record(Some(nonce(1)), hours(1, 2), &first.repaired);
    for (number, record) in [(1, &first), (2, &second)] {
        record.write(&store, &clicks, nonce(number)).await.expect("written");
        record.write(&store, &clicks, nonce(number)).await.expect("the same again");
    }
    assert!(second.write(&store, &clicks, nonce(1)).await.is_err(), "it never changes");
    let (chain, broken) = RepairRecord::chain(&store, &clicks, Some(nonce(2))).await;
    assert!(broken.is_none(), "{broken:?}");
    let older = RepairRecord { repaired: RepairedTime::default(), ..first };
    assert_eq!(chain, [second.clone(), older], "only the newest says what was repaired");
    assert_eq!(chain[0].removed_rows(), 7);
    let newest = RepairRecord::newest(&store, &clicks, Some(nonce(2))).await.expect("read");
    assert_eq!(newest.expect("there is one").repaired.stretches(), [hours(0, 2)]);
    assert_eq!(RepairRecord::newest(&store, &clicks, None).await.expect("none"), None);
    let (chain, broken) = RepairRecord::chain(&store, &clicks, Some(nonce(3))).await;
    assert!(chain.is_empty() && broken.is_some_and(|error| error.is_damage()));
}

#[tokio::test]
async fn b10_a_chain_that_comes_back_to_a_record_is_damaged() {
    let (store, clicks) = (InMemory::new(), ledger("clicks"));
    for (number, before) in [(1, 2), (2, 1)] {
        let record = record(Some(nonce(before)), hours(0, 1), &RepairedTime::default());
        record.write(&store, &clicks, nonce(number)).await.expect("written");
    }
    let (chain, broken) = RepairRecord::chain(&store, &clicks, Some(nonce(1))).await;
    assert_eq!(chain.len(), 2);
    assert!(broken.is_some_and(|error| error.is_damage()), "it would be followed for ever");
}

#[test]
fn b10_rows_belong_to_repaired_time_by_one_column_for_ever() {
    let known = record(None, hours(0, 1), &RepairedTime::default());
    known.check_event_time("ts").expect("the same");
    let told = known.check_event_time("at").expect_err("another").to_string();
    assert!(told.contains("event time ts, not at"), "{told}");
}

#[test]
fn b10_every_flipped_byte_of_a_record_is_noticed() {
    let good = record(None, hours(0, 1), &RepairedTime::default());
    let bytes = side_file::encode(&good, &ledger("clicks")).expect("encodes");
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        if let Ok(read) = side_file::decode::<RepairRecord>(&bad, &ledger("clicks")) {
            assert_eq!(read, good, "byte {at} changed what was read");
        }
    }
    assert!(side_file::decode::<RepairRecord>(&bytes, &ledger("other")).is_err());
}

#[test]
fn b10_two_pipelines_never_repair_the_same_time() {
    let known = RepairedTime::default().with(&ledger("a"), hours(2, 4)).expect("the first");
    let again = known.with(&ledger("a"), hours(3, 5)).expect("its own");
    assert_eq!(again.stretches(), [hours(2, 5)]);
    let error = known.with(&ledger("b"), hours(3, 5)).expect_err("of another");
    assert!(matches!(&error, RepairError::OfAnother { other, .. } if other.as_str() == "a"));
    let beside = known.with(&ledger("b"), hours(4, 5)).expect("beside it");
    assert_eq!(beside.stretches(), [hours(2, 5)]);
}

#[test]
fn a_ledger_remembers_a_bounded_number_of_stretches() {
    let by = ledger("a");
    let far = |number: i64| hours(number * 2, number * 2 + 1);
    let most = i64::try_from(MOST_STRETCHES).expect("small");
    let full = RepairedTime(BTreeMap::from([(by.clone(), (0..most).map(far).collect())]));
    assert!(matches!(full.with(&by, far(most)), Err(RepairError::TooMany { .. })));
    let joined = full.with(&by, hours(1, 2)).expect("it joins two");
    assert_eq!(joined.stretches().len(), MOST_STRETCHES - 1);
}

#[test]
fn b10_superseded_rows_add_up_and_nothing_else_of_a_partition_moves() {
    let (clicks, life, k) = (ledger("clicks"), Incarnation::derive("S", "", 0), PartitionId(3));
    let name = |field| TxnName::Position(clicks.clone(), life, k, field).to_string();
    let txns =
        Txns::from_iter([(name(PositionField::Floor), 70), (name(PositionField::Superseded), 5)]);
    let mut removed = RemovedRows::default();
    let record = ("tidegate/clicks/rec".to_owned(), 4);
    let nothing = repair_txns(&txns, &clicks, &removed, nonce(4)).expect("ours");
    assert_eq!(nothing, BTreeMap::from([record.clone()]));
    for sequence in [60, 61] {
        removed.add((life, k), sequence, None);
    }
    let two = repair_txns(&txns, &clicks, &removed, nonce(4)).expect("ours");
    assert_eq!(two, BTreeMap::from([record, (name(PositionField::Superseded), 7)]));
    let floors = StreamFloors::read(&txns, &clicks).expect("ours");
    let cut = &floors.cuts(&removed)[0];
    assert_eq!((cut.floor, cut.partition), (Position(70), k));
    assert_eq!(cut.removed, [RemovedRange { from: 60, to: 61, rows: 2 }]);
}

proptest! {
    #[test]
    fn what_was_repaired_is_a_set_of_hours(
        repairs in prop::collection::vec((0_i64..40, 1_i64..5), 1..12),
    ) {
        let mut all = RepairedTime::default();
        for (start, length) in &repairs {
            all = all.with(&ledger("a"), hours(*start, start + length)).expect("its own");
        }
        for hour in 0..48 {
            let within = repairs.iter().any(|(start, length)| (*start..start + length).contains(&hour));
            let found = all.stretches().iter().any(|known| known.contains(hours(hour, hour + 1)));
            prop_assert_eq!(found, within);
        }
    }
}
