#!/bin/bash
# Safe to repeat: a second run upgrades what the first one left, even if that one was killed in the middle.
# With --wait it ends when the pods run.
set -euo pipefail
kns-helm-unlock page --namespace pages
helm upgrade --install page ./charts/page \
    --namespace pages --create-namespace \
    --set-literal user="$KNS_JOB_USER" --set-string job="$KNS_JOB_NUMBER" \
    --wait --timeout 3m
