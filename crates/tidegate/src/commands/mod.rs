//! The subcommands: a file each, from arguments to an exit code.

pub(crate) mod agent;
pub(crate) mod backfill;
pub(crate) mod calendar;
pub(crate) mod cleanup;
pub(crate) mod crd;
pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod operator;
pub(crate) mod plan;
pub(crate) mod pod;
pub(crate) mod publish;
pub(crate) mod run;
pub(crate) mod transfer;
pub(crate) mod transfer_chunk;
pub(crate) mod validate;
pub(crate) mod verify;
pub(crate) mod worker;
