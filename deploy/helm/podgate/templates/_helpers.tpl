{{- define "podgate.name" -}}
{{- if contains "podgate" .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-podgate" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "podgate.selector" -}}
app.kubernetes.io/name: podgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "podgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "podgate.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "podgate.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "podgate.config" -}}
podgate.yaml: |
{{ toYaml .Values.config | indent 2 }}
{{- end -}}

{{/* The kubelet asks from the node itself: an address that means all of them is asked by the loopback. */}}
{{- define "podgate.probe" -}}
{{- $listen := required "config.listen is what the probes ask: give it an address and a port" .Values.config.listen -}}
{{- $host := regexReplaceAll ":[0-9]+$" $listen "" | trimPrefix "[" | trimSuffix "]" -}}
host: {{ if eq $host "0.0.0.0" }}127.0.0.1{{ else if eq $host "::" }}{{ "::1" | quote }}{{ else }}{{ $host | quote }}{{ end }}
port: {{ regexFind "[0-9]+$" $listen }}
{{- end -}}
