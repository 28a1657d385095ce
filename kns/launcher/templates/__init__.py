"""
A site's `job.tpl` and `service.tpl`, rendered to Kubernetes objects.

Templates belong to the site and may run programs. The values of a job belong to its user and never change the
structure of the YAML.
"""
