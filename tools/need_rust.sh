#!/bin/sh
# Says what is missing to build the Rust crates: cargo and rustc, new enough, and a C compiler to link with.
#
# For a plain sh: `pip install` of the sdist runs it too (build_backend.py), and that may be in Alpine.
set -u
cd "$(dirname "$0")/.." || exit 1

failed=0
missing() { echo "everloop is built from source, and $1" >&2; failed=1; }

oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
for tool in cargo rustc; do
    if ! version=$("$tool" --version 2>/dev/null); then
        missing "$tool was not found. Install Rust $oldest or newer: https://rustup.rs"
    elif ! { echo "$oldest"; echo "$version" | cut -d' ' -f2; } | sort -C -V; then
        missing "$version is too old: it takes $oldest or newer (rustup update)"
    fi
done
command -v cc >/dev/null || missing "no C compiler (cc) was found to link with. Debian: apt install build-essential"
exit $failed
