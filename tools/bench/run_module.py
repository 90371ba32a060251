"""Run one of the collection's modules as Ansible would, in this process, and keep how much memory it took.

`python -m tools.bench.run_module NAME ARGUMENTS.json PEAK`: the file PEAK gets the most resident memory that this process had, in bytes.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from ansible.module_utils import basic

from lab.settings import REPOSITORY


def main(name: str, arguments: Path, peak: Path) -> None:
    """The module's result goes to the standard output, its exit status is this process's."""
    sys.path.insert(0, str(REPOSITORY / "collections"))
    module = importlib.import_module(f"ansible_collections.baremetal.gpu.plugins.modules.{name}")
    values = json.loads(arguments.read_text(encoding="utf-8"))
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": values}).encode()
    # ansible-core from 2.19 on asks which serialization profile the controller speaks.
    basic._ANSIBLE_PROFILE = "legacy"
    try:
        module.main()
    finally:
        peak.write_text(str(peak_bytes(Path("/proc/self/status").read_text(encoding="utf-8"))), encoding="ascii")


def peak_bytes(status: str) -> int:
    """The most resident memory of a process, from its status (proc(5), VmHWM).

    What a parent gets from wait4 would be wrong: it begins with the memory of whoever started the process.
    """
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
