//! The feasibility lint as a table of numbers.

mod common;

use common::sound;
use proptest::prelude::*;
use tidegate_config::*;
use tidegate_types::*;

#[test]
fn numbers_that_go_together_pass() {
    assert_eq!(lint(&sound()), []);
}

#[test]
fn numbers_that_do_not_go_together_are_named_with_their_arithmetic() {
    use Severity::{Error, Warning};
    type Change = fn(&mut PipelineConfig);
    let table: [(&str, &str, Severity, Change); 17] = [
        ("jetStream.duplicateWindow", "100ms", Error, |c| {
            c.source.duplicate_window = Span::millis(50);
        }),
        ("jetStream.duplicateWindow", "1h × 17000/s × 234 B = 13657 MiB", Warning, |c| {
            c.source.duplicate_window = Span::seconds(3_600);
        }),
        ("retention.maxAge", "less than duplicateWindow 2m", Error, |c| {
            c.source.retention.max_age = Some(Span::seconds(90));
            c.source.trim = None;
        }),
        ("retention.maxAge", "may wait 1m", Error, |c| {
            c.source.retention.max_age = Some(Span::seconds(60));
            c.source.duplicate_window = Span::seconds(10);
            c.source.trim = None;
        }),
        ("retention.maxAge", "3h − 1m (flush.maxInterval) = 2h59m", Warning, |c| {
            c.source.retention.max_age = Some(Span::seconds(3 * 3_600));
        }),
        ("jetStream.trim", "after 50Gi publishers are refused", Warning, |c| {
            c.source.retention.max_age = None;
            c.source.trim = None;
        }),
        ("jetStream.trim", "disk fills", Warning, |c| {
            c.source.retention = Retention { max_bytes: None, max_age: None, replicas: 3 };
            c.source.trim = None;
        }),
        ("trim.keep", "duplicateWindow 2m + 10m = 12m", Warning, |c| {
            c.source.trim = Some(Trim { keep: Span::seconds(600) });
        }),
        ("trim.keep", "trims nothing", Warning, |c| {
            c.source.trim = Some(Trim { keep: Span::seconds(72 * 3_600) });
        }),
        ("flush.maxInterval", "172800 entries a day", Warning, |c| {
            c.sink.flush.max_interval = Span::millis(500);
            c.sink.flush.idle_after = Span::millis(500);
        }),
        ("flush.maxInterval", "61200000 rows × 100 B = 5836 MiB", Warning, |c| {
            c.sink.flush.max_interval = Span::seconds(3_600);
            c.sink.flush.max_rows = 1_000_000_000;
            c.dead_letter.breaker = None;
        }),
        ("flush.idleAfter", "no effect", Warning, |c| {
            c.sink.flush.idle_after = Span::seconds(61);
        }),
        ("breaker.over", "less than one commit", Warning, |c| {
            c.dead_letter.breaker = Some(Breaker { max_percent: 5, over: Span::seconds(30) });
        }),
        ("limits.maxBytes", "more than an eighth", Error, |c| {
            c.decode.max_bytes = ByteSize::mib(512);
        }),
        ("file.maxOpenPartitions", "1024 files × 8 MiB of buffers = 8192 MiB", Warning, |c| {
            c.sink.file.max_open_partitions = 1_024;
        }),
        ("file.maxOpenPartitions", "128 buckets of id > 64 open files", Warning, |c| {
            c.sink.partition_by = vec![PartitionColumn {
                field: "id".into(),
                transform: PartitionTransform::Bucket(128),
            }];
        }),
        ("dedup.window", "24h × 17000/s × 20 B = 28015 MiB", Warning, |c| {
            if let Some(window) = &mut c.dedup {
                window.window = Span::seconds(24 * 3_600);
            }
        }),
    ];
    for (field, says, severity, change) in table {
        let mut config = sound();
        change(&mut config);
        let findings = lint(&config);
        let found = findings.iter().any(|finding| {
            finding.field.ends_with(field)
                && finding.arithmetic.contains(says)
                && finding.severity == severity
        });
        assert!(found, "{field} {says}: {findings:#?}");
    }
}

#[test]
fn lateness_in_hours_is_compared_with_the_open_files() {
    let mut config = sound();
    config.sink.partition_by[0].transform = PartitionTransform::Hour;
    assert_eq!(lint(&config), [], "2h in both directions are 5 hours");
    if let Some(event_time) = &mut config.sink.event_time {
        event_time.allowed_lateness = Span::seconds(72 * 3_600);
    }
    let findings = lint(&config);
    assert!(findings[0].arithmetic.contains("spans 145 hours > 64"), "{findings:?}");
}

#[test]
fn a_stream_that_is_not_ours_is_not_judged() {
    let mut config = sound();
    config.source.subjects.clear();
    config.source.duplicate_window = Span::seconds(24 * 3_600);
    config.source.retention = Retention { max_bytes: None, max_age: None, replicas: 1 };
    config.source.trim = None;
    assert_eq!(lint(&config), []);
}

proptest! {
    #[test]
    fn no_numbers_overflow(
        spans in proptest::array::uniform6(any::<u64>()),
        sizes in proptest::array::uniform3(any::<u64>()),
        open: u32,
        load in (any::<u64>(), any::<u64>(), any::<u64>()),
    ) {
        let mut config = sound();
        config.source.duplicate_window = Span::millis(spans[0]);
        config.source.retention.max_age = Some(Span::millis(spans[1]));
        config.source.trim = Some(Trim { keep: Span::millis(spans[2]) });
        config.sink.flush.max_interval = Span::millis(spans[3]);
        if let Some(event_time) = &mut config.sink.event_time {
            event_time.allowed_lateness = Span::millis(spans[4]);
        }
        if let Some(window) = &mut config.dedup {
            window.window = Span::millis(spans[5]);
        }
        config.decode.max_bytes = ByteSize(sizes[0]);
        config.sink.file.target_size = ByteSize(sizes[1]);
        config.sink.flush.max_rows = sizes[2];
        config.sink.file.max_open_partitions = open;
        let load = Load {
            messages_per_second: load.0,
            bytes_per_message: load.1,
            memory: ByteSize(load.2),
        };
        let _ = lint_under(&config, &load);
    }

    #[test]
    fn a_higher_rate_never_makes_a_finding_go_away(slow in 1_u64..1_000_000, more in 0_u64..1_000_000) {
        let at = |rate| lint_under(&sound(), &Load { messages_per_second: rate, ..Load::default() });
        prop_assert!(at(slow).len() <= at(slow + more).len());
    }
}
