#!/bin/sh
# venv.sh FOLDER: the virtual environment of this checkout, with what development needs. Its last act is FOLDER/ready;
# a folder without that file is the remains of an interrupted run. Speaks on stderr only.
set -eu
venv=$1
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

say() {
    echo "venv: $*" >&2
}

if ! command -v "$python" >/dev/null && command -v apt-get >/dev/null; then
    say "installing the Debian packages python3 and python3-venv with apt-get; they stay"
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
    say "installing the Debian package python3-venv with apt-get; it stays, \`apt-get remove python3-venv\` undoes it"
    apt-get -qq update >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends python3-venv >&2
fi
say "making $venv from pyproject.toml and requirements.lock, about a minute"
# Environments of older dependencies of this checkout go with it.
rm -rf "$(dirname "$venv")"
mkdir -p "$venv"
"$python" -m venv "$venv" >&2
"$python" - >"$venv/dev.txt" <<'PYTHON'
import tomllib

with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["dependency-groups"]["dev"], sep="\n")
PYTHON
"$venv/bin/pip" --disable-pip-version-check --quiet install -c requirements.lock -r "$venv/dev.txt" -e . >&2
touch "$venv/ready"
