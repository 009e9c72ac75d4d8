//! What was asked of the API server, as it recorded it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// Who.
    pub user: AuditUser,
    /// About what; none for paths that are no resources.
    pub object_ref: Option<AuditObject>,
    /// How it ended.
    pub response_status: Option<AuditStatus>,
    /// When it was answered.
    pub stage_timestamp: String,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditUser {
    /// `system:serviceaccount:<namespace>:<name>` for a service account.
    pub username: String,
}

/// What a request is about; absent parts are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditObject {
    /// The group; empty for the core.
    pub api_group: String,
    /// The plural.
    pub resource: String,
    /// `status`, `scale`, …
    pub subresource: String,
    /// Where.
    pub namespace: String,
    /// Which.
    pub name: String,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditStatus {
    /// The HTTP status.
    pub code: u16,
}

impl AuditRecord {
    /// Whether it asks for a change.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// Whether it was refused for want of a right.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.response_status.as_ref().is_some_and(|status| status.code == 403)
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<AuditRecord>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).context("read the audit log")?;
    // The last line may be half written, and watches are recorded at their beginning too.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).context("read the audit log")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/t/deployments/d?x=y","verb":"patch","user":{"username":"system:serviceaccount:t:op","groups":[]},"sourceIPs":["127.0.0.1"],"objectRef":{"resource":"deployments","namespace":"t","name":"d","apiGroup":"apps","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":403},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.500000Z"}"#;

    #[test]
    fn whole_lines_are_read_and_half_ones_are_left() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{LINE}\n{}", &LINE[..40])).unwrap();
        let records = read(file.path()).unwrap();
        assert_eq!(records.len(), 1);
        let object = records[0].object_ref.clone().unwrap();
        assert_eq!((object.resource.as_str(), object.api_group.as_str()), ("deployments", "apps"));
        assert!(records[0].is_write() && records[0].is_forbidden());
    }
}
