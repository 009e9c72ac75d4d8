//! What a recipe passes to a test.

use std::env;
use std::fmt::Debug;
use std::str::FromStr;

/// The value of a variable of the environment, such as `CASES`; `default` when it is not there or empty.
///
/// # Panics
///
/// When there is a value that cannot be read: a test must not run with another one than it was asked for.
#[must_use]
pub fn parameter<T>(name: &str, default: T) -> T
where
    T: FromStr,
    T::Err: Debug,
{
    match env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error:?}"))
        }
        _ => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_there_is_the_default() {
        assert_eq!(parameter("TIDEGATE_TEST_NOT_THERE", 5), 5);
    }

    #[test]
    #[should_panic(expected = "PATH=")]
    fn a_value_that_cannot_be_read_is_no_default() {
        _ = parameter("PATH", 5);
    }
}
