//! The question, and how its Job answered.

use jiff::Timestamp;
use serde::Deserialize;
use tidegate_config::{Calendar, content_hash};
use tidegate_types::{DataInterval, Reason};

use crate::pods::{End, Ended};

/// Who wants to know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// The schedule.
    Schedule,
    /// A run over many intervals, by its uid.
    Parent(String),
}

/// What the log is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) purpose: Purpose,
    pub(crate) range: DataInterval,
}

/// What its Job said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing yet.
    Pending,
    /// What the log holds.
    Known(Calendar),
    /// It failed then, and why.
    Failed { at: Timestamp, reason: Reason, why: String },
}

/// What the pod leaves behind when it fails.
#[derive(Debug, Deserialize)]
struct LastWords {
    reason: String,
    #[serde(default)]
    message: String,
}

/// The name of the Job of a question: one question has one Job, whoever asks how often.
pub(crate) fn job_name(pipeline: &str, config_hash: &str, ask: &Ask) -> String {
    let who = match &ask.purpose {
        Purpose::Schedule => "schedule",
        Purpose::Parent(uid) => uid,
    };
    let text = format!("{who} {} {config_hash}", ask.range);
    format!("{pipeline}-calendar-{}", content_hash(text.as_bytes()))
}

/// What became of it.
pub(crate) fn answer(ended: Option<&Ended>) -> Answer {
    let Some(Ended { at, end }) = ended else { return Answer::Pending };
    let failed = |why: String| Answer::Failed { at: *at, reason: Reason::PodFailing, why };
    match end {
        End::Exit { code: 0, said } => match serde_json::from_str(said) {
            Ok(calendar) => Answer::Known(calendar),
            Err(_) => failed("what it said cannot be read".to_owned()),
        },
        End::Exit { code, said } => match serde_json::from_str::<LastWords>(said) {
            Ok(LastWords { reason, message }) => {
                let reason = Reason::from_word(&reason).unwrap_or(Reason::PodFailing);
                Answer::Failed { at: *at, reason, why: message }
            }
            Err(_) => failed(format!("it ended with exit code {code}: {}", said.trim())),
        },
        End::Unheard => failed("nobody heard what it said".to_owned()),
        End::Deadline { .. } => failed("it took too long".to_owned()),
        End::Lost => failed("its pod was lost".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_the_pod_left_behind() {
        let at = Timestamp::UNIX_EPOCH;
        let of = |end| answer(Some(&Ended { at, end }));
        let exit = |code, said: &str| End::Exit { code, said: said.to_owned() };
        assert_eq!(answer(None), Answer::Pending);
        let hour = "1970-01-01T00:00:00Z/1970-01-01T01:00:00Z";
        let known = of(exit(0, &format!("{{\"done\": [\"{hour}\"]}}")));
        let done = vec![hour.parse().unwrap()];
        assert_eq!(known, Answer::Known(Calendar { done, ..Calendar::default() }));
        for (end, words) in [
            (exit(0, "surprise"), "cannot be read"),
            (exit(75, "{\"reason\":\"SinkUnreachable\",\"message\":\"no answer\"}"), "no answer"),
            (exit(137, ""), "137"),
            (End::Unheard, "heard"),
            (End::Deadline { said: String::new() }, "too long"),
            (End::Lost, "lost"),
        ] {
            let answer = of(end);
            let Answer::Failed { why, .. } = &answer else { panic!("{answer:?}") };
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn one_question_has_one_job_and_its_name_is_a_label() {
        let range = "1970-01-01T00:00:00Z/1970-01-01T01:00:00Z".parse().unwrap();
        let ask = |purpose| Ask { purpose, range };
        let pipeline = "p".repeat(41);
        let schedule = job_name(&pipeline, "hash", &ask(Purpose::Schedule));
        assert_eq!(schedule, job_name(&pipeline, "hash", &ask(Purpose::Schedule)));
        assert!(schedule.len() <= 63, "{schedule}");
        let parent = ask(Purpose::Parent("uid".to_owned()));
        assert_ne!(schedule, job_name(&pipeline, "hash", &parent));
        assert_ne!(schedule, job_name(&pipeline, "other", &ask(Purpose::Schedule)));
    }
}
