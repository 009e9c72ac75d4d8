//! What a process says about itself: logs, metrics under stable names, and whether it is alive and
//! ready.
//!
//! Label values come from closed sets (a [`Reason`](tidegate_types::Reason), a partition number, the
//! enums here) or from the configuration (the pipeline's name), never from data or error texts.

mod families;
mod health;
mod http;
mod labels;
mod logs;
mod pipeline_metrics;

pub use families::MetricFamilies;
pub use health::{Health, HealthReport, LoopState};
pub use http::{ServeError, Server, serve};
pub use labels::{CommitOutcomeLabel, Throttle};
pub use logs::{LogError, LogFormat, LogPrinter, init_logs, standard_error};
pub use pipeline_metrics::{MetricsSnapshot, PipelineMetrics};
/// The set of metrics that [`serve`] prints.
pub use prometheus_client::registry::Registry;
