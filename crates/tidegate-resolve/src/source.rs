//! The source.

use tidegate_api::{
    JetStreamSpec, OnGap as GapSpec, OnSourceReset as ResetSpec, PartitioningSpec,
    PartitioningType, SourceSpec, StartFromSpec, StartType, TlsSpec,
};
use tidegate_config::{
    FileRef, JetStreamSource, OnGap, OnSourceReset, Partitioning, Retention, StartFrom, Tls, Trim,
};

use crate::faults::Faults;

const PLACE: &str = "spec.source.jetStream";
/// Where the number stands in a subject pattern.
const PLACEHOLDER: &str = "{partition}";
/// Copies of a stream that a laptop can give; a cluster asks for more.
const DEFAULT_REPLICAS: u32 = 1;

pub(crate) fn resolve(spec: &SourceSpec, faults: &mut Faults) -> Option<JetStreamSource> {
    let Some(stream) = &spec.jet_stream else {
        faults.add(PLACE, "is missing");
        return None;
    };
    let subjects = stream.subjects.clone().unwrap_or_default();
    for (index, subject) in subjects.iter().enumerate() {
        check_subject(subject, &format!("{PLACE}.subjects[{index}]"), faults);
    }
    faults.positive(&format!("{PLACE}.duplicateWindow"), stream.duplicate_window);
    Some(JetStreamSource {
        servers: stream.servers.clone().unwrap_or_default(),
        stream: stream.stream.clone(),
        subjects,
        partitioning: partitioning(&stream.partitioning, faults),
        retention: retention(stream, faults),
        duplicate_window: stream.duplicate_window,
        trim: stream.trim.as_ref().map(|trim| Trim { keep: trim.keep }),
        start_from: start_from(&stream.start_from, faults),
        on_source_reset: match stream.on_source_reset {
            ResetSpec::Halt => OnSourceReset::Halt,
            ResetSpec::NewIncarnation => OnSourceReset::NewIncarnation,
        },
        on_gap: match stream.on_gap {
            GapSpec::Halt => OnGap::Halt,
            GapSpec::RecordAndContinue => OnGap::RecordAndContinue,
        },
        credentials: stream.credentials.as_ref().map(|found| found.secret_ref.name.clone()),
        admin_credentials: stream
            .admin_credentials
            .as_ref()
            .map(|found| found.secret_ref.name.clone()),
        tls: stream.tls.as_ref().map(tls),
    })
}

fn partitioning(spec: &PartitioningSpec, faults: &mut Faults) -> Partitioning {
    let partitions = spec.partitions.unwrap_or(1);
    match spec.partitioning_type {
        PartitioningType::None => Partitioning::None,
        PartitioningType::Subject => Partitioning::Subject {
            partitions,
            id_subject_stable: spec.id_subject_stable.unwrap_or(false),
        },
        PartitioningType::Declared => {
            let pattern = spec.subject_pattern.clone().unwrap_or_default();
            check_pattern(&pattern, faults);
            Partitioning::Declared { partitions, subject_pattern: pattern }
        }
    }
}

fn check_pattern(pattern: &str, faults: &mut Faults) {
    let place = format!("{PLACE}.partitioning.subjectPattern");
    if pattern.matches(PLACEHOLDER).count() != 1 {
        faults.add(&place, format!("{pattern:?} does not have {PLACEHOLDER} exactly once"));
        faults.instead("write the subjects of one partition, such as clicks.{partition}.>");
        return;
    }
    check_subject(&pattern.replace(PLACEHOLDER, "0"), &place, faults);
}

/// NATS' own grammar: `*` stands for a whole token and `>` for all that follow.
fn check_subject(subject: &str, place: &str, faults: &mut Faults) {
    let tokens: Vec<&str> = subject.split('.').collect();
    let last = tokens.len() - 1;
    let broken = tokens.iter().enumerate().any(|(at, token)| {
        token.is_empty()
            || (token.contains('*') && *token != "*")
            || (token.contains('>') && (*token != ">" || at != last))
            || token.contains(['{', '}'])
    });
    if broken {
        faults.add(place, format!("{subject:?} is no subject"));
        faults.instead("write tokens joined by dots, `*` for one whole token, `>` only at the end");
    }
}

fn retention(stream: &JetStreamSpec, faults: &mut Faults) -> Retention {
    let spec = stream.retention.clone().unwrap_or_default();
    if let Some(max_age) = spec.max_age {
        faults.positive(&format!("{PLACE}.retention.maxAge"), max_age);
    }
    Retention {
        max_bytes: spec.max_bytes,
        max_age: spec.max_age,
        replicas: spec.replicas.unwrap_or(DEFAULT_REPLICAS),
    }
}

fn start_from(spec: &StartFromSpec, faults: &mut Faults) -> StartFrom {
    match spec.start_type {
        StartType::All => StartFrom::All,
        StartType::New => StartFrom::New,
        StartType::Sequence => StartFrom::Sequence(spec.sequence.unwrap_or(1)),
        StartType::Time => {
            let text = spec.time.as_deref().unwrap_or_default();
            match text.parse::<jiff::Timestamp>() {
                Ok(instant) => StartFrom::Time(instant.as_microsecond()),
                Err(_) => {
                    faults
                        .add(format!("{PLACE}.startFrom.time"), format!("{text:?} is no instant"));
                    faults.instead("write RFC 3339 with a zone, such as 2026-01-01T00:00:00Z");
                    StartFrom::All
                }
            }
        }
    }
}

fn tls(spec: &TlsSpec) -> Tls {
    Tls {
        ca: spec.ca_ref.as_ref().map(|ca| FileRef { name: ca.name.clone(), key: ca.key.clone() }),
        client_secret: spec.client_secret_ref.as_ref().map(|secret| secret.name.clone()),
    }
}
