{{/* Names, labels and the parts that every pod has. Context: the root, or a dict with root and name. */}}

{{- define "ecolink.fullname" -}}
{{- if contains "ecolink" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-ecolink" (.Release.Name | trunc 32 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "ecolink.secret" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-secrets" (include "ecolink.fullname" .)) }}
{{- end }}

{{- define "ecolink.image" -}}
{{- $v := .root.Values -}}
{{- $given := dict "nats" $v.nats.image "postgres" $v.postgresql.image -}}
{{- $path := printf "%s/%s:%s" $v.image.repository .name ($v.image.tag | default .root.Chart.AppVersion) -}}
{{- get $given .name | default (ternary (printf "%s/%s" $v.image.registry $path) $path (ne $v.image.registry "")) }}
{{- end }}

{{/* part-of is what the tenants' network policy lets in */}}
{{- define "ecolink.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{ include "ecolink.selector" . }}
{{- end }}
{{- define "ecolink.selector" -}}
app.kubernetes.io/part-of: ecolink
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/name: {{ .name }}
{{- end }}

{{- define "ecolink.meta" -}}
name: {{ include "ecolink.fullname" .root }}-{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "ecolink.labels" . | nindent 2 }}
{{- end }}

{{- define "ecolink.natsUrl" -}}
{{- if .Values.nats.bundled }}nats://{{ include "ecolink.fullname" . }}-nats.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:4222
{{- else }}{{ required "nats.url is needed when nats.bundled is false" .Values.nats.url }}{{ end }}
{{- end }}

{{- define "ecolink.postgresHost" -}}
{{- if .Values.postgresql.bundled }}{{ include "ecolink.fullname" . }}-postgres.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- else }}{{ required "postgresql.host is needed when postgresql.bundled is false" .Values.postgresql.host }}{{ end }}
{{- end }}

{{/* dict root, role: the connection string with the password put in by the kubelet */}}
{{- define "ecolink.databaseUrl" -}}
postgresql://{{ .role }}:$(PASSWORD)@{{ include "ecolink.postgresHost" .root }}:{{ .root.Values.postgresql.port }}/{{ .root.Values.postgresql.database }}
{{- with .root.Values.postgresql.parameters }}?{{ . }}{{ end }}
{{- end }}

{{- define "ecolink.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "ecolink.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* dict root, name: of a pod's spec, what is the same everywhere */}}
{{- define "ecolink.podCommon" -}}
serviceAccountName: {{ include "ecolink.fullname" .root }}-{{ .account | default .name }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "ecolink.podSecurity" . | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ecolink.spread" -}}
{{- if .root.Values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- $selector := include "ecolink.selector" . }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{- $selector | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "ecolink.probes" -}}
startupProbe: {httpGet: {path: /healthz, port: admin}, periodSeconds: 1, failureThreshold: 60, timeoutSeconds: 2}
livenessProbe: {httpGet: {path: /healthz, port: admin}, periodSeconds: 10, failureThreshold: 3, timeoutSeconds: 5}
readinessProbe: {httpGet: {path: /readyz, port: admin}, periodSeconds: 2, failureThreshold: 3, timeoutSeconds: 2}
{{- end }}

{{/* dict root, keys: a volume with these keys of the Secret alone */}}
{{- define "ecolink.secretVolume" -}}
name: secrets
secret:
  secretName: {{ include "ecolink.secret" .root }}
  defaultMode: 0440
  items:
    {{- range .keys }}
    - {key: {{ . }}, path: {{ . }}}
    {{- end }}
{{- end }}

{{/* settings: map NAME -> value of one service */}}
{{- define "ecolink.settings" -}}
{{- $upper := upper .name }}
{{- range $key, $value := .settings }}
{{- /* a number is a float64 here, and a million would be 1e+06 */}}
- {name: ECOLINK_{{ $upper }}_{{ $key }}, value: {{ ternary ($value | int64) $value (kindIs "float64" $value) | toString | quote }}}
{{- end }}
{{- end }}

{{/* the pod's own token, where a client looks for it; mounted in the one container that asks the API server */}}
{{- define "ecolink.tokenVolume" -}}
name: token
projected:
  defaultMode: 0440
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
