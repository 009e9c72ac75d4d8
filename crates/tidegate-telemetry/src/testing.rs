//! What tests of metrics look at.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// What a scrape finds.
pub(crate) fn printed(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("writing to a string");
    text
}
