#!/usr/bin/env bash
# Prints the path of a CPython that everloop runs on; says what was tried, and what is missing, where none fits.
#
#   find_python.sh [VERSION...]     default: 3.13, 3.12, 3.14, 3.15, the first that is found
#
# $PYTHON is tried first. Every candidate is run, since one that is on PATH need not work (a pyenv shim of a version that
# is not switched on) nor be complete (Debian's python3 without python3-venv).
set -uo pipefail

versions=("$@")
[ $# -gt 0 ] || versions=(3.13 3.12 3.14 3.15)

# Ends without a word when the interpreter fits, else says in one line what is wrong with it.
probe='
import importlib.util, sys, sysconfig
wanted = sys.argv[1]
version = "%d.%d" % sys.version_info[:2]
missing = [name for name in ("venv", "ensurepip", "ssl", "ctypes", "sqlite3") if not importlib.util.find_spec(name)]
if sys.implementation.name != "cpython":
    sys.exit("is not CPython")
if version != wanted:
    sys.exit("is CPython " + version)
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit("is a free-threaded build, not supported yet")
if missing:
    sys.exit("lacks the module %s (Debian: apt install python3-venv)" % ", ".join(missing))
print(sys.executable)
'

candidates() {
    type -ap "python$1" python3
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python3 2>/dev/null | sort -Vr
    ls -d "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/cpython-"$1".*/bin/python3 2>/dev/null | sort -Vr
}

tried=''

# Prints the candidate's path and ends the script if it is the version: try CANDIDATE VERSION
try() {
    local answer
    if answer=$("$1" -c "$probe" "$2" 2>&1 </dev/null); then
        echo "$answer"
        exit 0
    fi
    tried+="  $1: $(tail -n 1 <<<"$answer")"$'\n'
}

if [ -n "${PYTHON:-}" ]; then
    for version in "${versions[@]}"; do try "$PYTHON" "$version"; done
fi
for version in "${versions[@]}"; do
    while read -r candidate; do try "$candidate" "$version"; done < <(candidates "$version")
done

{
    echo "everloop needs CPython ${versions[*]} (any one of them), and none was found. Tried:"
    if [ -n "$tried" ]; then sort -u <<<"${tried%$'\n'}"; else echo "  (no python at all)"; fi
    echo "Install one (Debian: apt install python3-venv; anywhere: pyenv install ${versions[0]}), or say where it is:"
    echo "  make run PYTHON=/path/to/python${versions[0]}"
} >&2
exit 1
