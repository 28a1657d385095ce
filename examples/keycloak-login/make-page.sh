#!/bin/bash
# A code that never was: refused as such, it shows that Keycloak knows the client and takes its secret.
set -euo pipefail
endpoint="$KNS_KEYCLOAK_URL/realms/$KNS_KEYCLOAK_REALM/protocol/openid-connect"
back="$KNS_JOB_URL/callback.html"
answer="$(curl --silent --show-error --max-time 10 --user "$KNS_KEYCLOAK_CLIENT_ID:$KNS_KEYCLOAK_CLIENT_SECRET" \
    --data grant_type=authorization_code --data code=none --data-urlencode "redirect_uri=$back" "$endpoint/token")"
case "$answer" in
    *invalid_grant*) echo "Keycloak knows client $KNS_KEYCLOAK_CLIENT_ID" ;;
    *) echo "Keycloak says: $answer" && exit 1 ;;
esac
login="$endpoint/auth?client_id=$KNS_KEYCLOAK_CLIENT_ID&amp;redirect_uri=$back&amp;response_type=code&amp;scope=openid"
kubectl create configmap page --dry-run=client --output=yaml \
    --from-literal=index.html="<!doctype html><title>Keycloak</title><h1>Keycloak</h1><p><a href=\"$login\">Log in</a></p>" \
    --from-literal=callback.html="<!doctype html><title>Back</title><p>Back, with a code for the app's server to redeem.</p>" |
    kubectl apply -f -
