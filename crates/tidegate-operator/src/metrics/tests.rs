use prometheus_client::encoding::text::encode;
use tidegate_api::RunTrigger;

use super::*;

fn page(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("text");
    text
}

#[test]
fn the_runs_of_a_pipeline_are_shown_and_gone_with_it() {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let key = Key::new("shop", "orders");
    metrics.show(&key, &PipelineGauges::default());
    let last_success = jiff::Timestamp::from_second(1_800_000_000).ok();
    let tally = RunTally { active: 2, failed: 1, last_success, ..RunTally::default() };
    metrics.show_runs(&key, &BulkGauges { tally, due: 3, failed: true, stale: true });
    metrics.run_attempted(&key, 1);
    metrics.run_attempted(&key, 2);
    metrics.run_attempted(&key, 3);
    metrics.run_ended(
        &key,
        &RunEnd {
            trigger: Some(RunTrigger::Backfill),
            succeeded: false,
            reason: Reason::SourceRefused,
            took: Some(Duration::from_secs(20)),
            rows: [7, 5, 0, 2],
        },
    );
    let text = page(&registry);
    for line in [
        "tidegate_runs{pipeline=\"shop/orders\",phase=\"Active\"} 2",
        "tidegate_runs{pipeline=\"shop/orders\",phase=\"Pending\"} 0",
        "tidegate_pipeline_runs_due{pipeline=\"shop/orders\"} 3",
        "tidegate_pipeline_run_failed{pipeline=\"shop/orders\"} 1",
        "tidegate_pipeline_intervals_stale{pipeline=\"shop/orders\"} 1",
        "tidegate_pipeline_last_success_timestamp_seconds{pipeline=\"shop/orders\"} 1800000000.0",
        "tidegate_runs_ended_total{pipeline=\"shop/orders\",phase=\"Failed\",reason=\"SourceRefused\",trigger=\"Backfill\"} 1",
        "tidegate_run_attempts_total{pipeline=\"shop/orders\",attempt=\"first\"} 1",
        "tidegate_run_attempts_total{pipeline=\"shop/orders\",attempt=\"again\"} 2",
        "tidegate_run_rows_total{pipeline=\"shop/orders\",kind=\"dead_lettered\"} 2",
        "tidegate_run_duration_seconds_bucket{le=\"15.0\",pipeline=\"shop/orders\"} 0",
        "tidegate_run_duration_seconds_bucket{le=\"60.0\",pipeline=\"shop/orders\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    metrics.forget(&key);
    let text = page(&registry);
    for gone in [
        "tidegate_runs{",
        "runs_ended_total{",
        "runs_due{",
        "intervals_stale{",
        "attempts_total{",
        "rows_total{",
        "run_duration_seconds_bucket{",
    ] {
        assert!(!text.contains(gone), "{gone} is left in {text}");
    }
}

#[test]
fn a_pipeline_is_shown_with_what_is_known_and_gone_with_it() {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let key = Key::new("analytics", "clicks");
    let known = PipelineGauges {
        ready: true,
        lag: Some(7),
        lag_seconds: Some(3),
        freshness_objective: Some(Duration::from_secs(300)),
        ..PipelineGauges::default()
    };
    metrics.show(&key, &known);
    let text = page(&registry);
    for line in [
        "tidegate_pipeline_ready{pipeline=\"analytics/clicks\"} 1",
        "tidegate_pipeline_lag{pipeline=\"analytics/clicks\"} 7",
        "tidegate_pipeline_lag_seconds{pipeline=\"analytics/clicks\"} 3",
        "tidegate_pipeline_freshness_objective_seconds{pipeline=\"analytics/clicks\"} 300.0",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    assert!(!text.contains("complete_through_seconds{"), "it is not known");
    metrics.show(&key, &PipelineGauges::default());
    assert!(!page(&registry).contains("lag{"), "it is not known any more");
    metrics.forget_all();
    assert!(!page(&registry).contains("analytics/clicks"));
}
