#!/bin/sh
# Every static check; all of them run, and the exit status says whether one failed. Run by `make lint`.
set -u

cd "$(dirname "$0")/.." || exit 1
PATH=$PWD/.venv/bin:$PATH
failed=""

check() {
    name=$1
    shift
    printf '== %s\n' "$name"
    "$@" || failed="$failed $name"
}

# Files of this repository, also ones not added yet, whose first line names a shell.
shell_scripts() {
    git ls-files --cached --others --exclude-standard | while read -r file; do
        if [ -f "$file" ] && [ ! -L "$file" ] && head -c 64 "$file" | head -n 1 | grep -qaE '^#!.*[/ ](ba|da)?sh$'; then
            printf '%s\n' "$file"
        fi
    done
}

check yamllint yamllint --strict .
check ruff ruff check --quiet .
check ruff-format ruff format --check --quiet .
check mypy mypy -p lab -p tools -p molecule -p ansible_collections.baremetal.gpu.plugins -p ansible_collections.baremetal.gpu.tests
# shellcheck disable=SC2046 # no file here has a space in its name; a test keeps it so
check shellcheck shellcheck --external-sources $(shell_scripts)
check codespell codespell
check ansible-lint ansible-lint --offline -q

if [ -n "$failed" ]; then
    printf 'FAILED:%s\n' "$failed"
    exit 1
fi
echo "lint: all clean"
