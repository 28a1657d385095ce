#!/bin/sh
# Resolves the ranges of pyproject.toml in an environment of its own and writes requirements.lock.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" --disable-pip-version-check --quiet install .
{
    echo "# The exact versions of the scheduler image; made by \`make lock\` from the ranges in pyproject.toml."
    "$work/venv/bin/pip" --disable-pip-version-check freeze --exclude kns --exclude pip --exclude setuptools
} >"$work/requirements.lock"
cp "$work/requirements.lock" requirements.lock
echo "requirements.lock: $(grep -c == requirements.lock) packages"
