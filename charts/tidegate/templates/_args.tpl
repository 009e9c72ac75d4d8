{{/* What the operator is told when it starts, a flag a line. */}}
{{- define "tidegate.operatorArgs" -}}
- operator
- --own-namespace={{ .Release.Namespace }}
- --identity=$(POD_NAME)
{{- with .Values.watchNamespaces }}
- --namespaces={{ join "," . }}
{{- end }}
- --listen={{ .Values.operator.listenAddress }}:8080
- --max-concurrent-rollouts={{ .Values.operator.maxConcurrentRollouts }}
- --max-concurrent-reconciles={{ .Values.operator.maxConcurrentReconciles }}
- --poll-interval={{ .Values.operator.pollInterval }}
- --deletion-deadline={{ .Values.operator.deletionDeadline }}
- --image={{ include "tidegate.image" . }}
- --image-pull-policy={{ .Values.image.pullPolicy }}
- --cloud-identity={{ .Values.pipelines.cloudIdentity }}
{{- with .Values.pipelines.proxy.http }}
- {{ printf "--pod-env=HTTP_PROXY=%s" . | quote }}
{{- end }}
{{- with .Values.pipelines.proxy.https }}
- {{ printf "--pod-env=HTTPS_PROXY=%s" . | quote }}
{{- end }}
{{- with .Values.pipelines.proxy.noProxy }}
- {{ printf "--pod-env=NO_PROXY=%s" . | quote }}
{{- end }}
{{- with .Values.pipelines.log }}
- {{ printf "--pod-env=TIDEGATE_LOG=%s" . | quote }}
{{- end }}
{{- with .Values.pipelines.privateCA.configMapName }}
- --private-ca-config-map={{ . }}
{{- end }}
{{- range $name, $value := include "tidegate.selectorLabels" . | fromYaml }}
- --operator-label={{ $name }}={{ $value }}
{{- end }}
{{- range $name, $value := .Values.monitoring.scraperNamespaceLabels }}
- --scraper-namespace-label={{ $name }}={{ $value }}
{{- end }}
{{- end -}}
