//! The operator under hardship, on a real Kubernetes API server: it dies at every request, everything
//! about its resources changes, and its rights are exactly those of the chart.
//!
//! The ground is that of the suite `cluster`. Figures are printed; `--nocapture` shows them.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

/// The paths of all names here begin with `cluster`, so that they can be left out where no control plane
/// can be built.
#[path = "."]
mod cluster {
    mod crash_points;
    mod figure;
    mod mutations;
    mod run_crash_points;
    mod security;
    mod snapshot;
    #[path = "../cluster/support/mod.rs"]
    mod support;
}
