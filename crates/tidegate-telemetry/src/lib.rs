//! What a process says about itself: logs, metrics under stable names, and whether it is alive and
//! ready.
//!
//! Label values come from closed sets (a [`Reason`](tidegate_types::Reason), a partition number, the
//! enums here) or from the configuration (the pipeline's name), never from data or error texts.

mod agent_metrics;
mod families;
mod gate;
mod health;
mod http;
mod labels;
mod logs;
mod pages;
mod pipeline_metrics;
mod run_metrics;
#[cfg(test)]
mod testing;

pub use agent_metrics::AgentMetrics;
pub use families::MetricFamilies;
pub use gate::Gate;
pub use health::{Health, HealthReport, LoopState, Watched};
pub use http::{ServeError, Server, serve, serve_with};
pub use labels::{CommitOutcomeLabel, Throttle};
pub use logs::{LogError, LogFormat, LogPrinter, init_logs, standard_error};
pub use pages::{Answer, Pages};
pub use pipeline_metrics::{MetricsSnapshot, PipelineMetrics};
/// The set of metrics that [`serve`] prints.
pub use prometheus_client::registry::Registry;
pub use run_metrics::{RunMetrics, RunNumbers};
