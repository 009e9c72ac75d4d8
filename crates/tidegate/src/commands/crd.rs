//! `tidegate crd`: the definitions of the custom resources, for `kubectl apply`.

use crate::failure::Failure;
use crate::output::say;

/// Prints the definitions as documents of one YAML file.
pub(crate) fn crd() -> Result<(), Failure> {
    let documents = tidegate_api::definitions().map(|definition| definition.yaml());
    say(documents.join("---\n").trim_end()).map_err(Failure::of)
}
