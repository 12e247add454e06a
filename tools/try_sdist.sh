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

# From nothing, in pip's own directory: the files of the archive are of one old date, so cargo would take what an earlier
# archive was built to for the newest.
env -u PYO3_PYTHON -u CARGO_TARGET_DIR \
    "$interpreter" -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir "$built" "$directory"/everloop-*.tar.gz
tools/try_wheel.sh "$built" "$interpreter"
