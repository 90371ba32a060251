#!/usr/bin/env python3
"""Print how long the last `make lab` took, beside the budgets. Run by `make bench`.

Reads what the lab engine wrote (.lab/report/verdict.json); it measures nothing itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

VERDICT = Path(__file__).resolve().parent.parent / ".lab" / "report" / "verdict.json"

# Seconds: from nothing running to the verdict with warm caches, and a run that changes nothing.
BUDGET_WARM_S = 300
BUDGET_NO_CHANGE_S = 60

NOT_MEASURED = (
    "ratio to the same steps done by hand (floor)",
    "controller CPU per host of the no-change run",
    "wall time by number of hosts",
    "repetitions: one run is shown, not minimum, median and maximum",
)


def lines(document: dict[str, Any]) -> list[str]:
    """The timings of one verdict document, in seconds."""
    unchanged = document["changed"] == 0 and not document["started_hosts"]
    kind, budget = ("no-change run", BUDGET_NO_CHANGE_S) if unchanged else ("run with changes", BUDGET_WARM_S)
    table = [f"last run: {kind}, {document['seconds']:.1f} s (budget {budget} s), verdict {document['status']}"]
    for name, system in document["systems"].items():
        hosts = (system["verdict"] or {}).get("hosts", {})
        tasks = max((host["ok"] + host["skipped"] for host in hosts.values()), default=0)
        table.append(
            f"  {name}: playbook {system['seconds']:.1f} s, {len(hosts)} hosts, at most {tasks} tasks on one host"
        )
    return table


def main() -> int:
    """Print; 1 when there is no run to tell about."""
    if not VERDICT.exists():
        print("no timings: run `make lab` first", file=sys.stderr)
        return 1
    document = json.loads(VERDICT.read_text(encoding="utf-8"))
    print("\n".join([*lines(document), "not measured yet:", *(f"  {item}" for item in NOT_MEASURED)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
