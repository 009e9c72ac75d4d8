//! Who the pods are.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::cluster::names;
use crate::validation::ValidatedPipeline;

/// An account without any rights, whose token no pod gets; none when the spec names an account.
pub(crate) fn build<C>(pipeline: &ValidatedPipeline<C>) -> Option<ServiceAccount> {
    if pipeline.spec.service_account_name.is_some() {
        return None;
    }
    Some(ServiceAccount {
        metadata: metadata::shared(pipeline, names::shared(&pipeline.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

/// The account that the pods run as.
pub(crate) fn name<C>(pipeline: &ValidatedPipeline<C>) -> String {
    let named = pipeline.spec.service_account_name.clone();
    named.unwrap_or_else(|| names::shared(&pipeline.name))
}
