"""Recognises DGX systems, those of other makers too, and which operating system of the compatibility table they run.

DMI never decides: DGX Spark calls itself ``NVIDIA_DGX_Spark`` there, and the same system of another maker GX10 or HP ZGX Nano.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import parse_dgx_release

SPARK = "dgx_spark"
OTHER_DGX = "dgx"
GB10 = "gb10"
NONE = "none"

GB10_PCI_ID = "10de:2e12"
NVIDIA = "NVIDIA"
# The release of Ubuntu below a DGX OS (DGX OS 6 and 7 user guides).
DGX_OS = {"22.04": "dgx-os-6", "24.04": "dgx-os-7"}

_UPDATE = re.compile(r"^\s*DGX_OTA_VERSION\s*=\s*[\"']?([^\"'\s]+)", re.MULTILINE)
_GB10 = re.compile(r"\bGB10\b")


@dataclass(frozen=True)
class Recognition:
    """What a host is, and what said so.

    ``kind`` is ``dgx_spark`` (of any maker, with DGX OS), ``dgx`` (another DGX with its OS), ``gb10`` (the hardware of a Spark
    without DGX OS) or ``none``. ``updates`` are the releases that updates over the air brought, the last one being the
    current; a factory system has none. ``platform`` is a name of ``data/compat.yml``, None where it has none for it.
    """

    kind: str
    by: str
    maker: Optional[str]
    platform: Optional[str]
    updates: Tuple[str, ...] = ()

    @property
    def is_dgx_os(self) -> bool:
        return self.kind in (SPARK, OTHER_DGX)

    @property
    def release(self) -> Optional[str]:
        """The release of the last update; the image's build version says nothing about it."""
        return self.updates[-1] if self.updates else None


def recognise(
    dgx_release: Optional[str],
    os_id: str,
    os_version: str,
    dmi: Mapping[str, Optional[str]],
    pci_ids: Iterable[str] = (),
    smi_list: Optional[str] = None,
) -> Recognition:
    """What a host is, by its release file, else its PCI devices (``10de:2e12``), else ``nvidia-smi -L``."""
    kind, by = _kind(dgx_release, pci_ids, smi_list)
    return Recognition(
        kind=kind,
        by=by,
        maker=_maker(dmi),
        platform=_platform(kind in (SPARK, OTHER_DGX), os_id, os_version),
        updates=tuple(_UPDATE.findall(dgx_release or "")),
    )


def _kind(dgx_release: Optional[str], pci_ids: Iterable[str], smi_list: Optional[str]) -> Tuple[str, str]:
    release = parse_dgx_release(dgx_release or "")
    name = release.name or (release.pretty_name or "").replace(NVIDIA + " ", "", 1)
    if name.startswith("DGX Spark"):
        return SPARK, "/etc/dgx-release"
    if name.startswith("DGX"):
        return OTHER_DGX, "/etc/dgx-release"
    if GB10_PCI_ID in {each.lower() for each in pci_ids}:
        return GB10, "PCI device " + GB10_PCI_ID
    if _GB10.search(smi_list or ""):
        return GB10, "nvidia-smi -L"
    return NONE, "neither /etc/dgx-release nor a GPU of a DGX Spark"


def _maker(dmi: Mapping[str, Optional[str]]) -> Optional[str]:
    name = dmi.get("sys_vendor") or dmi.get("board_vendor")
    return NVIDIA if name and name.upper().startswith(NVIDIA) else name


def _platform(is_dgx_os: bool, os_id: str, os_version: str) -> Optional[str]:
    if os_id == "ubuntu" and os_version in DGX_OS:
        return DGX_OS[os_version] if is_dgx_os else "ubuntu-" + os_version
    return "rocky-9" if os_id == "rocky" and os_version.partition(".")[0] == "9" else None
