//! Which servers are trusted.

use mysql_async::{ClientIdentity, SslOpts};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tidegate_config::{DatabaseSource, TlsMode};
use tidegate_runtime::private_ca;
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{Explained, Reason};

use crate::ExtractError;

/// What the client shows of itself, in the connection's secret; both or none.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// The client's TLS settings; none for a plain connection. An authority that is named is trusted alone,
/// otherwise the system's are, beside the cluster's own.
pub(super) fn options(
    source: &DatabaseSource,
    secrets: &Secrets,
) -> Result<Option<SslOpts>, ExtractError> {
    if source.tls.mode == TlsMode::Disable {
        return Ok(None);
    }
    let authorities = match &source.tls.ca {
        Some(file) => {
            let text = secrets.read(&file.name, &file.key).map_err(|error| {
                let what =
                    "source.mysql.tls.caRef: the database's certificate authority cannot be read";
                ExtractError::transient(error.reason(), what).because(error)
            })?;
            parsed(text.expose().as_bytes(), &format!("{}/{}", file.name, file.key))?
        }
        None => systems()?,
    };
    let roots = authorities.into_iter().map(|der| der.to_vec().into()).collect();
    let options = SslOpts::default()
        .with_disable_built_in_roots(true)
        .with_root_certs(roots)
        .with_client_identity(identity(source, secrets));
    Ok(Some(options))
}

fn identity(source: &DatabaseSource, secrets: &Secrets) -> Option<ClientIdentity> {
    let mounted = |key| secrets.path(&source.connection, key).ok().filter(|path| path.exists());
    let (certificate, key) = (mounted(CERTIFICATE)?, mounted(KEY)?);
    Some(ClientIdentity::new(certificate.into(), key.into()))
}

fn systems() -> Result<Vec<CertificateDer<'static>>, ExtractError> {
    let system = rustls_native_certs::load_native_certs();
    for error in system.errors {
        tracing::warn!(%error, "some of the system's authorities cannot be read");
    }
    // The client refuses all when one cannot be parsed.
    let usable = |der: &CertificateDer<'static>| RootCertStore::empty().add(der.clone()).is_ok();
    let mut all: Vec<_> = system.certs.into_iter().filter(usable).collect();
    let private = private_ca::authorities().map_err(|error| {
        ExtractError::permanent(error.reason(), "the cluster's authorities cannot be read")
            .because(error)
    })?;
    if let Some(private) = private {
        all.extend(parsed(&private, "the cluster's authorities")?);
    }
    Ok(all)
}

fn parsed(text: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, ExtractError> {
    let refuse = || {
        let what = format!("{place} holds no certificate (PEM)");
        ExtractError::permanent(Reason::InvalidConfiguration, what)
    };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|error| refuse().because(error))?;
    if all.is_empty() { Err(refuse()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use tidegate_config::{DatabaseTls, FileRef, Relation};

    use super::*;

    #[test]
    fn a_named_authority_must_be_one_and_a_plain_connection_needs_none() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("ca")).expect("made");
        std::fs::write(folder.path().join("ca/ca.crt"), "nothing").expect("written");
        let secrets = Secrets::new(Some(folder.path().to_path_buf()));
        let ca = Some(FileRef { name: "ca".into(), key: "ca.crt".into() });
        let mut source = DatabaseSource {
            connection: "db".into(),
            relation: Relation::Query("SELECT 1".into()),
            tls: DatabaseTls { mode: TlsMode::VerifyFull, ca },
        };
        let error = options(&source, &secrets).expect_err("no certificate");
        assert!(error.to_string().contains("ca/ca.crt"), "{error}");
        source.tls.mode = TlsMode::Disable;
        assert!(options(&source, &secrets).is_ok_and(|options| options.is_none()));
    }
}
