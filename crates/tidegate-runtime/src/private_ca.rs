//! Certificate authorities of the cluster's own, trusted beside the system's by the connections to broker
//! and store.

use std::io::ErrorKind;
use std::path::Path;

use tidegate_types::Reason;

use crate::error::RunError;

/// Names the file: PEM, several certificates are fine.
const VARIABLE: &str = "TIDEGATE_PRIVATE_CA";

/// The certificates as they stand in the file now; none when no file is named or it is not there, since
/// its mount is optional.
///
/// # Errors
///
/// When the file cannot be read, or holds no certificate.
pub fn authorities() -> Result<Option<Vec<u8>>, RunError> {
    let named = std::env::var_os(VARIABLE).filter(|file| !file.is_empty());
    named.map_or(Ok(None), |file| read(Path::new(&file)))
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, RunError> {
    let refuse = |problem: &str| {
        let what = format!("{}, named by {VARIABLE}, {problem}", file.display());
        RunError::permanent(Reason::InvalidConfiguration, what)
    };
    match std::fs::read(file) {
        Ok(text) if holds_certificate(&text) => Ok(Some(text)),
        Ok(_) => Err(refuse("holds no certificate (PEM)")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refuse("cannot be read").because(error)),
    }
}

fn holds_certificate(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("-----BEGIN CERTIFICATE-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_ignored_and_one_without_certificates_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.crt");
        assert!(read(&file).is_ok_and(|text| text.is_none()));
        for text in ["", "no certificate"] {
            std::fs::write(&file, text).expect("written");
            let error = read(&file).expect_err("refused").to_string();
            assert!(error.contains("ca.crt") && error.contains("no certificate"), "{error}");
        }
        let text = "-----BEGIN CERTIFICATE-----\n";
        std::fs::write(&file, text).expect("written");
        assert!(read(&file).is_ok_and(|read| read.as_deref() == Some(text.as_bytes())));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = read(folder.path()).expect_err("a folder is no file");
        assert!(error.to_string().contains("cannot be read"), "{error}");
        assert_eq!(error.reason(), Reason::InvalidConfiguration);
    }
}
