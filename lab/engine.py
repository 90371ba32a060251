"""The lab's main job: from nothing, or from what already runs, to a verdict."""

from __future__ import annotations

from lab import hosts, plays, report, site
from lab.artefacts import build_all
from lab.model import hosts_of, select
from lab.progress import elapsed, say


def up(names: list[str] | None) -> list[str]:
    """Build what is missing, boot the hosts of the chosen systems and prepare the site; return the hosts started now."""
    chosen = select(names)
    artefacts = build_all()
    machines = hosts_of(chosen)
    started = hosts.up(machines, artefacts.simulation)
    site.prepare(machines, artefacts)
    return started


def lab(names: list[str] | None, *, check: bool = False) -> int:
    """`make lab`: boot, run the playbooks, write and print the verdict. Returns 0 when the verdict is ok, else 1.

    With `check` the playbooks only predict what they would change.
    """
    chosen = select(names)
    started = up(names)
    before = report.invocations(chosen)
    runs = plays.run(chosen, ("--check", "--diff") if check else ())
    after = report.invocations(chosen)
    restarted = sorted(name for name, identifier in before.items() if after.get(name) != identifier)
    document = report.merge(runs, restarted, started, elapsed(), check=check)
    report.write(document)
    for run in runs:
        if run.returncode:
            say(f"{run.system.name}: last lines of {run.log}")
            print("\n".join(run.log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]))
    print(report.table(document))
    return 0 if document["status"] == "ok" else 1
