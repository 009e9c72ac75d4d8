//! Keys of a store that are read again while the store is open, and who we are to S3 without any.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use object_store::azure::{AzureAccessKey, AzureCredential};
use tidegate_types::Secret;

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

/// A key of an Azure storage account. Never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureKey {
    /// The account's, in base64.
    Account(Secret<String>),
    /// A shared access signature, `sv=…&sig=…`.
    Signature(Secret<String>),
}

/// How we show a store who we are.
#[derive(Debug, Clone)]
pub enum Keys {
    /// To S3.
    S3(Arc<dyn KeySource<AccessKey>>),
    /// To Azure.
    Azure(Arc<dyn KeySource<AzureKey>>),
    /// To Google: a service account's JSON. It is read once, and what is made of it lives for an hour.
    Google(Secret<String>),
}

/// Where a store's key is read: files that somebody may replace.
pub trait KeySource<K>: fmt::Debug + Send + Sync {
    /// The key as it stands now.
    ///
    /// # Errors
    ///
    /// When it cannot be read; the last one is then used on.
    fn read(&self) -> Result<K, Cause>;
}

/// A key as the store's client takes it.
pub(super) trait ClientKey: Sized {
    /// The client's form.
    type Credential: fmt::Debug + Send + Sync + 'static;
    /// The store, for messages.
    const STORE: &'static str;

    /// In the client's form.
    fn for_client(self) -> Result<Self::Credential, Cause>;
}

impl ClientKey for AccessKey {
    type Credential = AwsCredential;
    const STORE: &'static str = "S3";

    fn for_client(self) -> Result<AwsCredential, Cause> {
        Ok(AwsCredential { key_id: self.id, secret_key: self.secret, token: self.token })
    }
}

impl ClientKey for AzureKey {
    type Credential = AzureCredential;
    const STORE: &'static str = "Azure";

    fn for_client(self) -> Result<AzureCredential, Cause> {
        Ok(match self {
            Self::Account(key) => AzureCredential::AccessKey(
                // The client's error may have the key in it.
                AzureAccessKey::try_new(key.expose().trim())
                    .map_err(|_| "the account's key is no base64")?,
            ),
            Self::Signature(signature) => {
                let signature = signature.expose().trim().trim_start_matches('?').as_bytes();
                let pairs = url::form_urlencoded::parse(signature).into_owned();
                AzureCredential::SASToken(pairs.collect())
            }
        })
    }
}

/// The key of a store, read now and then.
#[derive(Debug)]
pub(super) struct RereadKey<K: ClientKey> {
    source: Arc<dyn KeySource<K>>,
    known: Mutex<Option<(Instant, Arc<K::Credential>)>>,
}

impl<K: ClientKey> RereadKey<K> {
    pub(super) fn new(source: Arc<dyn KeySource<K>>) -> Self {
        Self { source, known: Mutex::new(None) }
    }

    fn key(&self, now: Instant) -> object_store::Result<Arc<K::Credential>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, key)) = known.as_ref()
            && now.saturating_duration_since(*read_at) < USED_FOR
        {
            return Ok(Arc::clone(key));
        }
        let key = match (self.source.read().and_then(K::for_client), known.as_ref()) {
            (Ok(key), _) => Arc::new(key),
            // A folder that is just being replaced.
            (Err(error), Some((_, last))) => {
                tracing::warn!(%error, "the store's key cannot be read again");
                Arc::clone(last)
            }
            (Err(source), None) => {
                return Err(object_store::Error::Generic { store: K::STORE, source });
            }
        };
        *known = Some((now, Arc::clone(&key)));
        Ok(key)
    }
}

impl<K: ClientKey + fmt::Debug> CredentialProvider for RereadKey<K> {
    type Credential = K::Credential;

    fn get_credential<'s, 'a>(
        &'s self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<K::Credential>>> + Send + 'a>>
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

    impl KeySource<AccessKey> for Files {
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
    fn keys_of_azure_are_taken_as_they_are_copied_and_not_printed() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let account = |text| AzureKey::Account(secret(text)).for_client();
        assert!(matches!(account("a2V5\n"), Ok(AzureCredential::AccessKey(_))));
        let error = account("k3y!").expect_err("no base64").to_string();
        assert!(!error.contains("k3y"), "{error}");
        let signature = AzureKey::Signature(secret("?sv=2026&sig=a%2Bb%3D"));
        assert!(!format!("{signature:?}").contains("sig"));
        let Ok(AzureCredential::SASToken(pairs)) = signature.for_client() else { panic!() };
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("sv", "2026"), ("sig", "a+b=")]);
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
