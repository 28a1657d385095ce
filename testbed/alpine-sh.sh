#!/bin/sh
# The shell of the stand-in for Alpine. Alpine's C library, musl, knows \d in a regular expression, and vcluster's
# rewriting of a pod's /etc/hosts needs it. Debian's busybox does not know it, and its shell has a sed of its own.
for word; do
    shift
    set -- "$@" "$(printf '%s' "$word" | sed 's/\\d/[0-9]/g')"
done
exec /bin/busybox sh "$@"
