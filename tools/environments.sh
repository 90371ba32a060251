# shellcheck shell=sh
# Which virtual environments a checkout has and which Python each is for; sourced by the scripts that make and lock them.
# The script that sources this sets `root`, the checkout.
#
# An environment is a folder with `python-versions` (the first is the one that its pins are resolved with), `requirements.in`,
# `requirements.txt` and `collections.txt`:
#   main      requirements/                .venv                   what everything in the checkout runs with
#   <lane>    requirements/lanes/<lane>/   .venv/lanes/<lane>/     the same collection on another ansible-core

: "${root:?is set by the script that sources this}"

say() { printf '%s\n' "$*" >&2; }

# Run a command that needs the network, again after each pause (seconds) while it fails. pip and apt keep every file that they
# have whole, so another attempt asks only for the rest.
persist_pauses="2 5 15 30"
persist() {
    for pause in $persist_pauses; do
        if "$@"; then return; fi
        say "$1 was interrupted; going on in $pause s"
        sleep "$pause"
    done
    "$@"
}

environments() {
    echo main
    for folder in "$root"/requirements/lanes/*/; do basename "$folder"; done
}

folder_of() {
    if [ "$1" = main ]; then echo "$root/requirements"; else echo "$root/requirements/lanes/$1"; fi
}

place_of() {
    if [ "$1" = main ]; then echo "$root/.venv"; else echo "$root/.venv/lanes/$1"; fi
}

versions_of() { tr '\n' ' ' <"$(folder_of "$1")/python-versions"; }

# Whether the interpreter $1 is of one of the versions in the rest of the arguments.
is_one_of() {
    "$1" - "$@" 2>/dev/null <<'PYTHON'
import sys
sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv[2:])
PYTHON
}

# Prints the first interpreter on PATH, or among a version manager's, that is of a version among the arguments.
find_python() {
    for version in "$@"; do
        for candidate in "python$version" python3 "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python3; do
            if is_one_of "$candidate" "$version"; then
                # The interpreter behind a version manager's shim, or behind a virtual environment that comes first in PATH.
                "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
                return
            fi
        done
    done
    return 1
}
