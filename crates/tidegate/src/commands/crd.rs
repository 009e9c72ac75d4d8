//! `tidegate crd`: the custom resource definition, for `kubectl apply`.

use crate::failure::Failure;
use crate::output::say;

/// Prints the definition as YAML.
pub(crate) fn crd() -> Result<(), Failure> {
    say(tidegate_api::crd_yaml().trim_end()).map_err(Failure::of)
}
