//! What the API server was seen to hold, and how what is ours there is named and told from what is not.

mod cache;
mod caches;
pub(crate) mod labels;
pub(crate) mod names;
mod owner;
mod resources;

pub(crate) use cache::{Cache, Change};
pub(crate) use caches::Caches;
pub(crate) use owner::{Owner, Ownership, controlled_by, ownership};
pub(crate) use resources::{pipeline_resource, run_resource};
