"""Every seeded fault, the code that must name it, and what is found: `make test-faults` prints the table, `make docs` writes it.

A fault is one defect in readings that are healthy otherwise (tests/support/seeded_faults.py). The modules named below give them, and
the healthy variants, of which nothing may be found.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from types import ModuleType
from typing import Any

from ansible_collections.baremetal.gpu.tests.support.seeded_faults import SeededFault
from tools.docs import markup

SUPPORT = "ansible_collections.baremetal.gpu.tests.support"
MODULES = ("health_faults", "capacity_faults", "nccl_faults")

BAD = ("fail", "unknown")
TOLD = (*BAD, "warn")


@dataclass(frozen=True)
class FollowUp:
    """Findings that some faults bring with them because they are true as well. Faults and codes are patterns."""

    area: str
    faults: tuple[str, ...]
    codes: tuple[str, ...]
    statuses: tuple[str, ...]
    why: str

    def explains(self, fault: SeededFault, code: str, status: str) -> bool:
        return (
            fault.area == self.area
            and status in self.statuses
            and any(fnmatchcase(fault.name, pattern) for pattern in self.faults)
            and any(fnmatchcase(code, pattern) for pattern in self.codes)
        )


_DRIVERLESS = ("nvidia-smi fails", "nvidia-smi hangs", "driver and library mismatch, as NVML says")
_OTHER_MODEL = ("model without thresholds", "page retirement pending")
FOLLOW_UPS = (
    FollowUp("nccl", ("*",), ("BG-NCCL-030",), BAD, "what pairs show of a culprit is told of all pairs together, too"),
    FollowUp(
        "nccl",
        ("*",),
        ("BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-003"),
        ("unknown",),
        "what stops a run keeps it from showing its end, its bandwidth and whether its data are right",
    ),
    FollowUp(
        "host",
        _DRIVERLESS,
        ("BG-GPU-*", "BG-HEALTH-*"),
        ("unknown",),
        "without the driver nothing of its GPUs can be read",
    ),
    FollowUp("host", _DRIVERLESS[2:], ("BG-GPU-014",), ("fail",), "for that reason the driver does not answer"),
    FollowUp("host", _OTHER_MODEL, ("BG-HEALTH-*",), ("unknown",), "a model that is not listed has no thresholds"),
    FollowUp("host", _OTHER_MODEL, ("BG-GPU-003",), ("fail",), "it is not the declared model"),
    FollowUp(
        "host",
        ("GPU on the bus that the driver did not take",),
        ("BG-GPU-001",),
        ("fail",),
        "the driver counts one GPU less than is declared",
    ),
    FollowUp(
        "host",
        ("fabric manager not installed",),
        ("BG-HEALTH-023",),
        ("fail",),
        "without it the fabric is never completed",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What was found of one fault, or of one healthy variant.

    ``told`` are the codes of all findings that are neither ok nor skipped; ``others`` are those among the bad ones that are
    neither expected nor follow-ups.
    """

    fault: SeededFault
    told: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def good(self) -> bool:
        if not self.fault.expected:
            return not self.told
        return self.fault.expected in self.told and not self.others


def found(names: Sequence[str] = MODULES) -> tuple[SeededFault, ...]:
    """The faults and then the healthy variants of every module that there is, in order."""
    modules = {
        name.removesuffix("_faults"): importlib.import_module(f"{SUPPORT}.{name}")
        for name in names
        if importlib.util.find_spec(f"{SUPPORT}.{name}")
    }
    given = [each for area, module in modules.items() for each in _of_module(area, module)]
    return tuple(sorted(given, key=lambda each: not each.expected))


def _of_module(area: str, module: ModuleType) -> list[SeededFault]:
    """What a module gives. It may give its healthy variants among its faults, or by themselves, then also as findings by name."""
    faults = list(module.faults())
    return [*faults, *_variants(area, module.healthy())] if hasattr(module, "healthy") else faults


def _variants(area: str, given: Mapping[str, Sequence[Mapping[str, Any]]] | Iterable[SeededFault]) -> list[SeededFault]:
    if not isinstance(given, Mapping):
        return list(given)
    told = {name: [dict(finding) for finding in findings] for name, findings in given.items()}
    return [SeededFault(name, area, "", partial(list, findings)) for name, findings in told.items()]


def judged(fault: SeededFault, follow_ups: Sequence[FollowUp] = FOLLOW_UPS) -> Outcome:
    """Judge one fault. A waived unknown is no less bad here: a fault waives nothing."""
    found = {(str(finding["code"]), str(finding["status"])) for finding in fault.findings()}
    others = {
        code
        for code, status in found
        if status in BAD
        and code != fault.expected
        and not any(each.explains(fault, code, status) for each in follow_ups)
    }
    return Outcome(fault, tuple(sorted({code for code, status in found if status in TOLD})), tuple(sorted(others)))


def rows(outcomes: Iterable[Outcome]) -> list[list[str]]:
    """The table, one row per fault and variant."""
    return [
        [
            outcome.fault.area,
            outcome.fault.name,
            outcome.fault.expected or "none",
            *_got(outcome),
            "yes" if outcome.good else "NO",
        ]
        for outcome in outcomes
    ]


HEADER = ["area", "fault", "expected", "got", "with it", "as expected"]


def _got(outcome: Outcome) -> tuple[str, str]:
    """The expected code when it was told, and what was told besides."""
    rest = [code for code in outcome.told if code != outcome.fault.expected]
    if not outcome.fault.expected:
        return ", ".join(rest) or "none", ""
    return outcome.fault.expected if len(rest) < len(outcome.told) else "none", ", ".join(rest)


def summary(outcomes: Sequence[Outcome]) -> str:
    faults = [outcome for outcome in outcomes if outcome.fault.expected]
    codes = {outcome.fault.expected for outcome in faults}
    variants = len(outcomes) - len(faults)
    wrong = sum(not outcome.good for outcome in outcomes)
    return f"{len(faults)} faults with {len(codes)} codes, {variants} healthy variants: {wrong} not as expected"


def terminal(outcomes: Sequence[Outcome]) -> str:
    """The table for a terminal, its sum last."""
    lines = [HEADER, *rows(outcomes)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, summary(outcomes)])


def page() -> str:
    """The table as a page of the documentation."""
    outcomes = [judged(fault) for fault in found()]
    lines = [
        "One defect each in readings that are healthy otherwise, and the code that names it. A healthy variant expects none.",
        "What comes *with it* follows from the same defect. `make test-faults` prints this table and fails when a row is not as expected.",
        "",
        f"{summary(outcomes)}.",
        "",
        *markup.table(HEADER, [[markup.plain(cell) for cell in row] for row in rows(outcomes)]),
    ]
    return markup.page("Seeded faults", "`tests/support/*_faults.py`", lines)


def main() -> int:
    """Print the table; 1 when a row is not as expected, or when there is none."""
    outcomes = [judged(fault) for fault in found()]
    print(terminal(outcomes))
    return 0 if outcomes and all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
