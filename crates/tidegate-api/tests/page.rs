//! The page of the kind says what every word in the status means.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_api::schema;
use tidegate_types::Reason;

const PAGE: &str = include_str!("../../../docs/ingestionpipeline.md");
/// What runs of bulk pipelines say besides.
const RUN_PAGE: &str = include_str!("../../../docs/ingestionrun.md");

/// The words in the first column of the table below a heading.
fn first_column(page: &'static str, heading: &str) -> Vec<&'static str> {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).expect(heading);
    let rows = section.lines().take_while(|line| !line.starts_with('#'));
    rows.filter_map(|row| row.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` |"))
        .flat_map(|(words, _)| words.split("`, `"))
        .collect()
}

#[test]
fn every_reason_is_explained_once() {
    let mut named = first_column(PAGE, "### Reasons");
    named.extend(first_column(RUN_PAGE, "### Reasons"));
    for reason in Reason::ALL {
        let times = named.iter().filter(|word| **word == reason.as_str()).count();
        assert_eq!(times, 1, "{reason}");
    }
    assert_eq!(named.len(), Reason::ALL.len(), "words that are no reason: {named:?}");
}

#[test]
fn every_condition_is_explained_once() {
    let named = first_column(PAGE, "## Status");
    let conditions = [
        "Ready",
        "Reconciling",
        "Stalled",
        "SpecAccepted",
        "SourceReachable",
        "SourceDurable",
        "SinkReachable",
        "GuaranteeMet",
        "CaughtUp",
        "DeadLettering",
        "IntervalsCurrent",
        "ScalingActive",
    ];
    assert_eq!(named, conditions);
    let most = schema().pointer("/properties/status/properties/conditions/maxItems");
    assert!(most.and_then(Value::as_u64).is_some_and(|most| most >= conditions.len() as u64));
}

#[test]
fn every_phase_is_named() {
    let phases = schema().pointer("/properties/status/properties/phase/enum");
    let phases = phases.and_then(Value::as_array).expect("an enum");
    for phase in phases.iter().filter_map(Value::as_str) {
        assert!(PAGE.contains(phase), "{phase}");
    }
}

/// A bullet for each line of the example.
#[test]
fn every_line_of_the_example_has_its_bullet() {
    let (_, example) = PAGE.split_once("```yaml\n").expect("an example");
    let (example, rest) = example.split_once("```").expect("it ends");
    let bullets: BTreeSet<&str> = rest
        .lines()
        .take_while(|line| !line.starts_with("##"))
        .filter(|line| line.starts_with("* "))
        .flat_map(|line| line.split(':').next().unwrap_or_default().split('`'))
        .flat_map(|words| words.split('.'))
        .collect();
    // Parents whose members each have a bullet, and what every resource has.
    let explained_by_members =
        ["apiVersion", "kind", "spec", "source", "jetStream", "schema", "sink", "resources"];
    for line in example.lines() {
        let name = line.trim_start_matches([' ', '-', '{']).split(':').next().unwrap_or_default();
        let known = bullets.contains(name) || explained_by_members.contains(&name);
        assert!(known || line.trim_start().starts_with("- {"), "{line}");
    }
}
