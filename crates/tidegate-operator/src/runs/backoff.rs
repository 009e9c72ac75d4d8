//! How long before another attempt.

use std::time::Duration;

use tidegate_api::RetrySpec;

/// The pause after the attempt of this number, which counts from 1.
pub(crate) fn pause(retry: &RetrySpec, attempt: u32) -> Duration {
    let backoff = &retry.backoff;
    let longest = backoff.max_duration.to_duration();
    let mut pause = backoff.duration.to_duration().min(longest);
    for _ in 1..attempt.min(64) {
        pause = pause.saturating_mul(backoff.factor.max(1)).min(longest);
    }
    pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_limit() {
        let retry = RetrySpec::default();
        let seconds: Vec<u64> = (1..=7).map(|attempt| pause(&retry, attempt).as_secs()).collect();
        assert_eq!(seconds, [30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(pause(&retry, u32::MAX).as_secs(), 600);
    }

    #[test]
    fn a_factor_of_one_stays_and_the_limit_holds_for_the_first_too() {
        let mut retry = RetrySpec::default();
        retry.backoff.factor = 1;
        assert_eq!(pause(&retry, 9), pause(&retry, 1));
        retry.backoff.max_duration = tidegate_types::Span::seconds(5);
        assert_eq!(pause(&retry, 1).as_secs(), 5);
    }
}
