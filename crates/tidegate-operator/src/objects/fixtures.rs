//! Installations to build for.

use crate::options::{CloudIdentity, PodSettings};

/// What an installation without any value set gives to pods.
pub(crate) fn settings() -> PodSettings {
    PodSettings {
        image: "registry.example/tidegate:1.0.0".to_owned(),
        image_pull_policy: "IfNotPresent".to_owned(),
        environment: Vec::new(),
        private_ca_config_map: None,
        cloud_identity: CloudIdentity::None,
        operator_namespace: "tidegate-system".to_owned(),
        operator_labels: pairs(&[("app.kubernetes.io/component", "operator")]),
        scraper_namespace_labels: Vec::new(),
    }
}

/// What an installation with every value set gives to pods.
pub(crate) fn full_settings() -> PodSettings {
    PodSettings {
        environment: pairs(&[
            ("TIDEGATE_LOG", "info"),
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("NO_PROXY", ".svc"),
            ("POD_NAME", "never"),
        ]),
        private_ca_config_map: Some("corporate-ca".to_owned()),
        cloud_identity: CloudIdentity::EksPodIdentity,
        scraper_namespace_labels: pairs(&[("kubernetes.io/metadata.name", "monitoring")]),
        ..settings()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
