#!/usr/bin/env bash
# Builds a wheel from the source distribution, as pip does where there is no wheel, and tries that.
#
#   try_sdist.sh DIRECTORY INTERPRETER
set -euo pipefail
cd "$(dirname "$0")/.."
directory=$1 interpreter=$2
built=target/try-sdist
rm -rf "$built"
mkdir -p "$built"

# the crates of this tree and of the archive are the same: what is built of others need not be built twice
env -u PYO3_PYTHON CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}" \
    "$interpreter" -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir "$built" "$directory"/everloop-*.tar.gz
tools/try_wheel.sh "$built" "$interpreter"
