{{/* The configuration, and the secrets beside it. What is here is the same for sidecars and gateways. */}}

{{/* Where secrets are, in the container. */}}
{{- define "daypass.secretsDir" -}}/run/secrets/daypass{{- end }}

{{- define "daypass.configMapName" -}}{{ include "daypass.fullname" . }}-config{{- end }}

{{/* The file that a setting names, if a secret has it; else empty. */}}
{{- define "daypass.secretFor" -}}
{{- range .daypass.Values.secrets }}
{{- if eq (default "" .setting) $.setting }}{{ include "daypass.secretsDir" $ }}/{{ .name }}{{ end }}
{{- end }}
{{- end }}

{{/* Refuses what cannot work, or would not be safe, with a word on what to do. */}}
{{- define "daypass.checked" -}}
{{- $secret := "(?m)^\\s*(token|client_secret|platform_client_secret|webhook_secret|webhook_signing_key|signing_secret|previous_signing_secret|value)\\s*=" }}
{{- if regexMatch $secret .Values.config }}
{{- fail (printf "daypass: `config` holds a secret (%s…). It would be readable in a ConfigMap. Put it into a Secret, name that in `secrets`, and its file in `config`: `client_secret_file = \"%s/<name>\"`." (regexFind $secret .Values.config | trim) (include "daypass.secretsDir" .)) }}
{{- end }}
{{- if regexMatch "(?m)^\\s*url\\s*=\\s*\"[a-z-]+://[^\"/]*:[^\"/]*@" .Values.config }}
{{- fail "daypass: the URL of the store in `config` holds a password. Put the URL into a Secret, and name it in `secrets` with the setting `store.url_file`." }}
{{- end }}
{{- if and (include "daypass.secretFor" (dict "daypass" . "setting" "store.url_file")) (not (regexMatch "(?m)^\\s*\\[\\[encryption\\.keys\\]\\]" .Values.config)) }}
{{- fail (printf "daypass: a store on a server needs an encryption key. Make one with `daypass keygen`, put it into a Secret, name that in `secrets`, and its file in `config`: `[[encryption.keys]]`, `id = \"k1\"`, `file = \"%s/<name>\"`." (include "daypass.secretsDir" .)) }}
{{- end }}
{{- if and .Values.admin.exposed (not (include "daypass.secretFor" (dict "daypass" . "setting" "admin.token_file"))) (not (regexMatch "(?m)^\\s*token_file\\s*=" .Values.config)) }}
{{- fail "daypass: `admin.exposed` needs a token. Name a Secret in `secrets` with the setting `admin.token_file`." }}
{{- end }}
{{- end }}

{{/* Annotations by which pods begin anew when the configuration changes. Secrets need no such thing. */}}
{{- define "daypass.annotations" -}}
checksum/daypass-config: {{ sha256sum .Values.config | trunc 16 }}
{{- end }}

{{/* The volumes that the container mounts. Takes `daypass`, and `spool`. */}}
{{- define "daypass.volumesWith" -}}
{{- with .daypass -}}
- name: daypass-config
  configMap:
    name: {{ include "daypass.configMapName" . }}
- name: daypass-spool
{{- toYaml (default (dict "emptyDir" (dict "sizeLimit" "64Mi")) $.spool) | nindent 2 }}
{{- if .Values.secrets }}
- name: daypass-secrets
  projected:
    # Nobody but the container's own group.
    defaultMode: 0440
    sources:
    {{- range .Values.secrets }}
      - secret:
          name: {{ .secretName }}
          items:
            - key: {{ .key | quote }}
              path: {{ .name | quote }}
    {{- end }}
{{- end }}
{{- if .Values.caBundle.configMapName }}
- name: daypass-ca
  configMap:
    name: {{ .Values.caBundle.configMapName }}
    items:
      - key: {{ .Values.caBundle.key | quote }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end }}
