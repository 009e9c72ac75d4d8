//! A configuration that nothing is wrong with, to change in one place.

use tidegate_config::*;
use tidegate_types::*;

pub(crate) fn sound() -> PipelineConfig {
    PipelineConfig {
        name: "analytics/clicks".into(),
        ledger: Ledger::new("analytics.clicks").expect("a ledger name"),
        guarantee: Guarantee::ExactlyOnce,
        source: JetStreamSource {
            servers: vec!["nats://nats:4222".into()],
            stream: "CLICKS".into(),
            subjects: vec!["clicks.>".into()],
            partitioning: Partitioning::Subject { partitions: 8, id_subject_stable: true },
            retention: Retention {
                max_bytes: Some(ByteSize::mib(50 << 10)),
                max_age: Some(Span::seconds(72 * 3_600)),
                replicas: 3,
            },
            duplicate_window: Span::seconds(120),
            trim: Some(Trim { keep: Span::seconds(7_200) }),
            start_from: StartFrom::All,
            on_source_reset: OnSourceReset::Halt,
            on_gap: OnGap::Halt,
            credentials: None,
            admin_credentials: None,
            tls: None,
        },
        decode: Decode {
            on_error: BadRowPolicy::DeadLetter,
            coercion: Coercion::None,
            compression: PayloadCompression::None,
            max_bytes: ByteSize::mib(1),
            max_depth: 64,
        },
        schema: Schema {
            evolution: Evolution::AddColumns,
            unknown_fields: UnknownFields::Ignore,
            fields: Vec::new(),
        },
        filter: None,
        dedup: Some(DuplicateWindow {
            key: DedupKey::Header("Nats-Msg-Id".into()),
            window: Span::seconds(3_600),
            keys: KeyPrecision::Exact,
            on_missing_key: MissingKeyPolicy::DeadLetter,
        }),
        sink: Sink {
            url: "s3://lake/clicks".into(),
            secret: None,
            endpoint: None,
            s3: S3Options::default(),
            delta: DeltaTable::default(),
            partition_by: vec![PartitionColumn {
                field: "ts".into(),
                transform: PartitionTransform::Day,
            }],
            file: FilePolicy {
                target_size: ByteSize::mib(256),
                compression: Compression::ZSTD,
                max_open_partitions: 64,
            },
            flush: FlushPolicy {
                max_interval: Span::seconds(60),
                max_rows: 2_000_000,
                idle_after: Span::seconds(20),
            },
            event_time: Some(EventTime {
                field: "ts".into(),
                allowed_lateness: Span::seconds(7_200),
                late_policy: LatePolicy::Append,
                after_repair: AfterRepairPolicy::DeadLetter,
            }),
        },
        dead_letter: DeadLetter {
            breaker: Some(Breaker { max_percent: 5, over: Span::seconds(300) }),
        },
    }
}
