//! Sending what differs from what is there, and removing what is no longer wanted.

mod applier;
mod compare;
pub(crate) mod kind;
mod once;
pub(crate) mod requests;
mod rewritten;
pub(crate) mod stamp;

pub(crate) use applier::{Applier, Changes};
pub(crate) use once::{create, remove};
pub(crate) use rewritten::Rewrites;
