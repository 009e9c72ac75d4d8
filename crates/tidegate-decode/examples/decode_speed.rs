//! Nanoseconds per row against arrow-json, in one run, for the 96-byte event and a wider one.
//!
//! `cargo run --release -p tidegate-decode --example decode_speed`
#![allow(clippy::print_stdout, reason = "it prints its result")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tidegate_decode::{DecodeOptions, Decoder};
use tidegate_types::{
    ByteSize, Coercion, Field, FieldType, Message, PayloadCompression, StreamTime, UnknownFields,
};

const ROWS: usize = 8_192;
const ROUNDS: usize = 40;

fn main() {
    let narrow =
        [("id", "string"), ("dev", "long"), ("ts", "long"), ("temp", "double"), ("st", "string")];
    let wide = [
        ("id", "string"),
        ("dev", "long"),
        ("ts", "long"),
        ("temp", "double"),
        ("st", "string"),
        ("a", "double"),
        ("b", "double"),
        ("c", "long"),
        ("d", "long"),
        ("host", "string"),
        ("region", "string"),
        ("ok", "boolean"),
        ("e", "double"),
        ("f", "long"),
    ];
    println!("{:<24}{:>8}{:>10}{:>10}{:>8}", "event", "bytes", "tidegate", "arrow", "ratio");
    compare("96 B, fixed order", &narrow, false);
    compare("96 B, shuffled", &narrow, true);
    compare("14 fields, fixed order", &wide, false);
    compare("14 fields, shuffled", &wide, true);
}

fn compare(name: &str, columns: &[(&str, &str)], shuffled: bool) {
    let messages: Vec<_> = (0..ROWS as u64).map(|n| message(n, columns, shuffled)).collect();
    let mut decoder = decoder(columns);
    let schema = decoder.schema();
    let ours = best(|| drop(black_box(decoder.decode(&messages))));
    let theirs = best(|| {
        let builder = arrow::json::ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(ROWS);
        let mut decoder = builder.build_decoder().expect("a good schema");
        for message in &messages {
            decoder.decode(&message.payload).expect("a good message");
        }
        black_box(decoder.flush().expect("good messages"));
    });
    let bytes = messages.iter().map(|m| m.payload.len()).sum::<usize>() as f64 / ROWS as f64;
    println!("{name:<24}{bytes:>8.1}{ours:>7.0} ns{theirs:>7.0} ns{:>8.2}", theirs / ours);
}

/// The median of several rounds, in nanoseconds per row.
fn best(mut round: impl FnMut()) -> f64 {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_secs_f64() * 1e9 / ROWS as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn decoder(columns: &[(&str, &str)]) -> Decoder {
    let field = |(name, data_type): &(&str, &str)| Field {
        name: (*name).to_owned(),
        data_type: data_type.parse::<FieldType>().expect("a type"),
        required: false,
        from: None,
    };
    Decoder::new(DecodeOptions {
        fields: columns.iter().map(field).collect(),
        unknown_fields: UnknownFields::Ignore,
        coercion: Coercion::None,
        compression: PayloadCompression::None,
        max_bytes: ByteSize::mib(1),
        max_depth: 64,
        refuse_near_names: false,
    })
    .expect("good options")
}

fn message(n: u64, columns: &[(&str, &str)], shuffled: bool) -> Message {
    let value = |index: usize, data_type: &str| {
        let random = mix(n * 100 + index as u64);
        match (index, data_type) {
            (0, _) => format!("\"{:016x}{:016x}\"", mix(n), mix(!n)),
            (2, _) => format!("{}", 1_767_225_600_000 + n),
            (_, "string") => format!("\"{}\"", ["ok", "warn", "eu-west-1"][random as usize % 3]),
            (_, "double") => format!("{}.{:02}", random % 40, random % 97),
            (_, "boolean") => (random.is_multiple_of(2)).to_string(),
            _ => (random % 1_000_000).to_string(),
        }
    };
    let mut members: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(index, (name, data_type))| format!("\"{name}\":{}", value(index, data_type)))
        .collect();
    if shuffled {
        for index in (1..members.len()).rev() {
            members.swap(index, mix(n << 8 | index as u64) as usize % (index + 1));
        }
    }
    Message {
        sequence: n,
        time: StreamTime::default(),
        subject: "events".into(),
        payload: Bytes::from(format!("{{{}}}", members.join(","))),
        id: None,
    }
}

/// The splitmix64 generator's step.
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
