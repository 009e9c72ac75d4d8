//! Who comes to the desk, and what is answered.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate_config::GivenUp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::messages::{ChunkResult, DeskAnswer};
use super::reply::{Reply, answer, refused};
use super::standing::Standing;
use super::token::DeskToken;
use crate::decide::DeskDecision;

/// The desk of one coordinator. It is closed until the plan is there.
#[derive(Debug, Default)]
pub struct ChunkDesk {
    pub(super) token: DeskToken,
    standing: Mutex<Option<Standing>>,
    /// Something was brought or given up.
    pub(super) changed: Notify,
}

impl ChunkDesk {
    /// A desk for those who know the token.
    #[must_use]
    pub fn new(token: DeskToken) -> Self {
        Self { token, ..Self::default() }
    }

    /// `GET <nonce>/<chunk>`: what the chunk's reader is to do. With `/alive` behind it the reader only
    /// says that it reads, so that both sides know that the other one lives.
    pub fn order(&self, rest: &str) -> Reply {
        let (rest, alive) = match rest.strip_suffix("/alive") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let asked = rest.split_once('/').and_then(|(nonce, n)| Some((nonce, n.parse().ok()?)));
        let Some((nonce, number)) = asked else {
            return refused(404, "ask for <nonce>/<chunk>");
        };
        let mut standing = self.standing();
        let Some(standing) = standing.as_mut() else { return not_yet() };
        let decision = standing.decide(nonce == standing.terms.pass.nonce, number);
        if decision == DeskDecision::Welcome {
            standing.heard = Instant::now();
            return match alive {
                true => answer(200, &DeskAnswer::Taken),
                false => answer(200, &DeskAnswer::Order(Box::new(standing.order_for(number)))),
            };
        }
        turned_away(decision, number)
    }

    /// `POST`: how the reading of a chunk ended.
    pub fn take(&self, body: &[u8]) -> Reply {
        let result = match ChunkResult::from_bytes(body) {
            Ok(result) => result,
            Err(what) => return refused(400, &what),
        };
        let mut standing = self.standing();
        let Some(standing) = standing.as_mut() else { return not_yet() };
        let own = result.pass == standing.terms.pass;
        let decision = standing.decide(own, result.chunk);
        if decision != DeskDecision::Welcome {
            return turned_away(decision, result.chunk);
        }
        standing.heard = Instant::now();
        let reply = standing.take(result);
        self.changed.notify_one();
        reply
    }

    /// `POST`: the Job of this attempt's readers was given up.
    pub fn give_up(&self, body: &[u8]) -> Reply {
        let Ok(told) = serde_json::from_slice::<GivenUp>(body) else {
            return refused(400, "say {nonce, message}");
        };
        let mut standing = self.standing();
        let Some(standing) = standing.as_mut() else { return not_yet() };
        if told.nonce != standing.terms.pass.nonce {
            return refused(409, "that is another attempt's");
        }
        if standing.missing == 0 {
            return answer(200, &DeskAnswer::AlreadyThere);
        }
        standing.give_up(told);
        self.changed.notify_one();
        answer(200, &DeskAnswer::Taken)
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Option<Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn turned_away(decision: DeskDecision, number: u32) -> Reply {
    match decision {
        DeskDecision::AlreadyThere | DeskDecision::Welcome => {
            answer(200, &DeskAnswer::AlreadyThere)
        }
        DeskDecision::Stranger => refused(409, "that attempt is over, or it is not the one here"),
        DeskDecision::NoSuchChunk => refused(404, &format!("the plan has no chunk {number}")),
    }
}

fn not_yet() -> Reply {
    refused(503, "nothing is planned yet")
}
