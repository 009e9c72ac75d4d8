//! The chart of the definitions: the same as in `crds/`, as templates that Helm upgrades and keeps.

/// `Chart.yaml`; the version is the workspace's.
pub(crate) fn chart() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "\
# Written by `cargo run -p xtask -- generate`; do not edit.
apiVersion: v2
name: tidegate-crds
description: The definitions of Tidegate's kinds, to be installed before the operator.
type: application
version: {version}
appVersion: \"{version}\"
kubeVersion: \">=1.31.0-0\"
"
    )
}

const HEAD: &str = r"{{- /* Written by `cargo run -p xtask -- generate` from crates/tidegate-api; do not edit. */ -}}
";

const METADATA: &str = r#"  labels:
    app.kubernetes.io/name: tidegate-crds
    app.kubernetes.io/instance: {{ .Release.Name }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
    helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
    {{- with .Values.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or .Values.keep .Values.annotations }}
  annotations:
    {{- if .Values.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
    {{- with .Values.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
"#;

/// The template of a definition, from its YAML.
pub(crate) fn template(definition: &str) -> String {
    let (head, spec) = definition.split_once("\nspec:\n").unwrap_or((definition, ""));
    format!("{HEAD}{}\n{METADATA}spec:\n{}", escape(head), escape(spec))
}

/// Two braces begin an action of the template, wherever they stand.
fn escape(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_of_a_description_are_text() {
        assert_eq!(escape("a {b} {{c}}"), "a {b} {{ \"{{\" }}c}}");
    }

    #[test]
    fn the_template_is_the_definition_with_helms_metadata() {
        for definition in tidegate_api::definitions() {
            let yaml = definition.yaml();
            let template = template(&yaml);
            let (_, spec) = template.split_once("\nspec:\n").expect("a spec");
            let (metadata, wanted) = yaml.split_once("\nspec:\n").expect("a spec");
            assert_eq!(spec, escape(wanted));
            let name = format!("metadata:\n  name: {}.tidegate.dev", definition.plural());
            assert!(metadata.ends_with(&name), "{metadata}");
            assert!(template.contains("helm.sh/resource-policy: keep"));
        }
    }
}
