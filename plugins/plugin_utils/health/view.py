"""What the checks share: the host they look at, and how what each device shows becomes one finding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    ACTIONS,
    NO_ACTION,
    OK,
    SKIPPED,
    UNKNOWN,
    Finding,
    worst,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import get
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import ABSENT, NOT_SUPPORTED
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import HardwareProfile, HostHealth
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.data import Model, Xid

SHARING = ("none", "mps", "mig", "time-slicing")

# What a capture may show; on a host all of it is read.
DRIVER = "driver"
NVLINKS = "nvlinks"
TOPOLOGY = "topology"
RDMA = "rdma"
KERNEL_LOG = "kernel_log"
FABRIC_LOG = "fabric_log"
DCGM = "dcgm"
HOST = "host"
COUNTERS = "counters"
ALL_PARTS = frozenset({DRIVER, NVLINKS, TOPOLOGY, RDMA, KERNEL_LOG, FABRIC_LOG, DCGM, HOST, COUNTERS})

NOT_SHOWN = "not shown"
"""Of a device in a capture that has no place for the value; no status of a finding."""


@dataclass(frozen=True)
class Options:
    """What the task declares. ``mig_devices`` counts MIG devices of the host by profile, ``rdma_ports`` stands for the profile's."""

    sharing: str = "none"
    expect_rdma: bool | None = None
    rdma_ports: int | None = None
    expect_idle: bool = False
    mig_devices: Mapping[str, int] | None = None


@dataclass(frozen=True)
class View:
    """What every check gets."""

    readings: Mapping[str, Any]
    subject: str
    profile: HardwareProfile | None
    models: Mapping[str, Model]
    xids: Mapping[int, Xid]
    options: Options
    parts: frozenset[str] = ALL_PARTS

    @property
    def captured(self) -> bool:
        """Whether somebody's capture is judged and not a host that was asked."""
        return self.parts != ALL_PARTS

    @property
    def host(self) -> HostHealth | None:
        """What the profile expects beside GPUs."""
        return self.profile.health if self.profile is not None else None

    @property
    def gpus(self) -> Sequence[Mapping[str, Any]]:
        return self.readings["gpus"] or ()

    @property
    def branch(self) -> int | None:
        """The driver's branch, 550 of 550.90.07."""
        number = str(self.readings["driver"]["version"] or "").partition(".")[0]
        return int(number) if number.isdigit() else None

    def why_missing(self, path: str) -> Mapping[str, str]:
        """Kind and reason of a missing value."""
        found: Mapping[str, str] | None = self.readings["missing"].get(path)
        return found or {"kind": ABSENT, "reason": f"{path} was not read"}

    def model_of(self, gpu: Mapping[str, Any]) -> Model | None:
        return self.models.get(gpu["product_name"] or "")


@dataclass(frozen=True)
class Seen:
    """What one device shows. ``text`` says what is wrong with it, or why nothing is known."""

    label: str
    value: Any
    status: str = OK
    text: str = ""
    action: str = NO_ACTION
    blame: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a value."""

    status: str
    text: str
    action: str


Judge = Callable[[Any, Mapping[str, Any], Any], "Problem | None"]
"""Judges a value of a GPU against its model's limit (``None`` where the check needs none)."""


def name_of(gpu: Mapping[str, Any]) -> str:
    return str(gpu["bus_id"] or gpu["uuid"] or f"gpus[{gpu['index']}]")


def blame_gpu(gpu: Mapping[str, Any]) -> dict[str, str]:
    """The GPU as a thing to blame, by uuid and PCI address as far as they are known."""
    named = {"kind": "gpu", "name": str(gpu["uuid"] or gpu["bus_id"] or f"gpus[{gpu['index']}]")}
    return {**named, "bus_id": str(gpu["bus_id"])} if gpu["bus_id"] else named


def the_finding(
    code: str, what: str, where: str, expected: Any, seen: Iterable[Seen], good: str, remedy: str
) -> list[Finding]:
    """One finding over several devices: the worst counts, each bad one is named and blamed. Nothing for nothing shown."""
    shown = [item for item in seen if item.status != NOT_SHOWN]
    if not shown:
        return []
    judged = [item for item in shown if item.status != SKIPPED]
    bad = [item for item in judged if item.status != OK]
    evidence = {"what": what, "where": where, "expected": expected, "found": {item.label: item.value for item in shown}}
    if not judged:
        reasons = "; ".join(dict.fromkeys(item.text for item in shown))
        return [Finding(code, "", SKIPPED, reasons, "", evidence)]
    if not bad:
        return [Finding(code, "", OK, good, "", evidence)]
    status = worst(item.status for item in bad)
    return [
        Finding(
            code=code,
            subject="",
            status=status,
            reason="; ".join(dict.fromkeys(f"{item.label}: {item.text}" for item in bad)),
            remedy=remedy,
            evidence=evidence,
            action=max((item.action for item in bad), key=ACTIONS.index),
            blame=tuple(item.blame for item in bad if item.blame and item.status != UNKNOWN),
        )
    ]


def unknown(code: str, what: str, where: str, reason: str, remedy: str) -> list[Finding]:
    """A finding about something that could not be seen."""
    return [Finding(code, "", UNKNOWN, reason, remedy, {"what": what, "where": where}, action=NO_ACTION)]


def skipped(code: str, what: str, where: str, reason: str) -> list[Finding]:
    """A finding about something that does not apply here."""
    return [Finding(code, "", SKIPPED, reason, "", {"what": what, "where": where})]


@dataclass(frozen=True)
class GpuCheck:
    """A check of one value of every GPU.

    ``group`` is the group of values that a model may lack, ``limit`` the limit of the model that ``judge`` gets, ``since`` the
    first branch of the driver that tells the value, ``until`` the first that does no more. ``optional`` values are no loss where the
    device says that it has none.
    """

    code: str
    what: str
    path: str
    judge: Judge
    remedy: str
    good: str
    group: str = ""
    limit: str = ""
    since: int = 0
    until: int = 0
    optional: bool = False

    def run(self, view: View) -> list[Finding]:
        """The finding about all GPUs; nothing where a capture has no place for the value."""
        seen = [self._see(view, index, gpu) for index, gpu in enumerate(view.gpus)]
        expected = self._expected(view)
        where = str(view.readings["nvidia_smi"].get("source") or "the driver")
        return the_finding(self.code, self.what, where, expected, seen, self.good, self.remedy)

    def _expected(self, view: View) -> Any:
        found = [view.model_of(gpu) for gpu in view.gpus]
        values = {str(model.limits[self.limit]) for model in found if model is not None and self.limit in model.limits}
        return sorted(values) or None

    def _see(self, view: View, index: int, gpu: Mapping[str, Any]) -> Seen:
        label, value, model = name_of(gpu), get(gpu, self.path), view.model_of(gpu)
        if model is not None and self.group in model.absent:
            return Seen(label, value, SKIPPED, model.absent[self.group])
        if value is None:
            return self._unseen(view, f"gpus[{index}].{self.path}", label, model)
        limit = model.limits.get(self.limit) if model is not None and self.limit else None
        if self.limit and limit is None:
            product = gpu["product_name"] or "a GPU of unknown model"
            return Seen(label, value, UNKNOWN, f"there is no threshold for {product}")
        problem = self.judge(value, gpu, limit)
        if problem is None:
            return Seen(label, value)
        return Seen(label, value, problem.status, problem.text, problem.action, blame_gpu(gpu))

    def _unseen(self, view: View, path: str, label: str, model: Model | None) -> Seen:
        missing = view.why_missing(path)
        if missing["kind"] == ABSENT and view.branch is not None and view.branch < self.since:
            return Seen(label, None, SKIPPED, f"drivers tell it from {self.since} on, this one is of {view.branch}")
        if missing["kind"] == ABSENT and view.branch is not None and self.until and view.branch >= self.until:
            return Seen(label, None, SKIPPED, f"drivers tell it no more from {self.until} on")
        if missing["kind"] == ABSENT and view.captured:
            return Seen(label, None, NOT_SHOWN)
        if missing["kind"] == NOT_SUPPORTED and (self.optional or model is None):
            return Seen(label, None, SKIPPED, f"the GPU does not report it ({missing['reason']})")
        return Seen(label, None, UNKNOWN, missing["reason"])
