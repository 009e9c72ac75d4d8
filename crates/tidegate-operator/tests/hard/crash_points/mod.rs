//! The operator dies before and after every request that it makes.
//!
//! A scenario is a chain of steps that ends where it began. At each step an operator that is to die at
//! its n-th request, the lists of its start included, takes over; it dies there, before the request was
//! sent or after its answer was thrown away; a fresh one goes on undisturbed. What is there in the end has
//! to be what an undisturbed operator makes: nothing else and nothing more. Steps of one chain follow each
//! other in one namespace, so that a leak is in the way of every later step.
//!
//! `SCENARIOS=all` plays all scenarios, otherwise the four that `make test` has time for.

mod chain;
mod scenario;

use futures::future::{join, join_all};
use tidegate_testing::parameter;

use self::chain::{Chain, Points};
use self::scenario::{SCENARIOS, Scenario};
use super::figure::say;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a control plane; run by make test"]
async fn an_operator_that_dies_at_any_request_leaves_what_an_undisturbed_one_leaves() {
    let chosen = parameter("SCENARIOS", String::new());
    let plays = |scenario: &&Scenario| match chosen.as_str() {
        "all" => true,
        "" => scenario.always,
        names => names.split(',').any(|name| name == scenario.name),
    };
    let chosen: Vec<_> = SCENARIOS.iter().filter(plays).map(play).collect();
    assert!(!chosen.is_empty(), "no scenario has that name");
    let total: usize = join_all(chosen).await.into_iter().sum();
    say(format!("crash points: {total} in all"));
}

/// Plays a scenario at all its crash points; how many there were.
async fn play(scenario: &'static Scenario) -> usize {
    let begun = tokio::time::Instant::now();
    let mut first = Chain::begin(scenario).await;
    let points = Points::of(&mut first).await;
    let others = (1..scenario.lanes).map(async |_| Chain::begin(scenario).await.run(&points).await);
    join(first.run(&points), join_all(others)).await;
    let (reached, wanted) = points.reached();
    say(format!(
        "crash points: {} of {wanted} in {} after {:.0} s",
        reached,
        scenario.name,
        begun.elapsed().as_secs_f64()
    ));
    // Requests at the very end may fall away, when one status says what two said in the first run.
    assert!(reached * 10 >= wanted * 8, "{}: {reached} of {wanted} were reached", scenario.name);
    reached
}
