//! Scripts that bring their own server: data that nobody here made, and the examples as they are written.

use std::path::Path;
use std::time::Duration;

use tidegate_testing::{Scratch, TidegateCommand, readers, workspace};

/// Far longer than they take.
const LONG: Duration = Duration::from_secs(600);

/// Runs a script of tests/ in a folder of its own, and wants it to end well.
async fn script(name: &str) {
    let scratch = Scratch::new("dataset").unwrap();
    let call = TidegateCommand::of(
        &readers::python(),
        workspace().join("tests").join(name).to_str().unwrap(),
    )
    .argument(scratch.path())
    .environment("TIDEGATE_BIN", env!("CARGO_BIN_EXE_tidegate"));
    let mut process = call.spawn("script", Path::new(&scratch.join("."))).unwrap();
    let ended = process.wait(LONG).await.unwrap();
    assert!(ended.success(), "{}", process.output());
    assert!(process.stdout().contains("test result: ok."), "{}", process.output());
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn a_year_of_flights_comes_over_whole_and_month_by_month_as_the_source_has_it() {
    script("bulk_flights.py").await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn the_billing_example_agrees_with_its_source_to_the_cent() {
    script("billing.py").await;
}
