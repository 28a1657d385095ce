"""
Jobs that run in a virtual cluster of their own, by kns.

A nested job has its record in the plugin's namespace like every job: a Kubernetes Job, here a suspended one that never
gets a pod. The cluster is a job of kns; inside it the same Kubernetes Job runs. So lists, states, fields, expiry and
control are those of plain jobs, and a plugin that is killed finds everything in the records.
"""
