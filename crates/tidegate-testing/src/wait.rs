//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `condition` holds.
///
/// # Errors
///
/// When it does not hold within `limit`; the message names `what`.
pub async fn eventually(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<()> {
    let started = Instant::now();
    while !condition().await {
        if started.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_holds_ends_with_its_name() {
        let error = eventually("the moon", Duration::from_millis(30), async || false).await;
        assert!(error.unwrap_err().to_string().starts_with("the moon: not within"));
    }

    #[tokio::test]
    async fn a_condition_is_asked_until_it_holds() {
        let mut left = 3;
        eventually("three looks", Duration::from_secs(5), || {
            left -= 1;
            std::future::ready(left == 0)
        })
        .await
        .unwrap();
        assert_eq!(left, 0);
    }
}
