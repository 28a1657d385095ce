#!/bin/sh
# lock.sh UV [OPTION...]: pins the dependencies of pyproject.toml, with hashes, in three files that agree with each other.
#
# A pinned version stays while pyproject.toml allows it. `--upgrade` takes the newest versions of all packages,
# `--upgrade-package NAME` those of one. UV is the path of the program uv.
set -eu
uv=$1
shift
cd "$(dirname "$0")/.."

# One file for every Python and platform that the project supports. Wheels only: a source distribution would run build
# tools that nothing pins. The files must not name the package index of the machine that writes them.
compile() {
    output=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: \
        --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
        --output-file "$output" "$@"
    echo "$output: $(grep -c == "$output") packages"
}

# The development environment has every package, so its versions bind the other two files.
compile requirements-dev.lock "$@" pyproject.toml --extra server --extra posit --group dev
compile requirements.lock --constraint requirements-dev.lock pyproject.toml --extra server
compile requirements-build.lock --constraint requirements-dev.lock --group build
