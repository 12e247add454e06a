#!/usr/bin/env bash
# Installs what is in a directory the way a user does, without Rust, and tries it: the smoke test in an environment that has
# nothing but everloop, then some of the tests.
#
#   try_wheel.sh DIRECTORY INTERPRETER
set -euo pipefail
cd "$(dirname "$0")/.."
directory=$1 interpreter=$2
tests=(tests/test_{loop_core,timers,to_thread,block_on,import,rescue}.py)

version=$("$interpreter" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=$PWD/target/try-wheel/$version
"$interpreter" -m venv --clear "$venv"

# The directories of PATH in which there is no Rust.
path=$venv/bin
while read -r -d: part; do
    if [ ! -e "$part/cargo" ] && [ ! -e "$part/rustc" ]; then path+=:$part; fi
done <<<"$PATH:"
export PATH=$path
unset PYTHONPATH PYO3_PYTHON
if command -v cargo rustc; then echo "there is Rust on PATH all the same" >&2; exit 1; fi

pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --only-binary :all:)
"${pip[@]}" --no-index --find-links "$directory" everloop
"$venv/bin/python" -I tools/smoke.py
"${pip[@]}" pytest anyio
"$venv/bin/python" -m pytest -q "${tests[@]}"
