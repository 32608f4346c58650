{{/* The container, which a sidecar and a gateway have in common. */}}

{{/* Takes `group`: that of the secret files, see `daypass.volumesWith`. */}}
{{- define "daypass.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: {{ .group }}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "daypass.mounts" -}}
- name: daypass-config
  mountPath: /etc/daypass
  readOnly: true
- name: daypass-spool
  mountPath: /var/lib/daypass
{{- if .Values.secrets }}
- name: daypass-secrets
  mountPath: {{ include "daypass.secretsDir" . }}
  readOnly: true
{{- end }}
{{- if .Values.caBundle.configMapName }}
- name: daypass-ca
  mountPath: /etc/daypass-ca
  readOnly: true
{{- end }}
{{- end }}

{{/* A setting, by the name that it has in the configuration. */}}
{{- define "daypass.variable" -}}DAYPASS_{{ . | replace "." "_" | replace "-" "_" | upper }}{{- end }}

{{/* Takes `daypass`, `outbound`, `ingress`: where it listens; and `env`. */}}
{{- define "daypass.environment" -}}
- name: DAYPASS_OUTBOUND_LISTEN
  value: {{ .outbound | quote }}
{{- if hasPrefix "0.0.0.0" .outbound }}
- name: DAYPASS_OUTBOUND_ALLOW_REMOTE
  value: "true"
{{- end }}
- name: DAYPASS_INGRESS_LISTEN
  value: {{ .ingress | quote }}
{{- with .daypass }}
- name: DAYPASS_ADMIN_LISTEN
  value: {{ printf "%s:%d" (ternary "0.0.0.0" "127.0.0.1" .Values.admin.exposed) (int .Values.admin.port) | quote }}
- name: DAYPASS_STORE_SPOOL_DIR
  value: /var/lib/daypass
{{- range .Values.secrets }}
{{- if .setting }}
- name: {{ include "daypass.variable" .setting }}
  value: {{ printf "%s/%s" (include "daypass.secretsDir" $) .name | quote }}
{{- end }}
{{- end }}
{{- if .Values.caBundle.configMapName }}
- name: DAYPASS_TLS_CA_FILE
  value: /etc/daypass-ca/ca.crt
{{- end }}
{{- end }}
{{- with .env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Asks the admin listener. Takes `daypass` and `live`. */}}
{{- define "daypass.probe" -}}
{{- if .daypass.Values.admin.exposed -}}
httpGet:
  path: {{ ternary "/livez" "/readyz" .live }}
  port: daypass-admin
{{- else -}}
exec:
  command: [daypass, --config, /etc/daypass/daypass.toml, health{{ if .live }}, --live{{ end }}]
{{- end }}
timeoutSeconds: 2
{{- end }}

{{/* Takes `daypass`, `of` (values of the sidecar, or of the gateway), `group`, `outbound`, `ingress`. */}}
{{- define "daypass.container" -}}
name: daypass
image: {{ include "daypass.image" .daypass }}
imagePullPolicy: {{ .daypass.Values.image.pullPolicy }}
args: [--config, /etc/daypass/daypass.toml, run]
env:
  {{- include "daypass.environment" (dict "daypass" .daypass "outbound" .outbound "ingress" .ingress "env" .of.env) | nindent 2 }}
{{- $ports := list }}
{{- if hasPrefix "0.0.0.0" .outbound }}
{{- $ports = append $ports (dict "name" "daypass-out" "containerPort" (splitList ":" .outbound | last | int)) }}
{{- end }}
{{- if hasPrefix "0.0.0.0" .ingress }}
{{- $ports = append $ports (dict "name" "daypass-in" "containerPort" (splitList ":" .ingress | last | int)) }}
{{- end }}
{{- if .daypass.Values.admin.exposed }}
{{- $ports = append $ports (dict "name" "daypass-admin" "containerPort" (int .daypass.Values.admin.port)) }}
{{- end }}
{{- with $ports }}
ports:
  {{- toYaml . | nindent 2 }}
{{- end }}
# Two minutes until the store answers; a sidecar that cannot reach it starts anew, and says why.
startupProbe:
  {{- include "daypass.probe" (dict "daypass" .daypass "live" true) | nindent 2 }}
  periodSeconds: 1
  failureThreshold: 120
livenessProbe:
  {{- include "daypass.probe" (dict "daypass" .daypass "live" true) | nindent 2 }}
  periodSeconds: 10
  failureThreshold: 6
readinessProbe:
  {{- include "daypass.probe" (dict "daypass" .daypass "live" false) | nindent 2 }}
  periodSeconds: 5
  failureThreshold: 3
resources:
  {{- toYaml .of.resources | nindent 2 }}
securityContext:
  {{- include "daypass.securityContext" . | nindent 2 }}
volumeMounts:
  {{- include "daypass.mounts" .daypass | nindent 2 }}
  {{- with .of.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Says everything that is wrong with the configuration, and ends. */}}
{{- define "daypass.check" -}}
name: daypass-check
image: {{ include "daypass.image" .daypass }}
imagePullPolicy: {{ .daypass.Values.image.pullPolicy }}
args: [--config, /etc/daypass/daypass.toml, check]
env:
  {{- include "daypass.environment" (dict "daypass" .daypass "outbound" .outbound "ingress" .ingress "env" .of.env) | nindent 2 }}
resources:
  {{- toYaml .of.resources | nindent 2 }}
securityContext:
  {{- include "daypass.securityContext" . | nindent 2 }}
volumeMounts:
  {{- include "daypass.mounts" .daypass | nindent 2 }}
  {{- with .of.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
