//! The sink.

use std::path::Path;

use tidegate_api::{
    AddressingStyle as AddressingSpec, FileSpec, FlushSpec, PartitionBySpec, S3Spec, SinkSpec,
    TransformName,
};
use tidegate_config::{
    AddressingStyle, DeltaTable, EventTime, FilePolicy, FlushPolicy, S3Options, Sink,
};
use tidegate_types::{PartitionColumn, PartitionTransform};

use crate::faults::Faults;
use crate::location;

pub(crate) fn resolve(
    spec: &SinkSpec,
    directory: Option<&Path>,
    faults: &mut Faults,
) -> Option<Sink> {
    let url = match location::table_url(&spec.storage.url, directory) {
        Ok(url) => Some(url),
        Err(fault) => {
            faults.add("spec.sink.storage.url", fault.problem);
            faults.instead(fault.instead);
            None
        }
    };
    let file = file(&spec.file, faults);
    let flush = flush(&spec.flush, faults);
    Some(Sink {
        url: url?,
        secret: spec.storage.secret_ref.as_ref().map(|secret| secret.name.clone()),
        endpoint: spec.storage.endpoint.as_deref().map(endpoint),
        s3: spec.storage.s3.as_ref().map(s3).unwrap_or_default(),
        delta: DeltaTable { shared: spec.delta.shared },
        partition_by: spec.partition_by.iter().map(partition).collect(),
        file,
        flush,
        event_time: spec.event_time.as_ref().map(|found| EventTime {
            field: found.field.clone(),
            allowed_lateness: found.allowed_lateness,
            late_policy: found.late_policy,
            after_repair: found.after_repair,
        }),
    })
}

pub(crate) fn s3(spec: &S3Spec) -> S3Options {
    S3Options {
        endpoint: spec.endpoint.as_deref().map(endpoint),
        region: spec.region.clone(),
        addressing_style: match spec.addressing_style {
            AddressingSpec::Virtual => AddressingStyle::Virtual,
            AddressingSpec::Path => AddressingStyle::Path,
        },
    }
}

pub(crate) fn endpoint(address: &str) -> String {
    address.trim_end_matches('/').to_owned()
}

fn partition(spec: &PartitionBySpec) -> PartitionColumn {
    let transform = match spec.transform {
        TransformName::Identity => PartitionTransform::Identity,
        TransformName::Hour => PartitionTransform::Hour,
        TransformName::Day => PartitionTransform::Day,
        TransformName::Month => PartitionTransform::Month,
        TransformName::Bucket => PartitionTransform::Bucket(spec.buckets.unwrap_or(1)),
    };
    PartitionColumn { field: spec.field.clone(), transform }
}

fn file(spec: &FileSpec, faults: &mut Faults) -> FilePolicy {
    if spec.target_size.0 == 0 {
        faults.add("spec.sink.file.targetSize", "is zero");
        faults.instead("write a size such as 256Mi");
    }
    FilePolicy {
        target_size: spec.target_size,
        compression: spec.compression,
        max_open_partitions: spec.max_open_partitions,
    }
}

fn flush(spec: &FlushSpec, faults: &mut Faults) -> FlushPolicy {
    faults.positive("spec.sink.flush.maxInterval", spec.max_interval);
    faults.positive("spec.sink.flush.idleAfter", spec.idle_after);
    FlushPolicy {
        max_interval: spec.max_interval,
        max_rows: spec.max_rows,
        idle_after: spec.idle_after,
    }
}
