"""What the controller remembers of hosts that it reached over their tailnet: one small file for each, in a folder that the site chooses.

Nothing in it is secret. Without a file the host has not been reached there yet.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

VARIABLE = "tailscale_addresses_folder"
"""The variable that names the folder; the role tailscale has it with this meaning."""


@dataclass(frozen=True)
class Record:
    """A host in its tailnet: its addresses as Tailscale on it names them, and its whole name, empty where the tailnet gives none."""

    addresses: tuple[str, ...]
    name: str = ""

    @property
    def address(self) -> str:
        """The one to connect to: IPv4 where there is one."""
        return next((text for text in self.addresses if ipaddress.ip_address(text).version == 4), self.addresses[0])

    def text(self) -> str:
        return json.dumps({"addresses": list(self.addresses), "name": self.name}, indent=2) + "\n"


def path_of(folder: Path, host: str) -> Path:
    """The file of a host."""
    return folder / f"{host}.json"


def read(folder: Path, host: str) -> Record | None:
    """What is remembered of a host; None where nothing is. Raises ``GpuError`` BG-TAILNET-018 for a file that is no record."""
    path = path_of(folder, host)
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        addresses = tuple(str(ipaddress.ip_address(text)) for text in loaded["addresses"])
        name = loaded["name"]
        if not addresses or not isinstance(name, str):
            raise ValueError("it names no address")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GpuError(
            "BG-TAILNET-018",
            f"{path} does not say where {host} is ({type(error).__name__})",
            "whether to connect over the tailnet cannot be told",
            "delete the file: hosts are then reached at their other address, and the next run writes it anew",
        ) from error
    return Record(addresses, name)


def write(folder: Path, host: str, record: Record) -> None:
    """Remember a host. At no moment is there half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, host)
    draft = path.with_suffix(".draft")
    draft.write_text(record.text(), encoding="utf-8")
    os.replace(draft, path)


def forget(folder: Path, host: str) -> bool:
    """Remember nothing of a host; whether there was something."""
    try:
        path_of(folder, host).unlink()
    except FileNotFoundError:
        return False
    return True


def record_of(addresses: Sequence[str], name: str) -> Record | None:
    """What there is to remember of a node as ``tailscale_node`` describes it; None while it has no address."""
    return Record(tuple(addresses), name) if addresses else None
