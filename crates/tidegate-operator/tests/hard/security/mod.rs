//! What the operator may do, what a pipeline may not ask for, and where secrets are not.

mod canaries;
mod endpoints;
mod posture;
mod rights;
