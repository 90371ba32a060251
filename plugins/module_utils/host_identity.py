"""Reads what a host is: PCI devices, DMI, DGX release, the lab's marker, driver versions. Read-only.

Every function takes the root of the file system (``/`` on a host), so that tests read a tree of their own. A file
that is not there is a value with a reason, never an exception.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.missing import ABSENT, UNREADABLE, Missing, MissingLog

NVIDIA_VENDOR = "10de"
GPU_CLASSES = ("0300", "0302")  # VGA controller (GB10), 3D controller (data centre GPUs)

MARKER = "etc/baremetal-gpu/simulated.json"
"""Only hosts of the embedded lab have it: it names the stand-ins that the host runs on."""

_DMI_FIELDS = (
    "sys_vendor",
    "product_name",
    "product_version",
    "board_vendor",
    "board_name",
    "bios_version",
    "bios_date",
)
_LIBRARY_DIRECTORIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "run/nvidia/driver/usr/lib64",
)
_LIBRARY_VERSION = re.compile(r"\.so\.(\d{3,4}\.\d{1,4}(?:\.\d{1,4})?)$")
_KERNEL_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+(\d{3,4}\.\d{1,4}(?:\.\d{1,4})?)\b")
_RELEASE_LINE = re.compile(r"^\s*(DGX_\w+)\s*=\s*(.*?)\s*$")
_MAXIMUM_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class PciGpu:
    """An NVIDIA GPU on the PCI bus, whether a driver has taken it or not."""

    address: str
    pci_id: str
    pci_class: str
    driver: Optional[str]
    numa_node: Optional[int]


@dataclass(frozen=True)
class DgxRelease:
    """``/etc/dgx-release`` without its serial number. ``ota_version`` is the last update's; none on a factory system."""

    name: Optional[str]
    pretty_name: Optional[str]
    platform: Optional[str]
    software_build_version: Optional[str]
    ota_version: Optional[str]


@dataclass(frozen=True)
class DriverVersions:
    """Version of the loaded kernel module and of the user-space library; they must be the same."""

    kernel: Optional[str]
    library: Optional[str]


def read_text(path: str) -> str:
    """A small text file. Raises ``OSError``; bytes that are not UTF-8 are replaced."""
    with open(path, "rb") as file:
        return file.read(_MAXIMUM_BYTES).decode("utf-8", "replace")


def why_unreadable(path: str, error: OSError) -> Missing:
    """The reason for a file that could not be read, without the test's or chroot's root."""
    kind = ABSENT if isinstance(error, FileNotFoundError) else UNREADABLE
    return Missing(kind, "{0}: {1}".format(path, error.strerror or type(error).__name__))


def read_pci_gpus(root: str, log: MissingLog) -> Optional[Tuple[PciGpu, ...]]:
    """NVIDIA's GPUs in sysfs, by address. ``None`` when the PCI bus cannot be listed."""
    directory = os.path.join(root, "sys/bus/pci/devices")
    try:
        addresses = sorted(os.listdir(directory))
    except OSError as error:
        log.add("pci_gpus", why_unreadable("/sys/bus/pci/devices", error))
        return None
    found: List[PciGpu] = []
    for address in addresses:
        device = os.path.join(directory, address)
        if _hexadecimal(device, "vendor") != NVIDIA_VENDOR:
            continue
        pci_class = (_hexadecimal(device, "class") or "")[:4]
        if pci_class in GPU_CLASSES:
            found.append(
                PciGpu(
                    address=address.lower(),
                    pci_id="{0}:{1}".format(NVIDIA_VENDOR, _hexadecimal(device, "device") or "????"),
                    pci_class=pci_class,
                    driver=_driver(device),
                    numa_node=_numa_node(device),
                )
            )
    return tuple(found)


def _hexadecimal(device: str, name: str) -> Optional[str]:
    try:
        text = read_text(os.path.join(device, name)).strip().lower()
    except OSError:
        return None
    return text[2:] if text.startswith("0x") else text


def _driver(device: str) -> Optional[str]:
    try:
        return os.path.basename(os.readlink(os.path.join(device, "driver")))
    except OSError:
        return None


def _numa_node(device: str) -> Optional[int]:
    """The NUMA node; the kernel writes -1 where there is none."""
    try:
        node = int(read_text(os.path.join(device, "numa_node")))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def read_dmi(root: str, log: MissingLog) -> Dict[str, Optional[str]]:
    """The machine's identity from DMI, without serial numbers."""
    identity: Dict[str, Optional[str]] = {}
    for name in _DMI_FIELDS:
        path = "sys/class/dmi/id/" + name
        identity[name] = None
        try:
            identity[name] = read_text(os.path.join(root, path)).strip() or None
            if identity[name] is None:
                log.add("dmi." + name, Missing(ABSENT, "/{0} is empty".format(path)))
        except OSError as error:
            log.add("dmi." + name, why_unreadable("/" + path, error))
    return identity


def parse_dgx_release(text: str) -> DgxRelease:
    """Read the release file. Values may be unquoted with spaces; each update appends a block, the last one counts."""
    values: Dict[str, str] = {}
    for line in text.splitlines():
        match = _RELEASE_LINE.match(line)
        if match is not None:
            values[match.group(1)] = match.group(2).strip("\"'")
    return DgxRelease(
        name=values.get("DGX_NAME") or None,
        pretty_name=values.get("DGX_PRETTY_NAME") or None,
        platform=values.get("DGX_PLATFORM") or None,
        software_build_version=values.get("DGX_SWBUILD_VERSION") or None,
        ota_version=values.get("DGX_OTA_VERSION") or None,
    )


def read_dgx_release(root: str, log: MissingLog) -> Optional[DgxRelease]:
    """The DGX release, or ``None`` on a host that is no DGX system."""
    try:
        return parse_dgx_release(read_text(os.path.join(root, "etc/dgx-release")))
    except OSError as error:
        log.add("dgx_release", why_unreadable("/etc/dgx-release", error))
        return None


def read_stand_ins(root: str, log: MissingLog) -> Tuple[bool, Tuple[str, ...]]:
    """Whether the host is simulated, and what of it. A marker that cannot be read still marks the host."""
    path = os.path.join(root, MARKER)
    if not os.path.lexists(path):
        return False, ()
    try:
        names = json.loads(read_text(path))["stand_ins"]
        return True, tuple(str(name) for name in names)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.add("stand_ins", Missing(UNREADABLE, "/{0}: {1}".format(MARKER, error)))
        return True, ()


def read_driver_versions(root: str, log: MissingLog) -> DriverVersions:
    """Versions of the kernel module (sysfs, then procfs) and of ``libnvidia-ml`` (from its file name)."""
    return DriverVersions(kernel=_kernel_version(root, log), library=_library_version(root, log))


def _kernel_version(root: str, log: MissingLog) -> Optional[str]:
    try:
        return read_text(os.path.join(root, "sys/module/nvidia/version")).strip() or None
    except OSError as error:
        missing = why_unreadable("/sys/module/nvidia/version", error)
    try:
        match = _KERNEL_VERSION.search(read_text(os.path.join(root, "proc/driver/nvidia/version")))
    except OSError:
        match = None
    if match is not None:
        return match.group(1)
    log.add("driver.kernel_version", missing)
    return None


def _library_version(root: str, log: MissingLog) -> Optional[str]:
    for directory in _LIBRARY_DIRECTORIES:
        path = os.path.join(root, directory, "libnvidia-ml.so.1")
        if os.path.lexists(path):
            match = _LIBRARY_VERSION.search(os.path.realpath(path))
            if match is not None:
                return match.group(1)
            log.add("driver.library_version", Missing(UNREADABLE, "/{0}: no version in its name".format(path)))
            return None
    log.add("driver.library_version", Missing(ABSENT, "no libnvidia-ml.so.1 in the usual library directories"))
    return None
