# Version: 1
{{- /* The Service of a job that exposes ports. Ports that are published on the node are not part of it. */}}
apiVersion: v1
kind: Service
metadata:
  name: {{ toYaml .Job.serviceName }}
  labels:
    job-name: {{ toYaml .Job.id }}
spec:
  type: NodePort
  clusterIP: ""
  selector:
    job-name: {{ toYaml .Job.id }}
  ports:
    {{- $number := 0 }}
    {{- range .Job.exposedPorts }}
    {{- if not .publishedPort }}
    - name: port{{ $number }}
      protocol: {{ toYaml .protocol }}
      port: {{ int .targetPort }}
      targetPort: {{ int .targetPort }}
    {{- $number = add $number 1 }}
    {{- end }}
    {{- end }}
