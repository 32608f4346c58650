{{/*
Daypass beside any app. In the app's chart, with this one as its dependency:

    template:
      {{- include "daypass.inject" (dict "daypass" .Subcharts.daypass "template" (include "app.pod" .)) | nindent 6 }}

where `app.pod` is the pod template as it would be without: `metadata` and `spec`.

1. On clusters that have native sidecars (1.29 and newer) it is the first init container and stays: it is
   ready before anything else of the pod begins, and ends after the app has.
2. On older ones it is the first container, and the others begin when it is up. All end together there:
   it goes on serving for 15 seconds, in which the app should finish its calls, and drains then.
3. What the pod has already is kept as it is.
*/}}
{{- define "daypass.inject" -}}
{{- $daypass := .daypass }}
{{- include "daypass.checked" $daypass }}
{{- $template := .template | fromYaml }}
{{- if hasKey $template "Error" }}{{ fail (printf "daypass.inject: the pod template is no YAML: %s" $template.Error) }}{{ end }}
{{- $spec := default dict $template.spec }}
{{- $pod := default dict $spec.securityContext }}
{{- /* Files of secrets are root's, and of the pod's fsGroup if there is one. */}}
{{- $group := ternary 65532 0 (hasKey $pod "fsGroup") }}
{{- $values := $daypass.Values.sidecar }}
{{- $how := dict "daypass" $daypass "of" $values "group" $group
      "outbound" (printf "127.0.0.1:%d" (int $values.port)) "ingress" (printf "127.0.0.1:%d" (int $values.ingressPort)) }}
{{- $container := include "daypass.container" $how | fromYaml }}
{{- $init := list }}
{{- if $values.checkConfig }}
{{- $init = append $init (include "daypass.check" $how | fromYaml) }}
{{- end }}
{{- if eq (include "daypass.isNative" $daypass) "true" }}
{{- $_ := set $container "restartPolicy" "Always" }}
{{- $init = append $init $container }}
{{- else }}
{{- /* The next container begins when this hook has ended. */}}
{{- $_ := set $container "lifecycle" (dict "postStart" (dict "exec" (dict "command" (list "daypass" "--config" "/etc/daypass/daypass.toml" "health" "--live" "--wait" "60s")))) }}
{{- $_ := set $container "args" (concat $container.args (list "--linger" "15s")) }}
{{- $_ := set $spec "containers" (prepend (default list $spec.containers) $container) }}
{{- end }}
{{- $_ := set $spec "initContainers" (concat $init (default list $spec.initContainers)) }}
{{- $volumes := include "daypass.volumesWith" (dict "daypass" $daypass "spool" $values.spool) | fromYamlArray }}
{{- $_ := set $spec "volumes" (concat (default list $spec.volumes) $volumes) }}
{{- $metadata := default dict $template.metadata }}
{{- $annotations := include "daypass.annotations" $daypass | fromYaml }}
{{- $_ := set $metadata "annotations" (merge (default dict $metadata.annotations) $annotations) }}
{{- toYaml (dict "metadata" $metadata "spec" $spec) }}
{{- end }}

{{/* Whether the cluster keeps init containers that restart always. */}}
{{- define "daypass.isNative" -}}
{{- $native := .Values.sidecar.native }}
{{- if eq $native "auto" }}{{ semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version }}{{ else }}{{ eq $native "always" }}{{ end }}
{{- end }}
