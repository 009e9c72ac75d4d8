//! What the builders make of a pipeline that says little and of one that says everything.

mod fixture;
mod network;
mod properties;
mod snapshots;
