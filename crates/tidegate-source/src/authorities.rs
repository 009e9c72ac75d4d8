//! TLS that trusts authorities beside the system's. The client's own setting replaces the system's.

use std::path::PathBuf;

use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore};

use crate::error::{Cause, SourceError};

/// Trusts the system's authorities and those in `private` (PEM), and shows the certificate and key in
/// the files of `identity`.
pub(crate) fn client_config(
    private: &[u8],
    identity: Option<&(PathBuf, PathBuf)>,
) -> Result<ClientConfig, SourceError> {
    let builder = ClientConfig::builder().with_root_certificates(trusted(private)?);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let refuse = |source: Cause| refused("the client certificate", source);
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(error.into()))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(error.into()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| refuse(error.into()))
}

fn trusted(private: &[u8]) -> Result<RootCertStore, SourceError> {
    let refuse = |source: Cause| refused("the private certificate authorities", source);
    let mut trusted = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in system.errors {
        tracing::warn!(%error, "some of the system's authorities cannot be read");
    }
    trusted.add_parsable_certificates(system.certs);
    for certificate in CertificateDer::pem_slice_iter(private) {
        let certificate = certificate.map_err(|error| refuse(error.into()))?;
        trusted.add(certificate).map_err(|error| refuse(error.into()))?;
    }
    Ok(trusted)
}

fn refused(what: &'static str, source: Cause) -> SourceError {
    SourceError::Settings { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &[u8] = include_bytes!("../tests/data/tls/ca.crt");

    #[test]
    fn private_authorities_are_trusted_beside_the_systems() {
        let system = trusted(b"").expect("the system's").len();
        assert_eq!(trusted(AUTHORITY).expect("both").len(), system + 1);
    }

    #[test]
    fn what_is_no_certificate_is_refused_with_what_it_was_meant_for() {
        let text = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n";
        let error = trusted(text.as_bytes()).expect_err("no certificate");
        assert!(error.to_string().contains("private certificate authorities"), "{error}");
        assert!(!error.is_transient());
    }
}
