//! Tests of the log over real stores: memory, local directory, S3, each with faults.

mod conformance;
mod evolution;
mod faulty;
mod fixture;
mod history;
mod s3;
mod settling;
mod speed;
