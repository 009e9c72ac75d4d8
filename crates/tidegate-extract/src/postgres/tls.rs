//! Whom connections trust.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tidegate_config::{DatabaseSource, FileRef};
use tidegate_runtime::private_ca;
use tidegate_runtime::secrets::Secrets;
use tidegate_types::Reason;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::ExtractError;

/// What a client shows of itself, in the connection's secret; both or none.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Trusts the authorities of the configuration alone; without any the system's and the cluster's own.
pub(super) fn connector(
    source: &DatabaseSource,
    secrets: &Secrets,
) -> Result<MakeRustlsConnect, ExtractError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("TLS cannot be set up", error))?
        .with_root_certificates(trusted(source, secrets)?);
    let identity = [CERTIFICATE, KEY].map(|key| secrets.path(&source.connection, key));
    let config = match identity {
        [Ok(certificate), Ok(key)] if certificate.exists() && key.exists() => {
            let (chain, key) = identity_of(&certificate, &key)?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| refused("the client certificate cannot be used", error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn identity_of(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ExtractError> {
    let refuse = |error| refused("the client certificate cannot be read", error);
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    Ok((chain.map_err(refuse)?, PrivateKeyDer::from_pem_file(key).map_err(refuse)?))
}

fn trusted(source: &DatabaseSource, secrets: &Secrets) -> Result<RootCertStore, ExtractError> {
    match &source.tls.ca {
        Some(ca) => named(ca, secrets),
        None => surrounding(),
    }
}

fn named(ca: &FileRef, secrets: &Secrets) -> Result<RootCertStore, ExtractError> {
    let mut trusted = RootCertStore::empty();
    let text = secrets.read(&ca.name, &ca.key).map_err(|error| {
        crate::connection::unusable(error).asked_by("source.postgres.tls.caRef")
    })?;
    let what = format!("{} of {}", ca.key, ca.name);
    add(&mut trusted, text.expose().as_bytes(), &what)?;
    if trusted.is_empty() {
        let what = format!("{what} holds no certificate (PEM)");
        return Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
    }
    Ok(trusted)
}

fn surrounding() -> Result<RootCertStore, ExtractError> {
    let mut trusted = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in system.errors {
        tracing::warn!(%error, "some of the system's authorities cannot be read");
    }
    trusted.add_parsable_certificates(system.certs);
    let cluster = private_ca::authorities().map_err(|error| {
        ExtractError::permanent(Reason::InvalidConfiguration, "private authorities cannot be read")
            .because(error)
    })?;
    add(&mut trusted, cluster.as_deref().unwrap_or_default(), "the private authorities")?;
    Ok(trusted)
}

fn add(trusted: &mut RootCertStore, pem: &[u8], what: &str) -> Result<(), ExtractError> {
    let wrong = format!("{what} cannot be read as certificates");
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refused(&wrong, error))?;
        trusted.add(certificate).map_err(|error| refused(&wrong, error))?;
    }
    Ok(())
}

fn refused(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> ExtractError {
    ExtractError::permanent(Reason::InvalidConfiguration, what).because(error)
}
