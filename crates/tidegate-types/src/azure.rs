//! A container of an Azure account, as the address of its file system names it.

/// What `container@account.dfs.core.windows.net` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureContainer {
    /// The container.
    pub container: String,
    /// The account.
    pub account: String,
    /// What follows the service in the host, such as `core.windows.net`: each cloud has its own.
    pub cloud: String,
}

impl AzureContainer {
    /// Reads what stands between `abfss://` and the path; none when it names no container and account, or
    /// more than these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (container, host) = text.split_once('@')?;
        let (account, rest) = host.split_once('.')?;
        let cloud = rest.strip_prefix("dfs.")?;
        let is_whole = is_name(container) && is_name(account) && cloud.split('.').all(is_name);
        is_whole.then(|| Self {
            container: container.to_ascii_lowercase(),
            account: account.to_ascii_lowercase(),
            cloud: cloud.to_ascii_lowercase(),
        })
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_container_account_and_cloud_and_nothing_else() {
        let found = AzureContainer::parse("lake@Shop.dfs.core.windows.net").expect("an address");
        let parts = (found.container.as_str(), found.account.as_str(), found.cloud.as_str());
        assert_eq!(parts, ("lake", "shop", "core.windows.net"));
        for wrong in [
            "shop.dfs.core.windows.net",
            "lake@shop",
            "lake@shop.blob.core.windows.net",
            "lake@shop.z1.dfs.core.windows.net",
            "lake:key@shop.dfs.core.windows.net",
            "lake@shop.dfs.core.windows.net:1",
            "lake@x@shop.dfs.core.windows.net",
            "lake@shop.dfs.",
            "@shop.dfs.core.windows.net",
        ] {
            assert_eq!(AzureContainer::parse(wrong), None, "{wrong}");
        }
    }
}
