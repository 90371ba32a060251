"""Collects everything that ``gpu_info`` returns. Runs on the managed host; never fails because something is absent."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded, cdi, nvidia_smi
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import (
    DgxRelease,
    DriverVersions,
    PciGpu,
    read_dgx_release,
    read_dmi,
    read_driver_versions,
    read_pci_gpus,
    read_stand_ins,
    read_text,
    why_unreadable,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import (
    ABSENT,
    FAILED,
    TIMEOUT,
    UNREADABLE,
    Missing,
    MissingLog,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.mps_control import MpsDaemon, read_mps_daemons

SCHEMA = 1
"""Version of the returned structure; raised when a key changes its meaning."""

CDI_DIRECTORIES = ("etc/cdi", "var/run/cdi")

_TOOLKIT_VERSION = re.compile(r"version\s+v?(\d+\.\d+\.\d+\S*)")

Run = Callable[[List[str], float], bounded.Completed]
Find = Callable[[str], Optional[str]]


@dataclass(frozen=True)
class SmiRun:
    """How nvidia-smi answered. ``answered`` is true when its document could be read."""

    answered: bool
    path: Optional[str]
    return_code: Optional[int]
    elapsed_s: Optional[float]
    message: Optional[str]


@dataclass(frozen=True)
class CdiFile:
    """A CDI specification and where it lies."""

    path: str
    specification: cdi.CdiSpecification


@dataclass(frozen=True)
class HostReadings:
    """All readings of one host."""

    simulated: bool
    stand_ins: Tuple[str, ...]
    smi: SmiRun
    document: Optional[nvidia_smi.SmiDocument]
    driver: DriverVersions
    pci_gpus: Optional[Tuple[PciGpu, ...]]
    dmi: Dict[str, Optional[str]]
    dgx_release: Optional[DgxRelease]
    cdi_files: Tuple[CdiFile, ...]
    toolkit_version: Optional[str]
    mps_daemons: Tuple[MpsDaemon, ...]
    missing: Dict[str, Missing]

    def as_dict(self) -> Dict[str, Any]:
        """The documented structure of ``gpu_info``."""
        document = self.document
        return {
            "schema": SCHEMA,
            "simulated": self.simulated,
            "stand_ins": list(self.stand_ins),
            "nvidia_smi": asdict(self.smi),
            "driver": {
                "version": document.driver_version if document else None,
                "cuda_version": document.cuda_version if document else None,
                "kernel_version": self.driver.kernel,
                "library_version": self.driver.library,
            },
            "attached_gpus": document.attached_gpus if document else None,
            "gpus": [asdict(gpu) for gpu in document.gpus] if document else None,
            "pci_gpus": None if self.pci_gpus is None else [asdict(gpu) for gpu in self.pci_gpus],
            "dmi": self.dmi,
            "dgx_release": asdict(self.dgx_release) if self.dgx_release else None,
            "cdi_specifications": [dict(asdict(file.specification), path=file.path) for file in self.cdi_files],
            "container_toolkit": {"version": self.toolkit_version},
            "mps_daemons": [asdict(daemon) for daemon in self.mps_daemons],
            "missing": {path: asdict(missing) for path, missing in sorted(self.missing.items())},
        }


def collect(root: str, find: Find, timeout_s: float, run: Run = bounded.run) -> HostReadings:
    """Read the host below ``root``. ``find`` gives a program's path or ``None``; each program gets ``timeout_s``."""
    log = MissingLog()
    simulated, stand_ins = read_stand_ins(root, log)
    smi, document = _read_smi(find, run, timeout_s, log)
    return HostReadings(
        simulated=simulated,
        stand_ins=stand_ins,
        smi=smi,
        document=document,
        driver=read_driver_versions(root, log),
        pci_gpus=read_pci_gpus(root, log),
        dmi=read_dmi(root, log),
        dgx_release=read_dgx_release(root, log),
        cdi_files=_read_cdi(root, log),
        toolkit_version=_read_toolkit(find, run, timeout_s, log),
        mps_daemons=read_mps_daemons(root, log),
        missing=log.entries,
    )


def _read_smi(
    find: Find, run: Run, timeout_s: float, log: MissingLog
) -> Tuple[SmiRun, Optional[nvidia_smi.SmiDocument]]:
    path = find("nvidia-smi")
    completed, missing = _answer(path, ["-q", "-x"], "nvidia-smi", run, timeout_s)
    document: Optional[nvidia_smi.SmiDocument] = None
    if completed is not None and missing is None:
        try:
            document = nvidia_smi.parse(completed.output)
        except nvidia_smi.NvidiaSmiFormatError as error:
            missing = Missing(UNREADABLE, "nvidia-smi -q -x: {0}".format(error))
    if document is None:
        assert missing is not None
        for name in ("gpus", "attached_gpus", "driver.version", "driver.cuda_version"):
            log.add(name, missing)
    else:
        log.entries.update(_renamed(document.missing))
        document = _with_compute_capabilities(document, path or "", run, timeout_s, log)
    return (
        SmiRun(
            answered=document is not None,
            path=path,
            return_code=completed.return_code if completed else None,
            elapsed_s=completed.elapsed_s if completed else None,
            message=missing.reason if missing else None,
        ),
        document,
    )


def _renamed(missing: Dict[str, Missing]) -> Dict[str, Missing]:
    """The document's own paths as this module's result names them."""
    names = {"driver_version": "driver.version", "cuda_version": "driver.cuda_version"}
    return {names.get(path, path): reason for path, reason in missing.items()}


def _with_compute_capabilities(
    document: nvidia_smi.SmiDocument, path: str, run: Run, timeout_s: float, log: MissingLog
) -> nvidia_smi.SmiDocument:
    """Ask for compute capabilities in CSV where the XML has none (most driver branches)."""
    if all(gpu.compute_capability is not None for gpu in document.gpus):
        return document
    query = ["--query-gpu=uuid,compute_cap", "--format=csv,noheader"]
    completed, _missing = _answer(path, query, "nvidia-smi", run, timeout_s)
    known = nvidia_smi.parse_compute_capabilities(completed.output) if completed else {}
    gpus = []
    for gpu in document.gpus:
        value = gpu.compute_capability or known.get(gpu.uuid or "")
        if value is not None:
            log.entries.pop("gpus[{0}].compute_capability".format(gpu.index), None)
        gpus.append(replace(gpu, compute_capability=value))
    return replace(document, gpus=tuple(gpus))


def _answer(
    path: Optional[str], arguments: List[str], name: str, run: Run, timeout_s: float
) -> Tuple[Optional[bounded.Completed], Optional[Missing]]:
    """A program's answer, or why there is none."""
    if path is None:
        return None, Missing(ABSENT, "{0} is not installed".format(name))
    try:
        completed = run([path, *arguments], timeout_s)
    except OSError as error:
        return None, Missing(FAILED, "{0} cannot be started: {1}".format(name, error.strerror or error))
    if completed.timed_out:
        return completed, Missing(TIMEOUT, "{0} did not answer within {1:g} s".format(name, timeout_s))
    if completed.return_code != 0:
        said = " ".join((completed.output + " " + completed.errors).split())[:300]
        return completed, Missing(FAILED, "{0} ended with {1}: {2}".format(name, completed.return_code, said))
    return completed, None


def _read_cdi(root: str, log: MissingLog) -> Tuple[CdiFile, ...]:
    files: List[CdiFile] = []
    seen = set()
    for directory in CDI_DIRECTORIES:
        for path in sorted(glob.glob(os.path.join(glob.escape(root), directory, "*"))):
            # /var/run is a link to /run: a specification counts once, whichever way it is reached.
            real = os.path.realpath(path)
            if os.path.splitext(path)[1] not in (".yaml", ".yml", ".json") or real in seen:
                continue
            seen.add(real)
            shown = "/" + os.path.relpath(path, root)
            try:
                files.append(CdiFile(shown, cdi.parse(read_text(path))))
            except OSError as error:
                log.add("cdi_specifications[{0}]".format(shown), why_unreadable(shown, error))
            except cdi.CdiFormatError as error:
                reason = "{0}: {1}".format(shown, error)
                log.add("cdi_specifications[{0}]".format(shown), Missing(UNREADABLE, reason))
    return tuple(files)


def _read_toolkit(find: Find, run: Run, timeout_s: float, log: MissingLog) -> Optional[str]:
    completed, missing = _answer(find("nvidia-ctk"), ["--version"], "nvidia-ctk", run, timeout_s)
    if completed is not None and missing is None:
        match = _TOOLKIT_VERSION.search(completed.output)
        if match is not None:
            return match.group(1)
        missing = Missing(UNREADABLE, "nvidia-ctk --version prints no version")
    assert missing is not None
    log.add("container_toolkit.version", missing)
    return None
