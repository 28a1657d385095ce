#!/bin/sh
# Prepares a Keycloak realm for kns: the realm, kns's own confidential client with a service account, and for that
# account the one role that kns needs (manage-clients of realm-management). What is there already stays as it is, so
# the script may be run again. At the end it prints the four settings of kns, the secret among them.
#
#   KC_CLI_PASSWORD=... sh docs/keycloak-realm.sh https://kc.example.org [realm] [client] > kns-keycloak.env
#
# First argument: the server's address, with /auth if it has that. KC_ADMIN is the administrator's name (admin),
# KCADM the tool of the Keycloak distribution (kcadm.sh). The administrator is one of realm "master".
set -eu

url="${1:?usage: keycloak-realm.sh URL [REALM] [CLIENT]}"
realm="${2:-jarvice}"
client="${3:-kns}"
: "${KC_CLI_PASSWORD:?set it to the password of the administrator ${KC_ADMIN:-admin}}"
export KC_CLI_PASSWORD # read by kcadm.sh; on its command line everybody on this machine could read it

config="$(mktemp)"
trap 'rm -f "$config"' EXIT INT TERM

kcadm() {
    command="$1"
    shift
    "${KCADM:-kcadm.sh}" "$command" "$@" --config "$config"
}

find_client() {
    kcadm get clients -r "$realm" -q "clientId=$client" --fields id --format csv --noquotes
}

"${KCADM:-kcadm.sh}" config credentials --config "$config" --server "$url" --realm master --user "${KC_ADMIN:-admin}" >&2

if ! kcadm get "realms/$realm" >/dev/null 2>&1; then
    kcadm create realms -s "realm=$realm" -s enabled=true >&2
fi

if [ -z "$(find_client)" ]; then
    kcadm create clients -r "$realm" \
        -s "clientId=$client" -s 'description=kns: makes and removes the clients of its jobs' \
        -s publicClient=false -s clientAuthenticatorType=client-secret -s serviceAccountsEnabled=true \
        -s standardFlowEnabled=false -s directAccessGrantsEnabled=false >&2
fi

kcadm add-roles -r "$realm" --uusername "service-account-$client" --cclientid realm-management \
    --rolename manage-clients >&2

id="$(find_client)"
secret="$(kcadm get "clients/$id/client-secret" -r "$realm" --fields value --format csv --noquotes)"
cat <<EOF
JARVICE_KNS_KEYCLOAK_URL=$url
JARVICE_KNS_KEYCLOAK_REALM=$realm
JARVICE_KNS_KEYCLOAK_CLIENT_ID=$client
JARVICE_KNS_KEYCLOAK_CLIENT_SECRET=$secret
EOF
