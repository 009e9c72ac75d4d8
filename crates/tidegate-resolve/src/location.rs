//! The address of a table, or of a folder with files, in its one canonical form: `file:///…`, `s3://bucket/…`,
//! `abfss://container@account.dfs.…/…` or, of files, `gs://bucket/…`, without a slash at the end.

use std::path::{Path, PathBuf};

use tidegate_types::AzureContainer;
use url::Url;

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocationFault {
    pub(crate) problem: String,
    pub(crate) instead: String,
}

fn fault(problem: impl Into<String>, instead: &str) -> LocationFault {
    LocationFault { problem: problem.into(), instead: instead.to_owned() }
}

/// What an address is of.
struct Kind {
    is: &'static str,
    forms: &'static str,
}

const TABLE: Kind = Kind {
    is: "a table",
    forms: "write s3://bucket/path, abfss://container@account.dfs.core.windows.net/path, \
            file:///absolute/path or file:./relative/path",
};
const FILES: Kind = Kind {
    is: "a folder with files",
    forms: "write s3://bucket/path, gs://bucket/path, \
            abfss://container@account.dfs.core.windows.net/path, file:///absolute/path or \
            file:./relative/path",
};

/// The canonical address of a table; relative `file:` paths start at `directory`.
pub(crate) fn table_url(text: &str, directory: Option<&Path>) -> Result<String, LocationFault> {
    url_of(&TABLE, text, directory)
}

/// The canonical address of a folder with files, which may also be in a store that takes no tables.
pub(crate) fn files_url(text: &str, directory: Option<&Path>) -> Result<String, LocationFault> {
    match text.strip_prefix("gs://") {
        Some(rest) => bucket_url("gs", text, rest, &FILES),
        None => url_of(&FILES, text, directory),
    }
}

fn url_of(kind: &Kind, text: &str, directory: Option<&Path>) -> Result<String, LocationFault> {
    if let Some(rest) = text.strip_prefix("s3://") {
        return bucket_url("s3", text, rest, kind);
    }
    if let Some(rest) = text.strip_prefix("abfss://") {
        return azure_url(text, rest, kind);
    }
    let Some(rest) = text.strip_prefix("file:") else {
        return Err(fault(format!("{text:?} is no address of {}", kind.is), kind.forms));
    };
    file_url(rest, directory, kind)
}

fn bucket_url(scheme: &str, text: &str, rest: &str, kind: &Kind) -> Result<String, LocationFault> {
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?', '#']) {
        return Err(fault(format!("{text:?} does not name a bucket"), kind.forms));
    }
    Ok(format!("{scheme}://{bucket}{}", object_path(text, path)?))
}

/// The host is that of the account's file system, which is what other programs take.
fn azure_url(text: &str, rest: &str, kind: &Kind) -> Result<String, LocationFault> {
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(AzureContainer { container, account, cloud }) = AzureContainer::parse(place) else {
        let problem = format!("{text:?} does not name a container and its account");
        return Err(fault(problem, kind.forms));
    };
    Ok(format!("abfss://{container}@{account}.dfs.{cloud}{}", object_path(text, path)?))
}

/// The path of objects, with a slash in front unless it is empty.
fn object_path(text: &str, path: &str) -> Result<String, LocationFault> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err(fault(format!("{text:?} has . or .. in its path"), "write the path itself"));
    }
    if path.contains("//") {
        return Err(fault(format!("{text:?} has an empty path segment"), "remove one slash"));
    }
    Ok(segments.iter().map(|segment| format!("/{segment}")).collect())
}

/// `rest` is what follows `file:`. Two slashes would be followed by a host, so that only three, none,
/// or two before a dot can be meant.
fn file_url(rest: &str, directory: Option<&Path>, kind: &Kind) -> Result<String, LocationFault> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with(['/', '.']) => path,
        Some(host) => return Err(fault(format!("file://{host} names a host"), kind.forms)),
        None => rest,
    };
    if path.contains(['?', '#']) {
        return Err(fault(format!("{path:?} has ? or # in it"), "choose another directory name"));
    }
    let url = if path.starts_with('/') {
        Url::parse(&format!("file://{path}")).ok()
    } else {
        let Some(directory) = directory else {
            let instead = "write file:///absolute/path";
            return Err(fault(format!("{path:?} is relative to no directory"), instead));
        };
        // With ./ in front nothing in the path can pass for a scheme.
        Url::from_directory_path(directory).ok().and_then(|u| u.join(&format!("./{path}")).ok())
    };
    // By way of the path, so that slashes too many and encodings too many go.
    let path = url.and_then(|url| url.to_file_path().ok());
    let path: Option<PathBuf> = path.map(|path| path.components().collect());
    let url = path.as_ref().and_then(|path| Url::from_file_path(path).ok());
    match (path, url) {
        (Some(path), _) if path.parent().is_none() => {
            Err(fault("is the root of the file system", "name a directory"))
        }
        (_, Some(url)) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        _ => Err(fault(format!("{rest:?} is no path"), kind.forms)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_have_one_form() {
        let here = Some(Path::new("/home/me"));
        for (text, wanted) in [
            ("s3://lake/clicks", "s3://lake/clicks"),
            ("s3://lake/clicks/", "s3://lake/clicks"),
            ("s3://lake", "s3://lake"),
            (
                "abfss://lake@shop.dfs.core.windows.net/clicks/",
                "abfss://lake@shop.dfs.core.windows.net/clicks",
            ),
            ("abfss://lake@Shop.dfs.core.windows.net", "abfss://lake@shop.dfs.core.windows.net"),
            ("file:///data/clicks/", "file:///data/clicks"),
            ("file:./clicks", "file:///home/me/clicks"),
            ("file://./out/clicks", "file:///home/me/out/clicks"),
            ("file:../clicks", "file:///home/clicks"),
            ("file:clicks", "file:///home/me/clicks"),
            ("file:/data/clicks", "file:///data/clicks"),
            ("file:///data/my clicks", "file:///data/my%20clicks"),
            ("file:///data/my%20clicks", "file:///data/my%20clicks"),
            ("file:my clicks", "file:///home/me/my%20clicks"),
            ("file:///data//./clicks/../orders", "file:///data/orders"),
        ] {
            assert_eq!(table_url(text, here), Ok(wanted.to_owned()), "{text}");
        }
    }

    #[test]
    fn addresses_that_could_mean_something_else_are_refused() {
        for text in [
            "gs://lake/clicks",
            "s3://",
            "s3://a@lake/x",
            "s3://lake/../other",
            "s3://lake/a//b",
            "abfss://lake/clicks",
            "abfss://shop.dfs.core.windows.net/clicks",
            "abfss://lake@shop.blob.core.windows.net/clicks",
            "abfss://lake:key@shop.dfs.core.windows.net/clicks",
            "abfss://lake@shop.dfs.core.windows.net:1/clicks",
            "abfss://lake@shop.dfs.core.windows.net/a/../b",
            "abfss://lake@x@shop.dfs.core.windows.net/a",
            "abfss://lake@shop.z1.dfs.core.windows.net/a",
            "file://host/clicks",
            "file:///",
            "/data/clicks",
        ] {
            assert!(table_url(text, Some(Path::new("/home/me"))).is_err(), "{text}");
        }
        assert!(table_url("file:./clicks", None).is_err(), "no directory to start from");
    }

    #[test]
    fn files_may_be_where_no_table_can_be() {
        assert_eq!(files_url("gs://landing/in/", None), Ok("gs://landing/in".to_owned()));
        assert_eq!(files_url("s3://landing/in", None), Ok("s3://landing/in".to_owned()));
        for text in ["gs://", "gs://a@b/c", "gs://landing/../x"] {
            assert!(files_url(text, None).is_err(), "{text}");
        }
        let fault = files_url("/data/in", None).expect_err("no scheme");
        assert!(fault.problem.ends_with("is no address of a folder with files"), "{fault:?}");
        assert!(fault.instead.contains("gs://bucket/path"), "{fault:?}");
    }

    proptest! {
        #[test]
        fn no_address_panics_and_the_canonical_form_is_its_own(text in "(file:|s3://|abfss://a@b.dfs.c)[./a-z %#?@]{0,24}") {
            if let Ok(url) = table_url(&text, Some(Path::new("/home/me"))) {
                prop_assert!(!url.ends_with('/'));
                prop_assert_eq!(table_url(&url, None), Ok(url.clone()));
            }
        }
    }
}
