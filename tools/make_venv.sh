#!/usr/bin/env bash
# Makes a virtual environment with the given dependency groups of pyproject.toml.
#
#   make_venv.sh DIRECTORY INTERPRETER GROUP...
#
# A venv that is there and runs the same CPython version is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 interpreter=$2
shift 2

version() { "$1" -c 'import sys; print(sys.version)' 2>/dev/null; }
if [ "$(version "$venv/bin/python")" != "$(version "$interpreter")" ]; then
    "$interpreter" -m venv --clear "$venv"
fi

# `--group` came with pip 25.1; the pip that a venv starts with is the interpreter's age
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install --quiet 'pip>=25.1'
"${pip[@]}" install --quiet "${@/#/--group=}"
