//! Keys of an S3 store that are read again while the store is open, and who we are without any.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

/// How long keys are used before they are read again: a key that was replaced is in use this soon, without
/// a restart, also while a commit is in doubt.
const USED_FOR: Duration = Duration::from_secs(10);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A key of an S3 store. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// The key.
    pub secret: String,
    /// A temporary key's token.
    pub token: Option<String>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}

/// Where a store's key is read: files that somebody may replace.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// The key as it stands now.
    ///
    /// # Errors
    ///
    /// When it cannot be read; the last one is then used on.
    fn read(&self) -> Result<AccessKey, Cause>;
}

/// The key of a store, read now and then.
#[derive(Debug)]
pub(super) struct RereadKey {
    source: Arc<dyn KeySource>,
    known: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

impl RereadKey {
    pub(super) fn new(source: Arc<dyn KeySource>) -> Self {
        Self { source, known: Mutex::new(None) }
    }

    fn key(&self, now: Instant) -> object_store::Result<Arc<AwsCredential>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, key)) = known.as_ref()
            && now.saturating_duration_since(*read_at) < USED_FOR
        {
            return Ok(Arc::clone(key));
        }
        let key = match (self.source.read(), known.as_ref()) {
            (Ok(AccessKey { id, secret, token }), _) => {
                Arc::new(AwsCredential { key_id: id, secret_key: secret, token })
            }
            // A folder that is just being replaced.
            (Err(error), Some((_, last))) => {
                tracing::warn!(%error, "the store's key cannot be read again");
                Arc::clone(last)
            }
            (Err(source), None) => {
                return Err(object_store::Error::Generic { store: "S3", source });
            }
        };
        *known = Some((now, Arc::clone(&key)));
        Ok(key)
    }
}

impl CredentialProvider for RereadKey {
    type Credential = AwsCredential;

    fn get_credential<'s, 'a>(
        &'s self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'a>>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(std::future::ready(self.key(Instant::now())))
    }
}

/// Who we are to a store when no key is given, from the variables that clouds set in pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// A key in the environment.
    Key,
    /// A token file that STS takes: IAM roles for service accounts.
    TokenFile,
    /// An endpoint of the container's: EKS Pod Identity, or ECS.
    Container,
    /// The machine's metadata endpoint, as the last resort, unless it is forbidden.
    Machine,
    /// None, and the machine must not be asked.
    Nobody,
}

impl Identity {
    /// What the store's client will choose, in its order.
    pub(super) fn of(environment: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
        let forbidden = environment("AWS_EC2_METADATA_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if set("AWS_ACCESS_KEY_ID") {
            Self::Key
        } else if set("AWS_WEB_IDENTITY_TOKEN_FILE") && set("AWS_ROLE_ARN") {
            Self::TokenFile
        } else if set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
            || (set("AWS_CONTAINER_CREDENTIALS_FULL_URI")
                && set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
        {
            Self::Container
        } else if forbidden {
            Self::Nobody
        } else {
            Self::Machine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Files(Mutex<Option<&'static str>>);

    impl KeySource for Files {
        fn read(&self) -> Result<AccessKey, Cause> {
            let id = self.0.lock().expect("not poisoned").ok_or("it is gone")?;
            Ok(AccessKey { id: id.to_owned(), secret: "s".to_owned(), token: None })
        }
    }

    #[test]
    fn a_key_that_was_replaced_is_used_soon_and_one_that_is_gone_is_used_on() {
        let files = Arc::new(Files(Mutex::new(None)));
        let put = |id| *files.0.lock().expect("not poisoned") = id;
        let keys = RereadKey::new(files.clone());
        let start = Instant::now();
        let id = |after: u64| {
            keys.key(start + Duration::from_secs(after)).map(|key| key.key_id.clone()).ok()
        };
        assert_eq!(id(0), None, "there is no key at all");
        put(Some("one"));
        assert_eq!(id(1).as_deref(), Some("one"));
        put(Some("two"));
        assert_eq!(id(5).as_deref(), Some("one"), "read a moment ago");
        assert_eq!(id(11).as_deref(), Some("two"));
        put(None);
        assert_eq!(id(30).as_deref(), Some("two"));
        put(Some("three"));
        assert_eq!(id(60).as_deref(), Some("three"));
    }

    #[test]
    fn keys_are_not_printed() {
        let (id, secret, token) = ("k3y".into(), "s3cr3t".into(), Some("t0ken".into()));
        let printed = format!("{:?}", AccessKey { id, secret, token });
        assert_eq!(printed, "AccessKey(…)");
    }

    #[test]
    fn the_identity_follows_the_environment_that_a_cloud_sets() {
        let identity = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> =
                set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Identity::of(|name| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
        };
        let forbidden = ("AWS_EC2_METADATA_DISABLED", "true");
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
        let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/var/run/token");
        let web = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token");
        for (set, expected) in [
            (vec![], Identity::Machine),
            (vec![forbidden], Identity::Nobody),
            (vec![("AWS_EC2_METADATA_DISABLED", "false")], Identity::Machine),
            (vec![forbidden, web, ("AWS_ROLE_ARN", "arn")], Identity::TokenFile),
            (vec![forbidden, web], Identity::Nobody),
            (vec![forbidden, full, token], Identity::Container),
            (vec![forbidden, full], Identity::Nobody),
            (vec![("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")], Identity::Container),
            (vec![("AWS_ACCESS_KEY_ID", "k"), full, token], Identity::Key),
            (vec![("AWS_ACCESS_KEY_ID", ""), full, token], Identity::Container),
        ] {
            assert_eq!(identity(&set), expected, "{set:?}");
        }
    }
}
