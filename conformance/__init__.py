"""
Kubernetes' own conformance tests, run inside a job: `make conformance`.

`choice.yaml` declares which tests run, and which are known to fail and why. docs/conformance.md has the last results.
"""
