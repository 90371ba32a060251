"""Verdict documents for tests of what shows them, made as the callback makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report import Counts, Record


@dataclass(frozen=True)
class Host:
    """One host of a run: its findings, Ansible's counts, and whether the inventory calls it a lab host."""

    findings: tuple[dict[str, Any], ...]
    counts: Counts
    lab: bool


def finding(code: str = "BG-GPU-001", **more: Any) -> dict[str, Any]:
    return {"code": code, "subject": "one", "status": "ok", **more}


def host(*findings: dict[str, Any], lab: bool = True, failed: int = 0, unreachable: int = 0) -> Host:
    return Host(findings, Counts(failed=failed, unreachable=unreachable), lab)


def verdict(
    hosts: Mapping[str, Host], *, check_mode: bool = False, clusters: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    record = Record()
    for name, each in hosts.items():
        if each.findings:
            record.add(name, "Judge", {RESULT_KEY: list(each.findings)}, changed=False)
    return record.document(
        playbook="verify.yml",
        started="2026-01-15T08:00:00Z",
        finished="2026-01-15T08:01:00Z",
        elapsed_s=60.0,
        check_mode=check_mode,
        lab={name: each.lab for name, each in hosts.items()},
        counts={name: each.counts for name, each in hosts.items()},
        clusters=clusters,
    )
