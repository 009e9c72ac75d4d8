//! What a recipe passes to a test, and what a test has to tell.

use std::fmt::{Debug, Display};
use std::str::FromStr;

/// The number in a variable of the environment, such as `CASES`.
pub(crate) fn parameter<T>(name: &str, default: T) -> T
where
    T: FromStr,
    T::Err: Debug,
{
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error:?}"))
        }
        _ => default,
    }
}

/// Says a figure.
#[expect(clippy::print_stderr, reason = "figures are what these tests are run for")]
pub(crate) fn say(figure: impl Display) {
    eprintln!("{figure}");
}
