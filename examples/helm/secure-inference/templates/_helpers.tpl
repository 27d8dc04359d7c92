{{- define "party.name" -}}
{{ printf "%s-%s" .Release.Name .Values.role | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "party.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.role }}
{{- end }}

{{- define "party.labels" -}}
{{ include "party.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "party.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The party's own table has to bind where the probes and the service look. */ -}}
{{- define "party.settings" -}}
{{- $table := regexFind (printf `(?m)^\[%s\][^\[]*` .Values.role) .Values.settings }}
{{- range $key, $value := dict "listen" "0.0.0.0:7100" "admin" "0.0.0.0:9100" }}
{{- if not (regexMatch (printf `(?m)^%s = "%s"` $key $value) $table) }}
{{- fail (printf "settings: [%s] needs the line %s = %q, which is what the service and the probes of this chart ask" $.Values.role $key $value) }}
{{- end }}
{{- end }}
{{- .Values.settings }}
{{- end }}
