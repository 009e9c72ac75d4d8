//! What parsers of text read.

use std::io::Read;

use super::trouble::Cause;

/// The content of one file.
pub(crate) struct Text<'a> {
    /// The file, for messages.
    pub(crate) path: &'a str,
    /// Its content, unpacked.
    pub(crate) input: &'a mut dyn Read,
    /// Why reading ends early, where that is not the content's fault.
    pub(crate) cause: &'a Cause,
}
