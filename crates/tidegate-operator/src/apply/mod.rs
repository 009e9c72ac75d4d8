//! Sending what differs from what is there, and removing what is no longer wanted.

mod applier;
mod compare;
pub(crate) mod kind;
mod rewritten;
pub(crate) mod stamp;

pub(crate) use applier::{Applier, Changes, this_one};
pub(crate) use rewritten::Rewrites;
