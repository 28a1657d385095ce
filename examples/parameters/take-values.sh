#!/bin/bash
# Uploads and account variables reach this pod only: hand them on to the job's own cluster. Whatever is printed here is
# in the job's log, so of jobenv.sh only the keys are.
set -euo pipefail
sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/jobenv.sh has \1/p' /etc/JARVICE/jobenv.sh
echo "greeting is a plain variable: $greeting"

page=/opt/page.html
[ -f "$page" ] || page=default.html
kubectl create configmap page --from-file=page.html="$page" --dry-run=client --output yaml | kubectl apply -f -
# Through a pipe: an argument would be in the list of processes.
printf %s "$LAB_TOKEN" | kubectl create secret generic lab --from-file=token=/dev/stdin --dry-run=client --output yaml \
    | kubectl apply -f -
