//! A resource's document, put together field by field.

use serde_json::{Value, json};

/// The document of an `IngestionPipeline`.
#[derive(Debug, Clone)]
pub struct Document {
    document: Value,
}

impl Document {
    /// The pipeline `name` as this `spec` says.
    #[must_use]
    pub fn pipeline(name: &str, spec: &Value) -> Self {
        let document = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": name},
            "spec": spec,
        });
        Self { document }
    }

    /// Reads the stream `<NAME>` with the subjects `<name>.>` of `server` into the table at `url`, within a
    /// second. Its columns are `id: string, required` and `n: long`; its dedup key is `header`, its window
    /// an hour.
    #[must_use]
    pub fn streamed(name: &str, server: &str, url: &str, header: &str) -> Self {
        let spec = json!({
            "source": {"type": "JetStream", "jetStream": {
                "servers": [server],
                "stream": name.to_uppercase(),
                "subjects": [format!("{name}.>")],
            }},
            "schema": {"fields": [
                {"name": "id", "type": "string", "required": true},
                {"name": "n", "type": "long"},
            ]},
            "dedup": {"key": {"type": "Header", "header": header}, "window": "1h"},
            "sink": {"storage": {"url": url}, "flush": {"maxInterval": "1s"}},
        });
        Self::pipeline(name, &spec)
    }

    /// Sets the field at a path below `spec`, such as `sink.flush.maxRows`; `null` removes it.
    #[must_use]
    pub fn set(mut self, path: &str, value: Value) -> Self {
        let mut place = &mut self.document["spec"];
        for step in path.split('.') {
            place = &mut place[step];
        }
        *place = value;
        remove_nulls(&mut self.document);
        self
    }

    /// The same document of a pipeline of another name.
    #[must_use]
    pub fn renamed(mut self, name: &str) -> Self {
        self.document["metadata"]["name"] = json!(name);
        self
    }

    /// With an annotation of the resource itself.
    #[must_use]
    pub fn annotated(mut self, name: &str, value: &str) -> Self {
        self.document["metadata"]["annotations"][name] = json!(value);
        self
    }

    /// The field at a path below `spec`; null when it is not there.
    #[must_use]
    pub fn field(&self, path: &str) -> &Value {
        path.split('.').fold(&self.document["spec"], |place, step| &place[step])
    }

    /// The whole document; its text is JSON, and YAML therefore.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.document
    }
}

fn remove_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(remove_nulls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_set_and_removed_by_their_paths() {
        let document = Document::streamed("clicks", "nats://a:1", "file:///t", "Id")
            .set("sink.flush.maxRows", json!(5))
            .set("dedup", Value::Null)
            .renamed("others");
        assert_eq!(document.field("sink.flush"), &json!({"maxInterval": "1s", "maxRows": 5}));
        assert!(document.value()["spec"].get("dedup").is_none());
        assert_eq!(document.field("source.jetStream.stream"), "CLICKS");
        assert_eq!(document.value()["metadata"]["name"], "others");
    }
}
