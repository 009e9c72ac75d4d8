//! Compressed payloads.

mod common;

use std::io::Write;

use common::{message, one, options, outcomes};
use tidegate_decode::{DecodeOptions, Decoder};
use tidegate_types::{ByteSize, PayloadCompression, Reason};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).expect("memory")
}

fn decoder(compression: PayloadCompression) -> Decoder {
    let options =
        DecodeOptions { compression, max_bytes: ByteSize(100_000), ..options("v: string") };
    Decoder::new(options).expect("good options")
}

type Pack = fn(&[u8]) -> Vec<u8>;
const CODECS: [(PayloadCompression, Pack); 2] =
    [(PayloadCompression::Gzip, gzip), (PayloadCompression::Zstd, zstd)];

#[test]
fn compressed_payloads_are_rows_like_others() {
    for (compression, pack) in CODECS {
        let mut decoder = decoder(compression);
        let texts: Vec<_> =
            (0..50).map(|n| format!("{{\"v\":\"{}\"}}", "ab".repeat(n * 500))).collect();
        let messages: Vec<_> = texts.iter().map(|text| message(pack(text.as_bytes()))).collect();
        for (outcome, text) in outcomes(&decoder.decode(&messages), 50).into_iter().zip(&texts) {
            let row = outcome.expect("good");
            assert_eq!(row, serde_json::from_str::<serde_json::Value>(text).expect("json"));
        }
        let halves = [pack(b"{\"v\":"), pack(b"\"x\"}")].concat();
        assert_eq!(one(&mut decoder, halves).expect("two members")["v"], "x");
    }
}

#[test]
fn a_bomb_is_too_large_and_costs_no_more_than_the_limit() {
    for (compression, pack) in CODECS {
        let bomb = pack(&vec![b' '; 50_000_000]);
        assert!(bomb.len() < 100_000, "a small message");
        let (reason, detail) = one(&mut decoder(compression), bomb).expect_err("a bomb");
        assert_eq!(reason, Reason::TooLarge, "{detail}");
        let fits = [b"{\"v\":\"".to_vec(), vec![b'x'; 100_000 - 8], b"\"}".to_vec()].concat();
        one(&mut decoder(compression), pack(&fits)).expect("exactly the limit");
        let (reason, _) = one(&mut decoder(compression), pack(&[&fits[..], b" "].concat()))
            .expect_err("one more");
        assert_eq!(reason, Reason::TooLarge);
    }
}

#[test]
fn damaged_payloads_are_malformed_and_do_not_hurt_the_next() {
    for (compression, pack) in CODECS {
        let mut decoder = decoder(compression);
        let good = pack(br#"{"v":"a long enough text, a long enough text"}"#);
        for cut in 1..good.len() {
            let (reason, _) = one(&mut decoder, &good[..cut]).expect_err("cut");
            assert_eq!(reason, Reason::Malformed, "{compression:?} cut at {cut}");
        }
        for bad in [&b"{\"v\":\"plain\"}"[..], b"\x1f\x8b", b""] {
            assert_eq!(one(&mut decoder, bad).expect_err("not packed").0, Reason::Malformed);
        }
        one(&mut decoder, &good).expect("the next is good");
        let _ = one(&mut decoder, [&good[..], b"junk"].concat()).expect_err("something behind it");
        one(&mut decoder, &good).expect("and again");
    }
}
