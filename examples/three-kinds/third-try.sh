#!/bin/bash
# Fails twice and succeeds at the third try; the count lives in the job's own cluster.
set -euo pipefail
tries="$(kubectl get configmap tries --ignore-not-found --output jsonpath='{.data.count}')"
tries="$((${tries:-0} + 1))"
kubectl create configmap tries --from-literal=count="$tries" --dry-run=client --output yaml | kubectl apply -f -
echo "this is try $tries"
[ "$tries" -ge 3 ]
