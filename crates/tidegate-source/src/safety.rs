//! Which settings of a stream can lose messages, and which brokers can.

use crate::stream_facts::{RetentionKind, StreamFacts};

/// The settings under which a stream may lose messages before they are read, each with what to do
/// (S1). Empty: the stream can carry ExactlyOnce.
///
/// `deny_purge` is not among them: it can never be unset, and trimming needs purges; a purge of unread
/// messages shows as a gap (S2).
#[must_use]
pub fn unsafe_settings(facts: &StreamFacts) -> Vec<String> {
    let mut problems = Vec::new();
    let mut refuse = |bad: bool, problem: &str| {
        if bad {
            problems.push(problem.to_owned());
        }
    };
    refuse(
        facts.retention == RetentionKind::WorkQueue,
        "retention is workqueue, which forgets ids of acknowledged messages: use limits",
    );
    refuse(
        facts.retention == RetentionKind::Interest,
        "retention is interest, which drops messages while no consumer exists: use limits",
    );
    refuse(facts.discard_old, "discard is old, so a full stream drops unread messages: use new");
    refuse(
        facts.max_messages_per_subject.is_some(),
        "max_msgs_per_subject drops unread messages: remove it",
    );
    refuse(facts.allow_message_ttl, "allow_msg_ttl lets unread messages expire: unset it");
    refuse(facts.allow_rollup, "allow_rollup_hdrs lets publishers replace messages: unset it");
    refuse(!facts.deny_delete, "deny_delete is not set, so messages can be deleted: set it");
    problems
}

/// Why the broker may lose what it acknowledged: a caveat, never a refusal.
#[must_use]
pub fn durability_caveats(facts: &StreamFacts) -> Vec<String> {
    let mut caveats = Vec::new();
    if facts.in_memory {
        caveats.push("messages are kept in memory only".to_owned());
    }
    if facts.replicas < 3 {
        caveats.push(format!("{} replica(s): a lost disk loses messages", facts.replicas));
    }
    if facts.persists_late {
        caveats.push("persist_mode is async: messages are acknowledged before written".to_owned());
    }
    match facts.sync_always {
        Some(true) => {}
        Some(false) => caveats.push("the broker does not write through (sync_interval)".to_owned()),
        None => caveats.push("the broker does not tell whether it writes through".to_owned()),
    }
    caveats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream_facts::tests::safe_facts;

    #[test]
    fn s1_each_setting_that_can_lose_messages_is_refused() {
        assert_eq!(unsafe_settings(&safe_facts()), Vec::<String>::new());
        type Change = fn(&mut StreamFacts);
        let cases: [(&str, Change); 7] = [
            ("workqueue", |f| f.retention = RetentionKind::WorkQueue),
            ("interest", |f| f.retention = RetentionKind::Interest),
            ("discard", |f| f.discard_old = true),
            ("max_msgs_per_subject", |f| f.max_messages_per_subject = Some(1)),
            ("allow_msg_ttl", |f| f.allow_message_ttl = true),
            ("allow_rollup", |f| f.allow_rollup = true),
            ("deny_delete", |f| f.deny_delete = false),
        ];
        for (word, change) in cases {
            let mut facts = safe_facts();
            change(&mut facts);
            let problems = unsafe_settings(&facts);
            assert_eq!(problems.len(), 1, "{word}");
            assert!(problems[0].contains(word), "{problems:?}");
        }
    }

    #[test]
    fn durability_is_a_caveat_and_not_a_refusal() {
        let mut facts = safe_facts();
        facts.sync_always = Some(true);
        assert_eq!(durability_caveats(&facts), Vec::<String>::new());
        facts.replicas = 1;
        facts.sync_always = None;
        assert_eq!(durability_caveats(&facts).len(), 2);
        assert_eq!(unsafe_settings(&facts), Vec::<String>::new());
    }
}
