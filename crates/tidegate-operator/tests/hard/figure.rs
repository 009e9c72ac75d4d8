//! What a test has to tell.

use std::fmt::Display;

/// Says a figure.
#[expect(clippy::print_stderr, reason = "figures are what these tests are run for")]
pub(crate) fn say(figure: impl Display) {
    eprintln!("{figure}");
}
