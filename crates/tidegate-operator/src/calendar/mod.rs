//! What the table's log holds: asked of a Job, because the operator opens no store.

mod ask;
mod book;
#[cfg(test)]
pub(crate) mod fixtures;
mod job;

pub(crate) use ask::{Answer, Ask, Purpose, answer, job_name};
pub(crate) use book::Book;
pub(crate) use job::calendar_job;
