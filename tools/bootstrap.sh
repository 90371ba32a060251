#!/bin/sh
# Make the checkout's virtual environment (.venv), or make it anew when its pins changed. Fast when there is nothing to do.
# Needs Python 3.11 to 3.13; on Debian the package python3-venv is installed when it is missing and we are root.
# PYTHON=/path/to/python chooses the interpreter.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd -P)
venv=$root/.venv

say() { printf '%s\n' "$*" >&2; }

usable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

choose_python() {
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13}; do
        if usable "$candidate"; then
            # The interpreter behind a version manager's shim, or behind this very environment when it comes first in PATH.
            "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
            return
        fi
    done
    say "No usable Python: ansible-core of this release needs 3.11, 3.12 or 3.13. Install one (Debian: python3) or set PYTHON=."
    return 1
}

ensure_venv_module() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "Installing python3-venv ..."
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2
        return
    fi
    say "$1 cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv), then run this again."
    return 1
}

# What the environment is made from: its place on disk, the interpreter and the pins. Any other of these makes it anew from
# nothing, so that a package that is no longer pinned does not stay behind.
identity() {
    printf '%s\n' "$venv"
    "$1" -c 'import sys; print(sys.executable, sys.version)'
    (cd "$root" && cat requirements/requirements.txt requirements/collections.txt collections/requirements.yml tools/unpack_collections.py) | sha256sum
}

# One at a time in this checkout: the lock is on this script itself, so it leaves no file, and it ends with the process.
exec 9<"$root/tools/bootstrap.sh"
flock 9

python=$(choose_python)
wanted=$(identity "$python")
[ "$wanted" != "$(cat "$venv/identity" 2>/dev/null || true)" ] || exit 0

ensure_venv_module "$python"
rm -rf "$venv"
say "Making .venv with $("$python" --version) ..."
"$python" -m venv "$venv"
say "Installing the pinned Python packages ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$root/requirements/requirements.txt"
say "Unpacking the collections this one needs ..."
"$venv/bin/python" "$root/tools/unpack_collections.py"
# Last: an environment without it was not finished.
printf '%s\n' "$wanted" >"$venv/identity"
