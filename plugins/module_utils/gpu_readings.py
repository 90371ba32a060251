"""Collects everything that ``gpu_info`` returns. Runs on the managed host; never fails because something is absent."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import (
    bounded,
    cdi,
    gpu_fields,
    infiniband,
    nvidia_smi,
    nvlink,
    topology,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import Gpu
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
from ansible_collections.baremetal.gpu.plugins.module_utils.host_state import HostState, answer, read_host_state
from ansible_collections.baremetal.gpu.plugins.module_utils.kernel_log_source import KernelLog, read_kernel_log
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import (
    ABSENT,
    FAILED,
    UNREADABLE,
    Missing,
    MissingLog,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.mps_control import MpsDaemon, read_mps_daemons

SCHEMA = 1
"""Version of the returned structure; raised when a key changes its meaning."""

CDI_DIRECTORIES = ("etc/cdi", "var/run/cdi")

XML = "nvidia-smi -q -x"
CSV = "nvidia-smi --query-gpu"

_TOOLKIT_VERSION = re.compile(r"version\s+v?(\d+\.\d+\.\d+\S*)")

Run = Callable[[List[str], float], bounded.Completed]
Find = Callable[[str], Optional[str]]
Binding = Callable[[], Optional[Any]]


@dataclass(frozen=True)
class SmiRun:
    """How the driver answered. ``answered`` is true when its answer could be read; ``source`` says who asked it."""

    answered: bool
    path: Optional[str]
    return_code: Optional[int]
    elapsed_s: Optional[float]
    message: Optional[str]
    source: str = XML


@dataclass(frozen=True)
class Driver:
    """The driver's answer, and what it says about NVLinks (``None``: not read, with a reason)."""

    smi: SmiRun
    document: Optional[nvidia_smi.SmiDocument]
    nvlinks: Optional[Tuple[nvlink.NvLinks, ...]]


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
    nvlinks: Optional[Tuple[nvlink.NvLinks, ...]] = None
    topology: Optional[Dict[str, str]] = None
    rdma_adapters: Optional[Tuple[infiniband.Adapter, ...]] = None
    host: Optional[HostState] = None
    kernel_log: Optional[KernelLog] = None

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
            "pci_gpus": _dicts(self.pci_gpus),
            "dmi": self.dmi,
            "dgx_release": asdict(self.dgx_release) if self.dgx_release else None,
            "cdi_specifications": [dict(asdict(file.specification), path=file.path) for file in self.cdi_files],
            "container_toolkit": {"version": self.toolkit_version},
            "mps_daemons": [asdict(daemon) for daemon in self.mps_daemons],
            "nvlinks": _dicts(self.nvlinks),
            "topology": self.topology,
            "rdma_adapters": _dicts(self.rdma_adapters),
            "host": asdict(self.host) if self.host else None,
            "kernel_log": asdict(self.kernel_log) if self.kernel_log else None,
            "missing": {path: asdict(missing) for path, missing in sorted(self.missing.items())},
        }


def _dicts(items: Optional[Sequence[Any]]) -> Optional[List[Dict[str, Any]]]:
    return None if items is None else [asdict(item) for item in items]


def collect(
    root: str,
    find: Find,
    timeout_s: float,
    run: Run = bounded.run,
    binding: Optional[Binding] = None,
    health: bool = True,
    since_s: Optional[float] = None,
) -> HostReadings:
    """Read the host below ``root``. ``find`` gives a program's path or ``None``; each call gets ``timeout_s``.

    Without ``health``, NVLinks, RDMA adapters, the state of the host and the kernel log are left out, because their readers need
    nothing of it. ``since_s`` limits the kernel log, in seconds since boot.
    """
    log = MissingLog()
    simulated, stand_ins = read_stand_ins(root, log)
    # NVML is that of the machine on which this runs: another tree's driver cannot be asked through it.
    driver = read_driver(find, run, timeout_s, log, binding if root == "/" else _no_binding, health)
    return HostReadings(
        simulated=simulated,
        stand_ins=stand_ins,
        smi=driver.smi,
        document=driver.document,
        driver=read_driver_versions(root, log),
        pci_gpus=read_pci_gpus(root, log),
        dmi=read_dmi(root, log),
        dgx_release=read_dgx_release(root, log),
        cdi_files=_read_cdi(root, log),
        toolkit_version=_read_toolkit(find, run, timeout_s, log),
        mps_daemons=read_mps_daemons(root, log),
        nvlinks=driver.nvlinks,
        topology=_read_topology(find, run, timeout_s, log) if health and driver.document is not None else None,
        rdma_adapters=infiniband.read_adapters(root, log) if health else None,
        host=read_host_state(root, find, run, timeout_s, log) if health else None,
        kernel_log=read_kernel_log(root, find, run, timeout_s, since_s, log) if health else None,
        missing=log.entries,
    )


def _no_binding() -> None:
    return None


def read_driver(
    find: Find, run: Run, timeout_s: float, log: MissingLog, binding: Optional[Binding] = None, links: bool = True
) -> Driver:
    """Ask the driver: through NVML where its Python binding is there (gaps filled by the XML), else the XML of nvidia-smi, else its CSV."""
    library = (binding or _nvml_binding)()
    if library is not None:
        # On a host every module is compiled anew for each task, so what is rarely needed is imported where it is.
        from ansible_collections.baremetal.gpu.plugins.module_utils import nvml

        told, _why = nvml.read_bounded(library, timeout_s)
        if told is not None:
            answered, known = nvml.document(told)
            answered = _completed(answered, find, run, timeout_s)
            log.entries.update(_renamed(answered.missing))
            run_of_nvml = SmiRun(True, None, None, None, None, nvml.SOURCE)
            return Driver(run_of_nvml, answered, tuple(known.values()) if links else None)
    smi, document = _read_smi(find, run, timeout_s, log)
    if document is None or smi.path is None:
        log.add("nvlinks", Missing(FAILED, smi.message or "the driver did not answer"))
        return Driver(smi, document, None)
    named = _with_mig_names(document, smi.path, run, timeout_s)
    return Driver(smi, named, _read_nvlinks(smi.path, run, timeout_s, log) if links else None)


def _nvml_binding() -> Optional[Any]:
    """The module ``pynvml`` of nvidia-ml-py; ``None`` on hosts without it."""
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:
        return None
    return pynvml


def _completed(document: nvidia_smi.SmiDocument, find: Find, run: Run, timeout_s: float) -> nvidia_smi.SmiDocument:
    """NVML's answer with what only nvidia-smi tells, or what the binding or library are too old for."""
    wanted = {path for path, missing in document.missing.items() if missing.kind in (ABSENT, FAILED)}
    if not wanted or find("nvidia-smi") is None:
        return document
    _smi, other = _read_smi(find, run, timeout_s, MissingLog())
    by_uuid = {gpu.uuid: gpu for gpu in other.gpus} if other is not None else {}
    missing = dict(document.missing)
    gpus = []
    for gpu in document.gpus:
        twin = by_uuid.get(gpu.uuid)
        values = asdict(gpu)
        for field in gpu_fields.FIELDS:
            path = "gpus[{0}].{1}".format(gpu.index, field.name)
            found = gpu_fields.get(asdict(twin), field.name) if twin is not None and path in wanted else None
            if found is not None:
                gpu_fields.put(values, field.name, found)
                del missing[path]
        named = {name: values[name] for name in values if name not in ("mig_devices", "processes")}
        gpus.append(replace(gpu, **named))
    return replace(document, gpus=tuple(gpus), missing=missing)


def _read_smi(
    find: Find, run: Run, timeout_s: float, log: MissingLog
) -> Tuple[SmiRun, Optional[nvidia_smi.SmiDocument]]:
    path = find("nvidia-smi")
    completed, missing = answer(path, ["-q", "-x"], "nvidia-smi", run, timeout_s)
    document: Optional[nvidia_smi.SmiDocument] = None
    source = XML
    if missing is None:
        try:
            document = nvidia_smi.parse(completed.output if completed is not None else "")
        except nvidia_smi.NvidiaSmiFormatError as error:
            missing = Missing(UNREADABLE, "{0}: {1}".format(XML, error))
            document = _read_csv(path, run, timeout_s)
            source = CSV if document is not None else XML
    if document is not None:
        log.entries.update(_renamed(document.missing))
        document = _with_compute_capabilities(document, path or "", run, timeout_s, log)
    elif missing is not None:
        for name in ("gpus", "attached_gpus", "driver.version", "driver.cuda_version"):
            log.add(name, missing)
    return (
        SmiRun(
            answered=document is not None,
            path=path,
            return_code=completed.return_code if completed else None,
            elapsed_s=completed.elapsed_s if completed else None,
            message=missing.reason if missing else None,
            source=source,
        ),
        document,
    )


def _read_csv(path: Optional[str], run: Run, timeout_s: float) -> Optional[nvidia_smi.SmiDocument]:
    """The CSV answer, where the XML cannot be understood; ``None`` when it cannot be either."""
    from ansible_collections.baremetal.gpu.plugins.module_utils import smi_csv

    arguments = ["--query-gpu=" + smi_csv.QUERY, "--format=csv"]
    completed, missing = answer(path, arguments, "nvidia-smi", run, timeout_s)
    if completed is None or missing is not None:
        return None
    try:
        return smi_csv.parse_all(completed.output)[-1]
    except nvidia_smi.NvidiaSmiFormatError:
        return None


def _read_nvlinks(path: str, run: Run, timeout_s: float, log: MissingLog) -> Optional[Tuple[nvlink.NvLinks, ...]]:
    """States of all NVLinks with their error counters; an empty tuple when nvidia-smi lists none (GB10)."""
    completed, missing = answer(path, ["nvlink", "-s"], "nvidia-smi", run, timeout_s)
    if completed is None or missing is not None:
        log.add("nvlinks", missing or Missing(FAILED, "nvidia-smi nvlink -s did not answer"))
        return None
    found = nvlink.parse_status(completed.output)
    if not any(item.speeds_gb_per_s for item in found):
        return found
    completed, missing = answer(path, ["nvlink", "-e"], "nvidia-smi", run, timeout_s)
    if completed is None or missing is not None:
        log.add("nvlinks.errors", missing or Missing(FAILED, "nvidia-smi nvlink -e did not answer"))
        return found
    errors = nvlink.parse_errors(completed.output)
    return tuple(replace(item, errors=errors.get(item.uuid, {})) for item in found)


def _read_topology(find: Find, run: Run, timeout_s: float, log: MissingLog) -> Optional[Dict[str, str]]:
    """How pairs of GPUs are connected; empty for a single GPU."""
    completed, missing = answer(find("nvidia-smi"), ["topo", "-m"], "nvidia-smi", run, timeout_s)
    if completed is not None and missing is None and topology.is_matrix(completed.output):
        return topology.parse(completed.output)
    log.add("topology", missing or Missing(UNREADABLE, "nvidia-smi topo -m prints no matrix of GPUs"))
    return None


def _with_mig_names(document: nvidia_smi.SmiDocument, path: str, run: Run, timeout_s: float) -> nvidia_smi.SmiDocument:
    """Profiles and UUIDs of MIG devices, which only the listing of nvidia-smi tells."""
    if not any(gpu.mig_mode == "Enabled" for gpu in document.gpus):
        return document
    completed, missing = answer(path, ["-L"], "nvidia-smi", run, timeout_s)
    if completed is None or missing is not None:
        return document
    listing = nvlink.parse_listing(completed.output)
    numbers = {uuid: number for number, _name, uuid in listing.gpus}
    return replace(document, gpus=tuple(_named(gpu, numbers, listing) for gpu in document.gpus))


def _named(gpu: Gpu, numbers: Dict[str, int], listing: nvlink.Listing) -> Gpu:
    listed = {item.index: item for item in listing.mig_devices if item.gpu == numbers.get(gpu.uuid or "")}
    devices = []
    for device in gpu.mig_devices:
        item = listed.get(device.index)
        devices.append(replace(device, profile=item.profile, uuid=item.uuid) if item is not None else device)
    return replace(gpu, mig_devices=tuple(devices))


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
    completed, _missing = answer(path, query, "nvidia-smi", run, timeout_s)
    known = nvidia_smi.parse_compute_capabilities(completed.output) if completed else {}
    gpus = []
    for gpu in document.gpus:
        value = gpu.compute_capability or known.get(gpu.uuid or "")
        if value is not None:
            log.entries.pop("gpus[{0}].compute_capability".format(gpu.index), None)
        gpus.append(replace(gpu, compute_capability=value))
    return replace(document, gpus=tuple(gpus))


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
    completed, missing = answer(find("nvidia-ctk"), ["--version"], "nvidia-ctk", run, timeout_s)
    if missing is None:
        match = _TOOLKIT_VERSION.search(completed.output if completed is not None else "")
        if match is not None:
            return match.group(1)
        missing = Missing(UNREADABLE, "nvidia-ctk --version prints no version")
    log.add("container_toolkit.version", missing)
    return None
