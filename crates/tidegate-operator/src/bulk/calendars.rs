//! Asking the table's log, one question at a time.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use tidegate_types::Reason;

use super::memory::BulkMemory;
use super::runs_seen::RunsSeen;
use super::terms::Stand;
use crate::apply::{Applier, create};
use crate::calendar::{Answer, Ask, Book, answer, calendar_job, job_name};
use crate::cluster::labels::{self, Component};
use crate::pods::ended;

/// How long after a question failed it is asked again.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Asks what somebody wants to know, takes in what was answered, and removes the Jobs of other questions.
pub(super) async fn ask_calendar(seen: &mut RunsSeen<'_>, memory: &mut BulkMemory, asks: &[Ask]) {
    let Stand::There(pipeline, _) = seen.field.stand else { return };
    let Some(owner) = seen.field.owner else { return };
    let mut kept = BTreeSet::new();
    if let Some(ask) = asks.first() {
        let name = job_name(&pipeline.name, &pipeline.config_hash, ask);
        let job = seen.jobs.iter().find(|job| job.name_any() == name).cloned();
        let stays = match job {
            Some(job) => take_answer(seen, memory, ask, &job),
            None => {
                let job = calendar_job(pipeline, &seen.field.context.options.pods, ask);
                let namespace = &seen.field.key.namespace;
                let made = create(seen.field.context, namespace, job).await;
                seen.note(made.map(drop))
            }
        };
        if stays {
            kept.insert(name);
        }
        seen.done.is_busy = true;
    }
    let asks = |job: &Job| labels::is_of(job, Component::Calendar);
    let others = seen.jobs.iter().any(|job| asks(job) && !kept.contains(&job.name_any()));
    if others {
        let applier = Applier::new(seen.field.context, owner);
        let removed = applier.remove_all_but::<Job>(&kept).await;
        seen.note(removed);
    }
}

/// Whether the Job is still needed.
fn take_answer(seen: &mut RunsSeen<'_>, memory: &mut BulkMemory, ask: &Ask, job: &Job) -> bool {
    let now = seen.field.now;
    let ended = ended(job, seen.pods.iter().map(AsRef::as_ref));
    let (at, reason, why) = match answer(ended.as_ref()) {
        Answer::Pending => return true,
        Answer::Failed { at, reason, why } => (at, reason, why),
        Answer::Known(calendar) => match Book::of(&calendar, ask.range, now) {
            Some(book) => {
                memory.take(&ask.purpose, book);
                seen.done.reads_on = true;
                return false;
            }
            None => {
                let at = ended.map_or(now, |ended| ended.at);
                (at, Reason::PodFailing, "its answer is about nothing".to_owned())
            }
        },
    };
    seen.done.calendar_trouble = Some((reason, why));
    // A pod's clock that runs ahead must not hold it up.
    let again = at.min(now).checked_add(AGAIN_AFTER).unwrap_or(now);
    again > now
}
