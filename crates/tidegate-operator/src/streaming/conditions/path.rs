//! The conditions about the path of the data, from stream to table.

use tidegate_config::State;
use tidegate_types::{Reason, Span};

use super::evidence::{Evidence, no, yes};
use crate::status::{
    Answer, CAUGHT_UP, DEAD_LETTERING, GUARANTEE_MET, Outlook, Part, SINK_REACHABLE,
    SOURCE_DURABLE, SOURCE_REACHABLE, Verdict, answer, outlook,
};
use crate::streaming::problems::worst_of;

impl Evidence<'_> {
    pub(super) fn source_reachable(self) -> Answer {
        let agent = self.facts.agent();
        let found = self.reachable(
            SOURCE_REACHABLE,
            Part::Source,
            agent.and_then(|agent| agent.source.as_ref()),
            "the stream is there and whole",
        );
        // That somebody else keeps it from being trimmed does no harm now, and fills it in the end.
        let blocked = Reason::TrimBlocked;
        let trim = agent.and_then(|agent| agent.trim.as_ref());
        match trim.filter(|trim| {
            found.reason == Reason::Ok && Reason::from_word(&trim.reason) == Some(blocked)
        }) {
            Some(trim) => answer(Verdict::True, blocked, &*trim.message),
            None => found,
        }
    }

    pub(super) fn sink_reachable(self) -> Answer {
        self.reachable(
            SINK_REACHABLE,
            Part::Sink,
            self.facts.agent().and_then(|agent| agent.sink.as_ref()),
            "the table is there and the ledger's",
        )
    }

    /// The agent's word, unless somebody says that this very part is wrong.
    pub(super) fn reachable(
        self,
        kind: &str,
        about: Part,
        state: Option<&State>,
        well: &str,
    ) -> Answer {
        if let Some(problem) = worst_of(self.wrong, about) {
            return no(problem);
        }
        match state.and_then(|state| Some((Reason::from_word(&state.reason)?, &state.message))) {
            Some(_) if self.is_blind() => self.kept(kind),
            None => self.kept(kind),
            Some((Reason::Ok, _)) => yes(well),
            Some((reason, message)) if outlook(reason) == Outlook::Well => {
                answer(Verdict::True, reason, &**message)
            }
            Some((reason, message)) => answer(Verdict::False, reason, &**message),
        }
    }

    pub(super) fn source_durable(self) -> Answer {
        let state = self.facts.agent().and_then(|agent| agent.durable.as_ref());
        match state.and_then(|state| Some((Reason::from_word(&state.reason)?, &state.message))) {
            Some(_) if self.is_blind() => self.kept(SOURCE_DURABLE),
            None => self.kept(SOURCE_DURABLE),
            Some((Reason::Ok, _)) => yes("the broker keeps what it acknowledged"),
            Some((reason, message)) => answer(Verdict::False, reason, &**message),
        }
    }

    pub(super) fn guarantee_met(self) -> Answer {
        if let Some(problem) = worst_of(self.wrong, Part::Guarantee) {
            return no(problem);
        }
        let report = self.facts.agent().and_then(|agent| agent.guarantee.as_ref());
        match report {
            Some(_) if !self.is_blind() => yes("the path gives what is asked for"),
            _ => self.kept(GUARANTEE_MET),
        }
    }

    pub(super) fn caught_up(self) -> Answer {
        let lag = self.facts.agent().and_then(|agent| Some((agent.lag?, agent.lag_seconds?)));
        let Some((messages, seconds)) = lag.filter(|_| !self.is_blind()) else {
            // The agent answers and cannot count, because what it would count is out of reach.
            let source =
                worst_of(self.wrong, Part::Source).filter(|_| self.facts.agent().is_some());
            return source.map_or_else(
                || self.kept(CAUGHT_UP),
                |problem| answer(Verdict::Unknown, problem.reason, &*problem.message),
            );
        };
        let objective = self.facts.pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
        let old = |limit: Span| messages > 0 && seconds > limit.to_duration().as_secs();
        if let Some(freshness) = objective.filter(|freshness| old(*freshness)) {
            let message =
                format!("messages wait for longer than objectives.freshness, {freshness}");
            return answer(Verdict::False, Reason::Late, message);
        }
        if messages > 0 && seconds > self.facts.usual_delay().as_secs() {
            let message = "messages wait for longer than until the next commit; see status.lag";
            return answer(Verdict::False, Reason::Behind, message);
        }
        yes("what is published is soon in the table")
    }

    pub(super) fn dead_lettering(self) -> Answer {
        match self.facts.memory.writes_dead_letters(self.now) {
            Some(_) if self.is_blind() => self.kept(DEAD_LETTERING),
            None => self.kept(DEAD_LETTERING),
            Some(true) => {
                let message = "records became dead letters in the last 15 minutes; \
                               <table>/_dead_letters says which and why";
                answer(Verdict::True, Reason::DeadLettersWritten, message)
            }
            Some(false) => {
                answer(Verdict::False, Reason::Ok, "no dead letter in the last 15 minutes")
            }
        }
    }
}
