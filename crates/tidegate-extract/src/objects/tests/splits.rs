//! Rows out are rows in, however they are cut into files, batches and chunks.

use proptest::prelude::*;

use super::*;

/// What a file of so many rows holds; every seventh record of text cannot be a row.
fn content(format: FileFormat, rows: std::ops::Range<u32>) -> Vec<u8> {
    let bad = |n: &u32| n % 7 == 3;
    match format {
        FileFormat::NdJson => rows
            .map(|n| if bad(&n) { format!("[{n}]\n") } else { format!("{{\"id\":{n}}}\n") })
            .collect::<String>()
            .into(),
        FileFormat::Csv => {
            let cells = rows.map(|n| if bad(&n) { format!("x{n}\n") } else { format!("{n}\n") });
            ("id\n".to_owned() + &cells.collect::<String>()).into()
        }
        FileFormat::Parquet => super::parquets::numbers(i64::from(rows.end - rows.start), 5),
    }
}

async fn check(format: FileFormat, sizes: &[u32], batch_rows: usize, batch_bytes: usize) {
    let store = memory();
    let (mut first, mut expected) = (0, Vec::new());
    for (number, size) in sizes.iter().enumerate() {
        let rows = first..first + size;
        put(&store, &format!("{number:03}"), content(format, rows.clone())).await;
        match format {
            FileFormat::Parquet => expected.extend(0..*size),
            _ => expected.extend(rows.filter(|n| n % 7 != 3)),
        }
        first += size;
    }
    let mut ask = ask(format, "*").fields(&["id: long"]);
    (ask.batch_rows, ask.batch_bytes) = (batch_rows, batch_bytes);
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    let expected: Vec<_> = expected.iter().map(|n| format!("{{\"id\":{n}}}")).collect();
    assert_eq!(found.rows(), expected);
    assert_eq!(found.counts.rows + found.counts.dead, u64::from(first));
    assert!(found.batches.iter().all(|batch| batch.num_rows() <= batch_rows));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn rows_out_are_rows_in(
        which in 0_usize..3,
        sizes in prop::collection::vec(0_u32..40, 0..12),
        batch_rows in 1_usize..50,
        batch_bytes in 1_usize..4_000,
    ) {
        let format = [FileFormat::NdJson, FileFormat::Csv, FileFormat::Parquet][which];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(format, &sizes, batch_rows, batch_bytes));
    }
}
