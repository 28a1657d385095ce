#!/bin/sh
# venv.sh FOLDER: creates the development environment of this checkout. The file FOLDER/ready is written last: a folder
# without it is left over from an interrupted run. All output goes to stderr.
set -eu
venv=$1
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

say() {
    echo "venv: $*" >&2
}

if ! command -v "$python" >/dev/null && command -v apt-get >/dev/null; then
    say "installing the Debian packages python3 and python3-venv with apt-get; they are not removed afterwards"
    apt-get -qq update >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends python3 python3-venv >&2
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "$python is missing or older than 3.11; install Python 3.11 or set PYTHON"
    exit 1
fi
mkdir -p "$(dirname "$venv")"
exec 9>"$(dirname "$venv").lock"
flock 9
[ ! -e "$venv/ready" ] || exit 0
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    say "installing the Debian package python3-venv with apt-get; \`apt-get remove python3-venv\` removes it"
    apt-get -qq update >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends python3-venv >&2
fi
say "making $venv from requirements-dev.lock, about a minute"
# The environments that this checkout had for other dependencies are removed as well.
rm -rf "$(dirname "$venv")"
mkdir -p "$venv"
"$python" -m venv "$venv" >&2
"$venv/bin/pip" --disable-pip-version-check --quiet install --require-hashes --only-binary :all: \
    -r requirements-dev.lock >&2
# The build backend comes from the lock: pip must not download another one.
"$venv/bin/pip" --disable-pip-version-check --quiet install --no-index --no-deps --no-build-isolation -e . >&2
touch "$venv/ready"
