//! A store whose certificate comes from a private authority.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_types::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::{AccessKey, KeySource, Keys, StoreOptions, open};

const NOTHING_HERE: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[derive(Debug)]
struct AnyKey;

impl KeySource<AccessKey> for AnyKey {
    fn read(&self) -> Result<AccessKey, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AccessKey { id: "id".to_owned(), secret: "secret".to_owned(), token: None })
    }
}

/// Certificates for a server at 127.0.0.1.
fn file(name: &str) -> PathBuf {
    let shared = "../tidegate-source/tests/data/tls";
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(shared).join(name)
}

/// Says over TLS that there is no such object, whatever is asked.
async fn empty_store() -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(file("server.crt")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    let (listener, acceptor) = (
        TcpListener::bind("127.0.0.1:0").await.expect("bound"),
        TlsAcceptor::from(Arc::new(settings)),
    );
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                _ = stream.write_all(NOTHING_HERE).await;
                _ = stream.shutdown().await;
            }
        }
    });
    address
}

fn options(address: SocketAddr, private: Option<Vec<u8>>) -> StoreOptions {
    StoreOptions {
        keys: Some(Keys::S3(Arc::new(AnyKey))),
        endpoint: Some(format!("https://{address}")),
        path_style: true,
        private_authorities: private,
        ..StoreOptions::new(Url::parse("s3://lake/table").expect("an address"))
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_only_then() {
    let address = empty_store().await;
    let authority = std::fs::read(file("ca.crt")).expect("the authority");
    for (private, trusted) in [(Some(authority), true), (None, false)] {
        let store = open(&options(address, private)).expect("opened");
        let answer = store.commit.get(&Path::from("x")).await.expect_err("it is empty");
        assert_eq!(matches!(answer, Error::NotFound { .. }), trusted, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_before_anything_is_asked() {
    let text = "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n";
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let error = open(&options(nobody, Some(text.into()))).expect_err("refused");
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
    assert!(error.to_string().contains("private"), "{error}");
}
