#!/bin/sh
# Resolve every environment's requirements.in to exact versions with hashes, in scratch environments. Needs the package index.
# What is pinned already stays at its version, unless UPGRADE=1 or requirements.in asks for another.
# Arguments: names of environments (tools/environments.sh); none means all of them.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd -P)
# shellcheck source-path=SCRIPTDIR
. "$root/tools/environments.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

lock() {
    folder=$(folder_of "$1")
    # Only the version that is named first: another one could leave out what this one needs.
    version=$(head -n 1 "$folder/python-versions")
    python=$(find_python "$version") || { say "$1: needs Python $version to be resolved; its pins stay as they are"; return 1; }
    tools=$scratch/$version
    if [ ! -d "$tools" ]; then
        "$python" -m venv "$tools"
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check pip-tools
    fi
    # pip-compile keeps to the versions that its output file names.
    [ ! -f "$folder/requirements.txt" ] || cp "$folder/requirements.txt" "$scratch/requirements.txt"
    cd "$folder"
    "$tools/bin/pip-compile" --quiet ${UPGRADE:+--upgrade} --generate-hashes --strip-extras --allow-unsafe --no-header \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
        --output-file "$scratch/requirements.txt" requirements.in
    {
        echo "# What pip-compile resolved requirements.in to, for CPython $version; every file by its hash. Written by \`make requirements\`."
        grep -v '^# What pip-compile resolved' "$scratch/requirements.txt"
    } >"$scratch/written"
    mv "$scratch/written" "$folder/requirements.txt"
    rm "$scratch/requirements.txt"
}

# shellcheck disable=SC2046 # names are words
[ $# -gt 0 ] || set -- $(environments)
unresolved=""
for name in "$@"; do
    # In a shell of its own, so that one whose Python is missing does not end the others.
    (lock "$name") || unresolved="$unresolved $name"
done
[ -z "$unresolved" ] || { say "not resolved:$unresolved"; exit 1; }
