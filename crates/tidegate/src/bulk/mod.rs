//! Bulk pipelines on this machine: their runs as they come due, with retries, bars and closing words.

mod attempts;
mod display;
#[cfg(test)]
mod fixtures;
mod outlook;
mod plan;
mod rounds;
mod tally;
mod waves;
mod words;

pub(crate) use outlook::{outlook, refused_in_outlook};
pub(crate) use plan::{Edge, told};
pub(crate) use rounds::{Keeper, Pace};
pub(crate) use waves::{Wanted, Wave};
