"""One verdict for one `make lab`: every system's findings, what changed, what was restarted, and how long it took."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.model import Host, System
from lab.network import container
from lab.plays import Run
from lab.podman import execute
from lab.settings import STATE

VERDICT = STATE / "report/verdict.json"


def invocations(systems: tuple[System, ...]) -> dict[str, str]:
    """`host/service` → systemd's invocation id of each running service; a changed id is a restart."""
    pairs = [(host, system.services) for system in systems for host in system.hosts]
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda pair: _invocations(*pair), pairs)
    return {
        f"{host.name}/{service}": identifier
        for (host, _services), services in zip(pairs, found, strict=True)
        for service, identifier in services.items()
    }


def _invocations(host: Host, services: tuple[str, ...]) -> dict[str, str]:
    query = ("systemctl", "show", "--property=Id,InvocationID", *(f"{service}.service" for service in services))
    blocks = execute(container(host.name), *query, check=False).stdout.strip().split("\n\n")
    properties = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
    return {
        each["Id"].removesuffix(".service"): each["InvocationID"] for each in properties if each.get("InvocationID")
    }


def merge(
    runs: list[Run], restarted: list[str], started_hosts: list[str], seconds: float, *, check: bool = False
) -> dict[str, Any]:
    """The verdict document (DESIGN §9).

    A run that left no verdict of its own, or that proved nothing, is a failure, whatever its exit status was; in check
    mode nothing can be proven, so there only the tasks count.
    """
    systems: dict[str, Any] = {}
    for run in runs:
        document = json.loads(run.verdict.read_text(encoding="utf-8")) if run.verdict.exists() else {}
        good = document.get("status") == "ok" and (check or document.get("proven") is True)
        systems[run.system.name] = {
            "status": "ok" if good and run.returncode == 0 else "fail",
            "returncode": run.returncode,
            "seconds": round(run.seconds, 1),
            "log": str(run.log.relative_to(STATE)),
            "verdict": document or None,
        }
    return {
        "schema": 1,
        "lab": True,
        "check_mode": check,
        "simulated": True,
        "status": "ok" if systems and all(system["status"] == "ok" for system in systems.values()) else "fail",
        "seconds": round(seconds, 1),
        "changed": sum(changed(system) for system in systems.values()),
        "restarted": restarted,
        "started_hosts": started_hosts,
        "systems": systems,
    }


def changed(system: dict[str, Any]) -> int:
    """How many tasks changed something on the hosts of one system."""
    return sum(host["changed"] for host in (system["verdict"] or {}).get("hosts", {}).values())


def write(document: dict[str, Any]) -> None:
    VERDICT.parent.mkdir(parents=True, exist_ok=True)
    VERDICT.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def table(document: dict[str, Any]) -> str:
    """The verdict for people: one line per finding, then one per system, then the whole."""
    # A dict: what one read of the cluster said of several hosts stands in each host's part, and is told once.
    rows = {("SYSTEM", "SUBJECT", "CODE", "STATUS", "EVIDENCE"): None}
    for name, system in document["systems"].items():
        for host in (system["verdict"] or {}).get("hosts", {}).values():
            for finding in host["findings"]:
                marks = [mark for mark in ("simulated", "waived") if finding.get(mark)]
                status = " ".join([finding["status"], *(f"({mark})" for mark in marks)])
                rows[name, finding["subject"], finding["code"], status, finding["reason"]] = None
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    ]
    for name, system in document["systems"].items():
        page = f", page {STATE.name}/report/{name}.html" if system["verdict"] else ""
        lines.append(
            f"{name}: {system['status']}, {changed(system)} changed, {system['seconds']} s, log {STATE.name}/{system['log']}{page}"
        )
    restarted = ", ".join(document["restarted"]) or "nothing"
    lines.append(f"restarted: {restarted}")
    mode = "check mode, simulated hardware" if document["check_mode"] else "simulated hardware"
    lines.append(f"VERDICT: {document['status']} ({mode}) after {document['seconds']} s")
    return "\n".join(lines)
