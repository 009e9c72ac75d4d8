//! What the kernel's serialisation lacks: our tag in `commitInfo`, and the files' statistics, which
//! exist as finished JSON already.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::error::LogError;
use super::request::{CommitRequest, KEPT_ROWS};

/// Puts the tag and the statistics of `request` into serialised actions.
///
/// # Errors
///
/// [`LogError::InvalidRequest`] when a line is not JSON, or a file is not among those asked for.
pub(super) fn splice(bytes: &[u8], request: &CommitRequest) -> Result<Bytes, LogError> {
    let stats: HashMap<&str, String> =
        request.adds.iter().map(|file| (file.path.as_str(), file.stats.to_string())).collect();
    let mut spliced = Vec::with_capacity(bytes.len() + 256);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut action: Map<String, Value> = serde_json::from_slice(line).map_err(invalid)?;
        if let Some(Value::Object(info)) = action.get_mut("commitInfo") {
            tag(info, request);
        }
        if let Some(Value::Object(add)) = action.get_mut("add") {
            let path = add.get("path").and_then(Value::as_str).unwrap_or_default();
            let found = stats.get(path).ok_or_else(|| LogError::InvalidRequest {
                problem: format!("the kernel renamed a file to {path:?}"),
            })?;
            add.insert("stats".to_owned(), Value::String(found.clone()));
        }
        serde_json::to_writer(&mut spliced, &action).map_err(invalid)?;
        spliced.push(b'\n');
    }
    Ok(spliced.into())
}

fn tag(info: &mut Map<String, Value>, request: &CommitRequest) {
    let tags = info.entry("tags").or_insert_with(|| json!({}));
    if !tags.is_object() {
        *tags = json!({});
    }
    for (key, value) in request.tag.to_tags() {
        tags[key] = Value::String(value);
    }
    if request.kept_rows > 0 {
        tags[KEPT_ROWS] = Value::String(request.kept_rows.to_string());
    }
}

fn invalid(error: serde_json::Error) -> LogError {
    LogError::InvalidRequest { problem: error.to_string() }
}
