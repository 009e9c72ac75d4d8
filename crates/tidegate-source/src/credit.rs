//! How much the broker may have on its way to us.
//!
//! The window is two pulls of one batch each, so that the next batch travels while the last one is
//! worked on. The broker serves waiting pulls in turn; since a new one is only sent when a whole batch
//! fits into the window again, at most four are alive at a time, and each may bring a quarter of the
//! byte budget. What a pull that ended leaves unused is given back by the broker's closing status;
//! where that is lost, the credit comes back when the last pull has expired.

use std::time::Duration;

use tokio::time::Instant;

/// Pulls that can be alive at once: the byte budget is divided by it.
pub(crate) const PULLS_ALIVE: usize = 4;
/// Most messages of a pull: two of them stay far below the client's queue of 65,536, which would drop
/// deliveries silently when full.
const MOST_MESSAGES: usize = 16_384;

/// Outstanding credit.
#[derive(Debug)]
pub(crate) struct Credit {
    batch: usize,
    outstanding: usize,
    expires_at: Option<Instant>,
    /// The next message is larger than a pull may bring: it is asked for alone.
    oversized: bool,
}

/// A pull to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pull {
    /// How many messages.
    pub(crate) messages: usize,
    /// Whether the byte limit holds for it.
    pub(crate) limited: bool,
}

impl Credit {
    pub(crate) fn new(batch: usize) -> Self {
        let batch = batch.clamp(1, MOST_MESSAGES);
        Self { batch, outstanding: 0, expires_at: None, oversized: false }
    }

    /// Pulls of another size from now on. Beside those that are alive one more may be, once.
    pub(crate) fn resize(&mut self, batch: usize) {
        self.batch = batch.clamp(1, MOST_MESSAGES);
    }

    /// The pull that should be sent now, if any.
    pub(crate) fn wanted(&self) -> Option<Pull> {
        if self.oversized {
            return (self.outstanding == 0).then_some(Pull { messages: 1, limited: false });
        }
        let fits = self.outstanding + self.batch <= 2 * self.batch;
        fits.then_some(Pull { messages: self.batch, limited: true })
    }

    /// Notes that a pull was sent.
    pub(crate) fn sent(&mut self, pull: Pull, now: Instant, expiry: Duration) {
        self.outstanding += pull.messages;
        self.expires_at = Some(now + expiry);
        if !pull.limited {
            self.oversized = false;
        }
    }

    /// Notes a delivery.
    pub(crate) fn delivered(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// Notes that a pull ended with `unused` messages.
    pub(crate) fn ended(&mut self, unused: usize) {
        self.outstanding = self.outstanding.saturating_sub(unused);
    }

    /// Notes that the next message does not fit into a limited pull.
    pub(crate) fn next_is_oversized(&mut self) {
        self.oversized = true;
    }

    /// Takes back everything when no pull can be alive any more, and says whether that gave anything.
    /// To be called before waiting.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let expired = self.expires_at().is_some_and(|at| now >= at);
        if expired {
            self.outstanding = 0;
        }
        expired
    }

    /// When [`expire`](Self::expire) will have something to do.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.expires_at.filter(|_| self.outstanding > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPIRY: Duration = Duration::from_secs(10);

    fn fill(credit: &mut Credit, now: Instant) -> usize {
        let mut sent = 0;
        while let Some(pull) = credit.wanted() {
            credit.sent(pull, now, EXPIRY);
            sent += 1;
        }
        sent
    }

    #[test]
    fn two_pulls_are_in_flight_and_a_third_follows_when_a_batch_is_through() {
        let now = Instant::now();
        let mut credit = Credit::new(10);
        assert_eq!(fill(&mut credit, now), 2);
        (0..9).for_each(|_| credit.delivered());
        assert_eq!(credit.wanted(), None);
        credit.delivered();
        assert_eq!(fill(&mut credit, now), 1);
    }

    #[test]
    fn credit_whose_closing_status_was_lost_comes_back() {
        let now = Instant::now();
        let mut credit = Credit::new(10);
        fill(&mut credit, now);
        credit.expire(now + EXPIRY - Duration::from_millis(1));
        assert_eq!(credit.wanted(), None);
        assert_eq!(credit.expires_at(), Some(now + EXPIRY));
        credit.expire(now + EXPIRY);
        assert_eq!(fill(&mut credit, now), 2);
    }

    #[test]
    fn a_message_larger_than_a_pull_is_asked_for_alone() {
        let now = Instant::now();
        let mut credit = Credit::new(10);
        fill(&mut credit, now);
        credit.next_is_oversized();
        credit.ended(10);
        assert_eq!(credit.wanted(), None, "another pull is still open");
        credit.ended(10);
        assert_eq!(credit.wanted(), Some(Pull { messages: 1, limited: false }));
        assert_eq!(fill(&mut credit, now), 2, "and the window opens again behind it");
    }

    proptest! {
        #[test]
        fn the_window_is_never_exceeded_and_few_pulls_are_alive(
            batch in 1_usize..50, turns in proptest::collection::vec(0_usize..8, 1..400),
        ) {
            // The broker as it is: waiting pulls are served in turn.
            let now = Instant::now();
            let mut credit = Credit::new(batch);
            let mut alive: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
            for turn in turns {
                while let Some(pull) = credit.wanted() {
                    credit.sent(pull, now, EXPIRY);
                    alive.push_back(pull.messages);
                }
                prop_assert!(alive.iter().sum::<usize>() <= 2 * batch);
                prop_assert!(alive.len() <= PULLS_ALIVE, "{alive:?}");
                for _ in 0..turn {
                    let Some(left) = alive.pop_front() else { break };
                    credit.delivered();
                    if left > 1 { alive.push_back(left - 1); }
                }
            }
        }
    }
}
