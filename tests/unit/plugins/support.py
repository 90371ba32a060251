"""Shared by the tests of the plugins: fixtures of hosts, and running a module's main()."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.module_utils import basic

DATA = Path(__file__).resolve().parents[2] / "data"
GB10_XML = (DATA / "nvidia-smi" / "gb10.xml").read_text(encoding="utf-8")
CDI_YAML = (DATA / "cdi" / "nvidia.yaml").read_text(encoding="utf-8")


def h100_xml(count: int = 8, driver: str = "550.90.07") -> str:
    """An answer of nvidia-smi for ``count`` H100, at the PCI buses 10, 11, ..."""
    gpu = (DATA / "nvidia-smi" / "h100-gpu.xml.in").read_text(encoding="utf-8")
    gpus = "".join(
        gpu.replace("{bus}", f"{0x10 + index:02X}").replace("{index}", str(index)).replace("{driver}", driver)
        for index in range(count)
    )
    return (
        '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n<nvidia_smi_log>\n'
        f"\t<driver_version>{driver}</driver_version>\n\t<cuda_version>12.4</cuda_version>\n"
        f"\t<attached_gpus>{count}</attached_gpus>\n{gpus}</nvidia_smi_log>\n"
    )


def write(path: Path, text: str) -> Path:
    """A file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def add_pci(root: Path, address: str, device: str, pci_class: str, vendor: str = "0x10de") -> None:
    """A PCI device as sysfs shows it."""
    directory = root / "sys/bus/pci/devices" / address
    write(directory / "vendor", vendor + "\n")
    write(directory / "device", device + "\n")
    write(directory / "class", pci_class + "\n")
    write(directory / "numa_node", "-1\n")


def add_driver(root: Path, version: str) -> None:
    """The driver's library and kernel module."""
    library = write(root / f"usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{version}", "")
    (library.parent / "libnvidia-ml.so.1").symlink_to(library.name)
    write(root / "sys/module/nvidia/version", version + "\n")


def add_program(directory: Path, name: str, script: str) -> Path:
    """An executable shell script."""
    path = write(directory / name, "#!/bin/sh\n" + script)
    path.chmod(0o755)
    return path


def run_module(module: ModuleType, arguments: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """What a module prints when it runs with ``arguments``; the key ``exit_status`` is added."""
    payload = {**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True}
    saved = basic._ANSIBLE_ARGS
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": payload}).encode()
    # ansible-core from 2.19 on asks which serialization profile the controller speaks.
    profile = getattr(basic, "_ANSIBLE_PROFILE", None)
    basic._ANSIBLE_PROFILE = "legacy"
    output = io.StringIO()
    status: Any = None
    try:
        with redirect_stdout(output):
            module.main()
    except SystemExit as stopped:
        status = stopped.code
    finally:
        basic._ANSIBLE_ARGS = saved
        basic._ANSIBLE_PROFILE = profile
    result: dict[str, Any] = json.loads(output.getvalue())
    result["exit_status"] = status
    return result
