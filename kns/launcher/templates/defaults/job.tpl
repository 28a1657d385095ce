# Version: 1
{{- /*
  The Kubernetes Job of one job of the Launcher. Add what your site needs; what is here should stay.
  Write values of .Job through toYaml. --validate-templates shows what is wrong, --diff-templates what you changed.
*/}}
apiVersion: batch/v1
kind: Job
metadata:
  generateName: {{ toYaml .Job.generateName }}
spec:
  backoffLimit: 0
  template:
    metadata:
      generateName: {{ toYaml .Job.generateName }}
      annotations:
        name: {{ toYaml .Job.name }}
        user: {{ toYaml .Job.user }}
        service_ports: {{ toYaml .Job.servicePortsJson }}
        {{- range $number, $tag := .Job.tags }}
        USER_TAG_{{ $number }}: {{ toYaml $tag }}
        {{- end }}
    spec:
      restartPolicy: Never
      shareProcessNamespace: {{ toYaml .Job.shareProcessNamespace }}
      {{- with .Job.host }}
      nodeName: {{ toYaml . }}
      {{- end }}
      {{- with .Job.placementConstraints }}
      nodeSelector:
        {{- range . }}
        {{ toYaml .name }}: {{ toYaml .value }}
        {{- end }}
      {{- end }}
      {{- with .Job.volumes }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- $securityContext := dict }}
      {{- with .Job.container }}
      {{- if not (kindIs "invalid" .runAsUser) }}{{ $_ := set $securityContext "runAsUser" .runAsUser }}{{ end }}
      {{- if not (kindIs "invalid" .runAsGroup) }}{{ $_ := set $securityContext "runAsGroup" .runAsGroup }}{{ end }}
      {{- if .supplementalGroupIds }}{{ $_ := set $securityContext "supplementalGroups" .supplementalGroupIds }}{{ end }}
      {{- end }}
      {{- if $securityContext }}
      securityContext:
        {{- range $key, $val := $securityContext }}
        {{ $key }}: {{ toJson $val }}
        {{- end }}
      {{- end }}
      containers:
        - name: rs-launcher-container
          image: {{ toYaml .Job.container.image }}
          {{- if .Job.command }}
          command: ["/bin/sh"]
          args:
            - "-c"
            - {{ prepend .Job.args .Job.command | join " " | toYaml }}
          {{- else }}
          {{- with .Job.exe }}
          command: [{{ toJson . }}]
          {{- end }}
          {{- with .Job.args }}
          args:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- end }}
          stdin: {{ if .Job.stdin }}true{{ else }}false{{ end }}
          stdinOnce: true
          {{- with .Job.workingDirectory }}
          workingDir: {{ toYaml . }}
          {{- end }}
          {{- /* A secret of the config is secretName:key:ENVIRONMENT_VARIABLE. */}}
          {{- $env := list }}
          {{- range .Job.environment }}
          {{- $env = append $env (dict "name" .name "value" .value) }}
          {{- end }}
          {{- range .Job.config }}
          {{- if eq .name "secret" }}
          {{- $parts := splitList ":" .value }}
          {{- $reference := dict "name" (index $parts 0) "key" (index $parts 1) }}
          {{- $env = append $env (dict "name" (index $parts 2) "valueFrom" (dict "secretKeyRef" $reference)) }}
          {{- end }}
          {{- end }}
          {{- with $env }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- $ports := list }}
          {{- range .Job.exposedPorts }}
          {{- if .publishedPort }}
          {{- $ports = append $ports (dict "containerPort" (int .targetPort) "hostPort" .publishedPort "protocol" .protocol) }}
          {{- end }}
          {{- end }}
          {{- with $ports }}
          ports:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- $limits := dict }}
          {{- $requests := dict }}
          {{- range .Job.resourceLimits }}
          {{- if eq .type "cpuCount" }}
          {{- $_ := set $limits "cpu" .value }}
          {{- if and (ne $.Job.cpuRequestRatio 1.0) (not (hasKey $requests "cpu")) }}
          {{- $_ := set $requests "cpu" (mulf .value $.Job.cpuRequestRatio | toString) }}
          {{- end }}
          {{- else if eq .type "memory" }}
          {{- $_ := set $limits "memory" (printf "%sM" .value) }}
          {{- if and (ne $.Job.memoryRequestRatio 1.0) (not (hasKey $requests "memory")) }}
          {{- $_ := set $requests "memory" (printf "%.2fM" (mulf .value $.Job.memoryRequestRatio)) }}
          {{- end }}
          {{- else if eq .type "CPU Request" }}
          {{- $_ := set $requests "cpu" .value }}
          {{- else if eq .type "Memory Request" }}
          {{- $_ := set $requests "memory" (printf "%sM" .value) }}
          {{- else if and (eq .type "NVIDIA GPUs") (ne (float64 .value) 0.0) }}
          {{- $_ := set $limits "nvidia.com/gpu" .value }}
          {{- else if and (eq .type "AMD GPUs") (ne (float64 .value) 0.0) }}
          {{- $_ := set $limits "amd.com/gpu" .value }}
          {{- end }}
          {{- end }}
          {{- if or $limits $requests }}
          resources:
            {{- with $limits }}
            limits:
              {{- toYaml . | nindent 14 }}
            {{- end }}
            {{- with $requests }}
            requests:
              {{- toYaml . | nindent 14 }}
            {{- end }}
          {{- end }}
          {{- with .Job.volumeMounts }}
          volumeMounts:
            {{- toYaml . | nindent 12 }}
          {{- end }}
