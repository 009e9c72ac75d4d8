//! `tidegate generate`: made-up events, the same for the same seed.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};

use clap::{Args, ValueEnum};

use crate::events::{Draws, Event, Shape};
use crate::failure::Failure;
use crate::output::{count, ignore_closed_pipe};

/// A duplicate repeats one of so many events before it.
const REACH: usize = 1_000;

/// Print made-up events as JSON, one a line; the same seed prints the same bytes.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// How many distinct, valid events
    #[arg(long, value_name = "N")]
    events: u64,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What an event looks like
    #[arg(long, value_enum, default_value_t = ShapeArg::Small)]
    shape: ShapeArg,
    /// Lines that repeat an earlier event, for each hundred events
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    duplicates: f64,
    /// Lines that are not events (cut off, of the wrong type, of another charset, without fields),
    /// for each hundred events
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    poison: f64,
}

/// What an event looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShapeArg {
    /// About 100 bytes: id, time, sensor, value
    Small,
    /// About 600 bytes: nested structs, lists and maps
    Medium,
}

/// What was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Printed {
    events: u64,
    duplicates: u64,
    poison: u64,
}

/// Prints the events, and what they were to standard error.
pub(crate) fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut printed = Printed::default();
    let outcome = write_events(args, &mut out, &mut printed).and_then(|()| out.flush());
    ignore_closed_pipe(outcome).map_err(|error| Failure::of(error).during("writing events"))?;
    ignore_closed_pipe(writeln!(io::stderr(), "{}", printed.in_words())).map_err(Failure::of)
}

fn write_events(
    args: &GenerateArgs,
    out: &mut impl Write,
    printed: &mut Printed,
) -> io::Result<()> {
    let shape = match args.shape {
        ShapeArg::Small => Shape::Small,
        ShapeArg::Medium => Shape::Medium,
    };
    // Draws about duplicates and poison stand apart, so that the events do not depend on them.
    let mut draws = Draws::new(!args.seed);
    let mut recent: VecDeque<String> = VecDeque::with_capacity(REACH);
    for number in 0..args.events {
        let event = Event::make(shape, number, &mut Draws::of(args.seed, number));
        let line = event.to_string();
        writeln!(out, "{line}")?;
        printed.events += 1;
        if draws.chance(args.poison) {
            out.write_all(&event.poisoned(&mut draws))?;
            out.write_all(b"\n")?;
            printed.poison += 1;
        }
        if recent.len() == REACH {
            recent.pop_front();
        }
        recent.push_back(line);
        if draws.chance(args.duplicates) {
            let index = draws.below(recent.len() as u64) as usize;
            writeln!(out, "{}", recent[index])?;
            printed.duplicates += 1;
        }
    }
    Ok(())
}

impl Printed {
    fn in_words(self) -> String {
        format!(
            "generated {}, {}, {}",
            count(self.events, "event", "events"),
            count(self.duplicates, "duplicate", "duplicates"),
            count(self.poison, "poison line", "poison lines")
        )
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 =
        text.trim_end_matches('%').parse().map_err(|_| "write a number".to_owned())?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("write 0 to 100".to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn printed(seed: u64, shape: ShapeArg) -> (Vec<u8>, Printed) {
        let args = GenerateArgs { events: 2_000, seed, shape, duplicates: 5.0, poison: 2.0 };
        let (mut out, mut printed) = (Vec::new(), Printed::default());
        write_events(&args, &mut out, &mut printed).expect("a vector takes all");
        (out, printed)
    }

    #[test]
    fn the_same_seed_prints_the_same_bytes_and_another_does_not() {
        for shape in [ShapeArg::Small, ShapeArg::Medium] {
            assert_eq!(printed(7, shape), printed(7, shape));
            assert_ne!(printed(7, shape).0, printed(8, shape).0);
        }
    }

    #[test]
    fn the_events_do_not_depend_on_duplicates_and_poison() {
        let args = |percent| GenerateArgs {
            events: 100,
            seed: 1,
            shape: ShapeArg::Small,
            duplicates: percent,
            poison: percent,
        };
        let lines = |percent| {
            let mut out = Vec::new();
            write_events(&args(percent), &mut out, &mut Printed::default()).expect("a vector");
            let lines: Vec<Vec<u8>> =
                out.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            lines
        };
        let mixed: HashSet<_> = lines(50.0).into_iter().collect();
        assert!(lines(0.0).iter().all(|line| mixed.contains(line)));
    }

    #[test]
    fn the_lines_are_what_the_counts_say() {
        for shape in [ShapeArg::Small, ShapeArg::Medium] {
            let (bytes, counts) = printed(3, shape);
            let lines: Vec<&[u8]> =
                bytes.strip_suffix(b"\n").expect("it ends a line").split(|b| *b == b'\n').collect();
            let total = counts.events + counts.duplicates + counts.poison;
            assert_eq!(lines.len() as u64, total);
            let valid = |line: &[u8]| {
                serde_json::from_slice::<serde_json::Value>(line).ok().and_then(|event| {
                    event["ts"].as_str()?;
                    event["id"].as_str().map(str::to_owned)
                })
            };
            let ids: Vec<String> = lines.iter().filter_map(|line| valid(line)).collect();
            let distinct: HashSet<&String> = ids.iter().collect();
            assert_eq!(distinct.len() as u64, counts.events);
            assert_eq!(ids.len() as u64, counts.events + counts.duplicates);
            assert!((50..150).contains(&counts.duplicates), "about 5%: {counts:?}");
            assert!((20..60).contains(&counts.poison), "about 2%: {counts:?}");
        }
    }

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!(percent("2.5%"), Ok(2.5));
        assert!(percent("101").is_err() && percent("-1").is_err() && percent("x").is_err());
        assert!(percent("NaN").is_err());
    }
}
