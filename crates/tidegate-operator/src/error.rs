//! Why the operator ends.

use thiserror::Error;

/// The operator cannot go on.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// There is no way to the API server.
    #[error("unable to find the API server, {looked} was looked at")]
    Connect {
        /// Where was looked.
        looked: &'static str,
        /// What was wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The endpoint could not be opened.
    #[error(transparent)]
    Endpoint {
        /// Where and why.
        #[from]
        source: tidegate_telemetry::ServeError,
    },
    /// There is no way to ask pods.
    #[error("unable to set up the client for pods")]
    PodClient {
        /// What the library said.
        #[source]
        source: reqwest::Error,
    },
    /// A part of the operator ended that never should.
    #[error("the {part} ended")]
    Ended {
        /// Which.
        part: &'static str,
        /// Why, when it is known.
        #[source]
        source: Option<tokio::task::JoinError>,
    },
}
