"""Runs many playbooks, each as ansible-playbook does it, from one process that has read Ansible's code once.

Called with a file of jobs ``[{"arguments": [...], "log": path, "verdict": path}]``; writes their exit statuses beside it, as
``<file>.done``. Starting ansible-playbook costs a second, most of which is reading its code: fifty runs take a minute by
themselves, and a quarter of it from here.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# Read before the forks, so that the children need not. Ansible itself must be the first to read a collection.
import ansible.executor.playbook_executor
import ansible.executor.task_queue_manager
import ansible.plugins.loader
import cryptography.x509
import yaml
from ansible.cli.playbook import PlaybookCLI
from ansible.plugins import strategy as _strategy

# Collections can be read only when Ansible's own loader is there; each run would set it up by itself, and then has it.
ansible.plugins.loader.init_plugin_loader()

from ansible_collections.baremetal.gpu.plugins.action import preflight as _preflight  # noqa: E402
from ansible_collections.baremetal.gpu.plugins.callback import verdict as _verdict  # noqa: E402
from ansible_collections.baremetal.gpu.plugins.plugin_utils import preflight_rules  # noqa: E402

LOADED = (ansible, cryptography, yaml, _strategy, _preflight, _verdict)
preflight_rules.load_rules()
AT_ONCE = 2


def start(job: dict[str, object]) -> int:
    """Fork; the child becomes one run of ansible-playbook."""
    child = os.fork()
    if child:
        return child
    log = os.open(str(job["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["BAREMETAL_GPU_VERDICT_FILE"] = str(job["verdict"])
    status = 250
    try:
        status = PlaybookCLI(["ansible-playbook", *map(str, job["arguments"])]).run()  # type: ignore[call-overload]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)


def main(path: Path) -> None:
    """Run all jobs, a few at once."""
    jobs = json.loads(path.read_text(encoding="utf-8"))
    statuses: list[int | None] = [None] * len(jobs)
    running: dict[int, int] = {}
    for index, job in enumerate(jobs):
        if len(running) >= AT_ONCE:
            child, status = os.wait()
            statuses[running.pop(child)] = os.waitstatus_to_exitcode(status)
        running[start(job)] = index
    while running:
        child, status = os.wait()
        statuses[running.pop(child)] = os.waitstatus_to_exitcode(status)
    path.with_suffix(".done").write_text(json.dumps(statuses), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
