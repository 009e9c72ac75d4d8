//! Tests of the log over real stores: memory, local directory, and both with faults.

mod conformance;
mod evolution;
mod faulty;
mod fixture;
mod history;
mod settling;
