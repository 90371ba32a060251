#!/bin/sh
# Make a virtual environment of this checkout, or make it anew when its pins changed. Fast when there is nothing to do.
# Argument: the environment's name (tools/environments.sh); none means main, which is .venv.
# On Debian the package python3-venv is installed when it is missing and we are root.
# BASE_PYTHON=/path/to/python chooses the interpreter of main.
# Exit status 3: no Python that the environment needs is found here.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd -P)
# shellcheck source-path=SCRIPTDIR
. "$root/tools/environments.sh"
name=${1:-main}
folder=$(folder_of "$name")
venv=$(place_of "$name")
versions=$(versions_of "$name")

choose_python() {
    # shellcheck disable=SC2086 # versions are words
    if [ "$name" = main ] && [ -n "${BASE_PYTHON:-}" ]; then
        is_one_of "$BASE_PYTHON" $versions && "$BASE_PYTHON" -c 'import sys; print(sys._base_executable)'
    else
        find_python $versions
    fi
}

ensure_venv_module() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "Installing python3-venv ..."
        persist apt-get update -qq >&2
        persist env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2
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
    (cd "$root" && cat "$folder/requirements.txt" "$folder/collections.txt" collections/requirements.yml tools/unpack_collections.py) | sha256sum
}

# One at a time in this checkout: the lock is on this script itself, so it leaves no file, and it ends with the process.
exec 9<"$root/tools/bootstrap.sh"
flock 9

python=$(choose_python) || {
    say "No usable Python for environment $name: it needs one of $versions. Install one (Debian: python3) or set BASE_PYTHON=."
    exit 3
}
wanted=$(identity "$python")
[ "$wanted" != "$(cat "$venv/identity" 2>/dev/null || true)" ] || exit 0

ensure_venv_module "$python"
# First, so that what an interrupted run leaves is nobody's environment, also of a checkout that goes back to the former pins.
rm -f "$venv/identity"
# Lanes have an identity of their own, and tools know themselves when their caches are stale.
[ ! -d "$venv" ] || find "$venv" -mindepth 1 -maxdepth 1 ! -name lanes ! -name cache -exec rm -rf {} +
say "Making ${venv#"$root/"} with $("$python" --version) ..."
"$python" -m venv "$venv"
say "Installing the pinned Python packages ..."
persist "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$folder/requirements.txt"
say "Unpacking the collections this one needs ..."
persist "$venv/bin/python" "$root/tools/unpack_collections.py" "$folder/collections.txt"
# Last: an environment without it was not finished.
printf '%s\n' "$wanted" >"$venv/identity"
