#!/usr/bin/env bash
# Builds one wheel for each CPython version, into a directory that keeps no older ones of this platform.
#
#   build_wheels.sh DIRECTORY PLATFORM VERSION...      PLATFORM: manylinux_2_17, musllinux_1_2
#
# zig links, since it knows the symbols of each C library: the wheel asks for no newer one than its tag says, wherever it is
# built. The interpreters need not be here.
set -euo pipefail
cd "$(dirname "$0")/.."
directory=$1 platform=$2
shift 2

target=$(uname -m)-unknown-linux-gnu
if [[ $platform = musllinux* ]]; then target=$(uname -m)-unknown-linux-musl; fi

rm -f "$directory"/everloop-*"$platform"_"$(uname -m)".whl
# PYO3_PYTHON would have each of them built for that interpreter
env -u PYO3_PYTHON maturin build --release --locked --zig --target "$target" --compatibility "$platform" \
    --out "$directory" "${@/#/--interpreter=python}"
