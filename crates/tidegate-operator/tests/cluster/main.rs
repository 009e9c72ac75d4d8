//! The operator on a real Kubernetes API server, a file per behaviour.
//!
//! Most tests play with stand-ins for pods; those that follow data run the real agent and workers as
//! processes, with a real broker. Each has a namespace of its own and an operator that may work there
//! only, under the chart's own service account and Role.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

/// The paths of all names here begin with `cluster`, so that they can be left out where no control plane
/// can be built.
#[path = "."]
mod cluster {
    mod chunks;
    mod create;
    mod definition;
    mod deletion;
    mod edit;
    mod flow;
    mod malformed;
    mod operators;
    mod real_runs;
    mod repair;
    mod runs;
    mod scaling;
    mod schedule;
    mod streamed_repair;
    mod support;
}
