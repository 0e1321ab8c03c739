{{- define "jcm-mrv.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- /* Labels that select pods: (list $ "collector") */ -}}
{{- define "jcm-mrv.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "jcm-mrv.labels" -}}
{{- $root := index . 0 -}}
{{ include "jcm-mrv.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{- define "jcm-mrv.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- /* What Kubernetes calls restricted. */ -}}
{{- define "jcm-mrv.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "jcm-mrv.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* A container's image, rights, settings: (dict "root" $ "env" (dict NAME value)) */ -}}
{{- define "jcm-mrv.container" -}}
image: {{ include "jcm-mrv.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{ include "jcm-mrv.containerSecurity" .root }}
env:
  {{- range $name, $value := merge (dict) .env .root.Values.settings }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
  {{- if .podName }}
  # The broker keeps a collector's queue under this name; a stateful pod keeps it.
  - name: JCM_MRV_MQTT_CLIENT_ID
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- end }}
volumeMounts:
  - {name: secrets, mountPath: /run/secrets/jcm-mrv, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if .authorities }}
  - {name: authorities, mountPath: /etc/jcm-mrv/authorities, readOnly: true}
  {{- end }}
  {{- if .certificate }}
  - {name: certificate, mountPath: /run/secrets/certificate, readOnly: true}
  {{- end }}
  {{- if .alerts }}
  - {name: alerts, mountPath: /etc/jcm-mrv/alerts, readOnly: true}
  {{- end }}
  {{- if .alertsSecret }}
  - {name: alerts-secret, mountPath: /run/secrets/alerts, readOnly: true}
  {{- end }}
  {{- if .backups }}
  - {name: backups, mountPath: /backups}
  {{- end }}
  {{- if .passphrase }}
  - {name: passphrase, mountPath: /run/secrets/backup, readOnly: true}
  {{- end }}
{{- end }}

{{- /* The keys of the Secret that a pod is handed, and no other: (dict "root" $ "keys" (list …)) */ -}}
{{- define "jcm-mrv.volumes" -}}
- name: secrets
  secret:
    secretName: {{ .root.Values.existingSecret }}
    defaultMode: 0440
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 256Mi}
{{- if .authorities }}
- name: authorities
  configMap: {name: {{ .authorities }}}
{{- end }}
{{- if .certificate }}
- name: certificate
  secret: {secretName: {{ .certificate }}, defaultMode: 0440}
{{- end }}
{{- if .alerts }}
- name: alerts
  configMap: {name: {{ .alerts }}}
{{- end }}
{{- if .alertsSecret }}
- name: alerts-secret
  secret: {secretName: {{ .alertsSecret }}, defaultMode: 0440}
{{- end }}
{{- if .backups }}
- name: backups
  persistentVolumeClaim: {claimName: {{ .backups }}}
{{- end }}
{{- if .passphrase }}
- name: passphrase
  secret: {secretName: {{ .passphrase }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "jcm-mrv.placing" -}}
{{- $given := index . 1 -}}
{{- with $given.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $given.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $given.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
# One node lost is not all of them lost.
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "jcm-mrv.selector" (list (index . 0) (index . 2)) | nindent 8 }}
{{- end }}

{{- define "jcm-mrv.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 3
  failureThreshold: 40
livenessProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}
