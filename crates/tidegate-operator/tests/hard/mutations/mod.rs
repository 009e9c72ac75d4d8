//! Thousands of generated changes, good and bad, of several pipelines at once.
//!
//! Changes come in batches. After each one everything has to settle: a change was refused by the API
//! server with a message that names the field; or what runs is what the spec says; or `SpecAccepted` is
//! False with a message that names the field and what was accepted before runs on. What others did to
//! objects is put right, and pipelines that nobody touched are not touched. In the end everything bad is
//! made good again, and each pipeline is compared with a twin that was made with its last spec: what
//! there is depends on the spec and on nothing that happened before.
//!
//! `CASES`, `SEED` and `HERD` (pipelines) are parameters. The changes of a seed are always the same; when
//! they meet is not.

mod edit;
mod field;
mod flow;
mod herd;
mod judge;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_testing::parameter;

use self::herd::Herd;
use super::figure::say;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a control plane; run by make test"]
async fn any_change_ends_in_what_was_asked_for_or_in_a_readable_refusal() {
    let (cases, seed) = (parameter("CASES", 2000), parameter("SEED", 1));
    say(format!("mutations: CASES={cases} SEED={seed}"));
    let panics = count_panics();
    let begun = tokio::time::Instant::now();
    let mut herd = Herd::begin(seed, parameter("HERD", 24)).await;
    while herd.tally.cases < cases {
        herd.batch().await;
    }
    herd.heal().await;
    herd.compare_with_twins().await;
    herd.end();
    assert_eq!(panics.load(Ordering::Relaxed), 0, "something of ours panicked");
    let took = begun.elapsed().as_secs_f64();
    say(format!("mutations: {:?} in {took:.0} s, SEED={seed}", herd.tally));
}

/// Counts panics outside of the tests from now on: the operator lives through its own.
fn count_panics() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, before) = (Arc::clone(&count), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|place| place.file().to_owned()).unwrap_or_default();
        if place.starts_with("crates/") && place.contains("/src/") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        before(panic);
    }));
    count
}
