//! One connection to the broker, and requests to its API.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{Client, ClientError, ConnectErrorKind, Event};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::authorities;
use crate::backoff;
use crate::error::{Cause, SourceError};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts before a fault that may pass is reported: with pauses of 0.1 to 1.6 s a broker that
/// restarts (1 to 3 s) is not noticed.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Who we are towards the broker. Never printed.
#[derive(Clone)]
pub enum Credentials {
    /// The text of a `.creds` file.
    CredentialsFile(String),
    /// The seed of an nkey.
    Nkey(String),
    /// User and password.
    UserPassword {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CredentialsFile(_) => "CredentialsFile(…)",
            Self::Nkey(_) => "Nkey(…)",
            Self::UserPassword { .. } => "UserPassword(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// Files for TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificate authorities to trust, and no others; none: the system's and
    /// [`ConnectOptions::private_authorities`].
    pub authorities: Option<PathBuf>,
    /// Certificate and key for client authentication.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How to connect.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// `nats://` or `tls://` addresses.
    pub servers: Vec<String>,
    /// Who we are; none: nobody in particular.
    pub credentials: Option<Credentials>,
    /// TLS is demanded when this is present; otherwise the addresses and the server decide.
    pub tls: Option<TlsFiles>,
    /// Certificates (PEM) of authorities to trust beside the system's.
    pub private_authorities: Option<Vec<u8>>,
    /// The name that the broker shows for this connection.
    pub client_name: String,
}

/// A connection. Clones share it; it re-connects by itself for as long as it is held.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    link: watch::Receiver<Link>,
}

/// How the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Link {
    /// How often it was made.
    connects: u64,
    /// The broker refuses to let us in again: our credentials were taken back, or are others by now.
    refused: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("reconnects", &self.reconnects()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`SourceError::Settings`] and [`SourceError::CredentialsRefused`] at once;
    /// [`SourceError::Unreachable`] after a few attempts.
    pub async fn connect(options: ConnectOptions) -> Result<Self, SourceError> {
        let mut attempt = 0;
        loop {
            let (told, link) = watch::channel(Link::default());
            let client_options = client_options(&options, told)?;
            match client_options.connect(options.servers.as_slice()).await {
                Ok(client) => return Ok(Self { client, link }),
                Err(error) => {
                    let error = connect_error(error);
                    attempt += 1;
                    if !error.is_transient() || attempt >= ATTEMPTS {
                        return Err(error);
                    }
                    pause(attempt).await;
                }
            }
        }
    }

    /// How often the connection was lost and made again. It rises at every reconnect, so that what
    /// must be checked again then (S1, S6) can be.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.link.borrow().connects.saturating_sub(1)
    }

    /// The version of the server at the other end.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// One request to the JetStream API, repeated a few times while the fault may pass. Only for
    /// requests that may be carried out twice.
    pub(crate) async fn ask<V: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &(impl Serialize + ?Sized + Sync),
    ) -> Result<V, SourceError> {
        let mut attempt = 0;
        loop {
            match self.ask_once(subject, payload).await {
                Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => {
                    attempt += 1;
                    pause(attempt).await;
                }
                other => return other,
            }
        }
    }

    /// One request to the JetStream API, sent once.
    pub(crate) async fn ask_once<V: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &(impl Serialize + ?Sized + Sync),
    ) -> Result<V, SourceError> {
        let not_understood = |source: serde_json::Error| SourceError::Protocol {
            operation: subject.to_owned(),
            source: source.into(),
        };
        let body = serde_json::to_vec(payload).map_err(not_understood)?;
        let request = Request::new().payload(body.into()).timeout(Some(REQUEST_TIMEOUT));
        let mut link = self.link.clone();
        if link.borrow_and_update().refused {
            return Err(refused_again());
        }
        // An answer cannot come over another connection than its request went out on: waiting for the
        // rest of the timeout would only make a short interruption long.
        let answer = tokio::select! {
            answer = self.client.send_request(format!("$JS.API.{subject}"), request) => {
                answer.map_err(|error| request_error(subject, error))?
            }
            Ok(()) = link.changed() => {
                let operation = subject.to_owned();
                let refused = link.borrow().refused;
                return Err(if refused { refused_again() } else { SourceError::TimedOut { operation } });
            }
        };
        // Two passes: the first skips over everything but the error, and the second reads straight
        // into the type that is wanted.
        let envelope: Envelope = serde_json::from_slice(&answer.payload).map_err(not_understood)?;
        match envelope.error {
            Some(error) => Err(api_error(subject, error)),
            None => serde_json::from_slice(&answer.payload).map_err(not_understood),
        }
    }
}

/// Credentials are read again by whoever connects anew; this connection has only those that it has.
fn refused_again() -> SourceError {
    SourceError::CredentialsRefused {
        source: "the connection was lost and is not made again".into(),
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    code: u16,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

async fn pause(attempt: u32) {
    let pause = backoff::pause(attempt - 1, FIRST_PAUSE, LONGEST_PAUSE, backoff::random());
    tokio::time::sleep(pause).await;
}

fn client_options(
    options: &ConnectOptions,
    link: watch::Sender<Link>,
) -> Result<async_nats::ConnectOptions, SourceError> {
    let mut client = async_nats::ConnectOptions::new()
        .name(&options.client_name)
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .event_callback(move |event| {
            note_event(&link, &event);
            std::future::ready(())
        });
    client = match &options.credentials {
        None => client,
        // The client takes no last line without an end; mounted secrets often have one.
        Some(Credentials::CredentialsFile(text)) => {
            client.credentials(&format!("{text}\n")).map_err(|source| SourceError::Settings {
                what: "the credentials",
                source: source.into(),
            })?
        }
        Some(Credentials::Nkey(seed)) => client.nkey(seed.trim().to_owned()),
        Some(Credentials::Token(token)) => client.token(token.trim().to_owned()),
        Some(Credentials::UserPassword { user, password }) => {
            client.user_and_password(user.trim().to_owned(), password.trim().to_owned())
        }
    };
    if let Some(tls) = &options.tls {
        client = client.require_tls(true);
        if let Some(authorities) = &tls.authorities {
            client = client.add_root_certificates(authorities.clone());
        }
        if let Some((certificate, key)) = &tls.client {
            client = client.add_client_certificate(certificate.clone(), key.clone());
        }
    }
    let named = options.tls.as_ref().is_some_and(|tls| tls.authorities.is_some());
    if let Some(private) = options.private_authorities.as_ref().filter(|_| !named) {
        let identity = options.tls.as_ref().and_then(|tls| tls.client.as_ref());
        client = client.tls_client_config(authorities::client_config(private, identity)?);
    }
    Ok(client)
}

fn note_event(link: &watch::Sender<Link>, event: &Event) {
    match event {
        Event::Connected => {
            link.send_modify(|link| *link = Link { connects: link.connects + 1, refused: false });
            let reconnects = link.borrow().connects - 1;
            if reconnects > 0 {
                tracing::info!(reconnects, "connected to the broker again");
            }
        }
        Event::Disconnected => tracing::warn!("connection to the broker lost"),
        Event::SlowConsumer(_) => {
            tracing::warn!("a delivery was dropped in this process, will be read again");
        }
        Event::ServerError(error) => tracing::warn!(%error, "the broker reports an error"),
        Event::ClientError(ClientError::Other(error)) if is_refusal(error) => {
            let news = link.send_if_modified(|link| !std::mem::replace(&mut link.refused, true));
            if news {
                tracing::warn!(error, "the broker refuses the credentials");
            }
        }
        other => tracing::debug!(event = %other, "connection event"),
    }
}

/// The client tells only in words why it could not connect again.
fn is_refusal(error: &str) -> bool {
    [ConnectErrorKind::AuthorizationViolation, ConnectErrorKind::Authentication]
        .iter()
        .any(|kind| error == kind.to_string())
}

fn connect_error(error: async_nats::ConnectError) -> SourceError {
    let kind = error.kind();
    let source: Cause = error.into();
    match kind {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            SourceError::CredentialsRefused { source }
        }
        ConnectErrorKind::ServerParse => {
            SourceError::Settings { what: "the server address", source }
        }
        ConnectErrorKind::Tls => SourceError::Settings { what: "the TLS setting", source },
        _ => SourceError::Unreachable { operation: "connecting".to_owned(), source },
    }
}

fn request_error(subject: &str, error: async_nats::RequestError) -> SourceError {
    let operation = subject.to_owned();
    match error.kind() {
        RequestErrorKind::TimedOut => SourceError::TimedOut { operation },
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            SourceError::Protocol { operation, source: error.into() }
        }
        _ => SourceError::Unreachable { operation, source: error.into() },
    }
}

fn api_error(subject: &str, error: ApiError) -> SourceError {
    if error.err_code == crate::error::code::STREAM_NOT_FOUND {
        let stream = subject.split('.').find(|token| !is_api_word(token)).unwrap_or(subject);
        return SourceError::StreamMissing { stream: stream.to_owned() };
    }
    SourceError::Refused {
        operation: subject.to_owned(),
        status: error.code,
        code: error.err_code,
        description: error.description,
    }
}

/// The words that stand before the stream's name in the subjects that we use.
fn is_api_word(token: &str) -> bool {
    matches!(
        token,
        "STREAM"
            | "CONSUMER"
            | "INFO"
            | "MSG"
            | "GET"
            | "CREATE"
            | "UPDATE"
            | "PURGE"
            | "DELETE"
            | "LIST"
            | "NAMES"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_printed() {
        let options = ConnectOptions {
            credentials: Some(Credentials::UserPassword {
                user: "canary-user".into(),
                password: "canary-password".into(),
            }),
            ..ConnectOptions::default()
        };
        let printed = format!("{options:?} {:?}", Credentials::Token("canary-token".into()));
        assert!(!printed.contains("canary"), "{printed}");
    }

    #[test]
    fn a_refusal_to_connect_again_is_remembered_until_it_is_over() {
        let link = watch::Sender::new(Link::default());
        let event = |error: &str| Event::ClientError(ClientError::Other(error.to_owned()));
        note_event(&link, &Event::Connected);
        note_event(&link, &event("timed out"));
        assert_eq!(*link.borrow(), Link { connects: 1, refused: false });
        for kind in [ConnectErrorKind::AuthorizationViolation, ConnectErrorKind::Authentication] {
            note_event(&link, &event(&kind.to_string()));
            assert!(link.borrow().refused, "{kind:?}");
            note_event(&link, &Event::Connected);
            assert!(!link.borrow().refused);
        }
    }

    #[test]
    fn a_missing_stream_is_named() {
        let error = ApiError { code: 404, err_code: 10_059, description: String::new() };
        let error = api_error("STREAM.MSG.GET.CLICKS", error);
        assert!(matches!(error, SourceError::StreamMissing { stream } if stream == "CLICKS"));
    }
}
