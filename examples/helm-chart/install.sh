#!/bin/bash
# Safe to repeat: a second run upgrades what the first one left. With --wait its end is that of the pods' start.
set -euo pipefail
helm upgrade --install page ./charts/page \
    --namespace pages --create-namespace \
    --set-literal user="$KNS_JOB_USER" --set-string job="$KNS_JOB_NUMBER" \
    --wait --timeout 3m
