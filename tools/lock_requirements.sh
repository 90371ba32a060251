#!/bin/sh
# Resolve requirements/requirements.in to exact versions with hashes, in a scratch environment. Needs the package index.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

python3.11 -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check pip-tools
cd "$root"
"$scratch/venv/bin/pip-compile" --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
    --output-file "$scratch/requirements.txt" requirements/requirements.in
{
    echo "# What pip-compile resolved requirements.in to, for CPython 3.11; every file by its hash. Written by \`make requirements\`."
    cat "$scratch/requirements.txt"
} >requirements/requirements.txt
