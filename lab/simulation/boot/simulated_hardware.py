#!/usr/bin/python3
"""Show a lab host the simulated hardware it has been given: PCI devices, DMI, device nodes, /proc/driver/nvidia.

    simulated-hardware                     at boot, and again at any time: brings everything to what the data say
    simulated-hardware set KEY=VALUE ...   change the state file that libnvidia-ml and nvidia-smi read, in place
    simulated-hardware get KEY ...         print values of the state file

Everything is a mount in the container's own mount namespace; the machine below is not touched. The host's python3 and
its standard library are enough.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

MARKER = Path("/etc/baremetal-gpu/simulated.json")
DATA = Path("/etc/baremetal-gpu/simulated-hardware.json")
STATES = ("lib/*-linux-gnu/libnvidia-simulated-hardware.so.*", "lib64/libnvidia-simulated-hardware.so.*")

# Name, major and minor number as NVIDIA's driver has them; 235 is what the kernel happens to give nvidia-uvm.
CONTROL_NODES = (("nvidiactl", 195, 255), ("nvidia-uvm", 235, 0), ("nvidia-uvm-tools", 235, 1))
GPU_MAJOR = 195
NODE_MODE = 0o666

# GT/s of a PCI Express generation, as the kernel writes current_link_speed.
LINK_SPEEDS = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0", 6: "64.0"}

MS_BIND = 4096
MS_PRIVATE = 1 << 18
MNT_DETACH = 2


class RefusedError(RuntimeError):
    """Something that this script must not, or cannot, do here."""


def mount(source: str | Path, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2), because a process for each of some fifty mounts would make every boot slower."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode()) != 0:
        raise RefusedError(f"cannot mount {source} on {target}: {os.strerror(ctypes.get_errno())}")


def mounted_as(source: str, target: Path) -> bool:
    """Whether the file system that is seen at `target` is the tmpfs that this script calls `source`."""
    number = target.stat().st_dev
    seen = (str(target), f"{os.major(number)}:{os.minor(number)}", source)
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, file_system = line.partition(" - ")
        _, _, device, _, at = fields.split()[:5]
        if (at, device, file_system.split()[1]) == seen:
            return True
    return False


def cover(source: str, target: Path) -> None:
    """Put a tmpfs over a folder, once."""
    if not mounted_as(source, target):
        mount(source, target, "tmpfs", options="mode=755")


def cover_keeping_children(source: str, target: Path, replaced: str) -> None:
    """Put a tmpfs over a folder of sysfs, which does not allow new entries, and show its former children in it.

    The child called `replaced` is left out: it is what the caller makes.
    """
    if mounted_as(source, target):
        return
    original = Path("/run/simulated-hardware", source)
    original.mkdir(parents=True, exist_ok=True)
    mount(target, original, "none", MS_BIND)
    # A lab host's mounts are shared with each other: what is put over the folder must not come up in this view of it too.
    mount("none", original, "none", MS_PRIVATE)
    try:
        cover(source, target)
        for child in original.iterdir():
            shown = target / child.name
            if child.is_symlink():
                shown.symlink_to(child.readlink())
            elif child.is_dir() and child.name != replaced:
                shown.mkdir()
                mount(child, shown, "none", MS_BIND)
    finally:
        ctypes.CDLL(None).umount2(os.fsencode(original), MNT_DETACH)


def write(path: Path, content: str | bytes, mode: int = 0o444) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


def link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


# ---- PCI ----


def configuration_space(device: dict[str, Any]) -> bytes:
    """The first 256 bytes of PCI configuration: identity, class, and an empty list of capabilities."""
    space = bytearray(256)
    struct.pack_into("<HHHH", space, 0x00, device["vendor"], device["device"], 0x0006, 0x0000)
    struct.pack_into("<I", space, 0x08, device["class"] << 8 | 0xA1)  # revision a1
    struct.pack_into("<HH", space, 0x2C, device["subsystem_vendor"], device["subsystem_device"])
    return bytes(space)


def show_pci(devices: list[dict[str, Any]]) -> None:
    folder = Path("/sys/bus/pci/devices")
    if not folder.is_dir():
        raise RefusedError(f"{folder} does not exist: this kernel has no PCI bus to show devices on")
    cover("simulated-pci", folder)
    for device in devices:
        at = folder / device["address"]
        write(at / "config", configuration_space(device), 0o644)
        for name, width in (
            ("vendor", 4),
            ("device", 4),
            ("subsystem_vendor", 4),
            ("subsystem_device", 4),
            ("class", 6),
        ):
            write(at / name, f"0x{device[name]:0{width}x}\n")
        write(at / "revision", "0xa1\n")
        write(at / "enable", "1\n", 0o644)
        write(at / "numa_node", f"{device['numa_node']}\n", 0o644)
        write(at / "resource", "0x0000000000000000 0x0000000000000000 0x0000000000000000\n")
        if device["link_generation"] and device["link_width"]:
            for kind in ("current", "max"):
                write(at / f"{kind}_link_speed", f"{LINK_SPEEDS[device['link_generation']]} GT/s PCIe\n")
                write(at / f"{kind}_link_width", f"{device['link_width']}\n")
        link(at / "driver", "../../drivers/nvidia")  # leads nowhere; its name is what tools read


# ---- DMI ----


def show_dmi(values: dict[str, str]) -> None:
    """/sys/devices/virtual/dmi/id and /sys/class/dmi/id; a virtual machine may have neither."""
    folder = Path("/sys/devices/virtual/dmi/id")
    cover_keeping_children("simulated-dmi", Path("/sys/devices/virtual"), "dmi")
    for name, value in values.items():
        secret = name.endswith(("_serial", "_uuid"))
        write(folder / name, f"{value}\n", 0o400 if secret else 0o444)
    of_class = Path("/sys/class/dmi/id")
    if of_class.resolve() != folder:
        cover_keeping_children("simulated-dmi-class", Path("/sys/class"), "dmi")
        of_class.parent.mkdir(exist_ok=True)
        link(of_class, "../../devices/virtual/dmi/id")


# ---- Driver ----


def make_nodes(count: int) -> None:
    for name, major, minor in (*CONTROL_NODES, *((f"nvidia{index}", GPU_MAJOR, index) for index in range(count))):
        path = Path("/dev", name)
        if not path.exists():
            os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
        path.chmod(NODE_MODE)  # mknod obeys the umask


def show_proc(driver: dict[str, str], devices: list[dict[str, Any]]) -> None:
    """/proc/driver/nvidia, where the kernel module's version stands."""
    folder = Path("/proc/driver")
    if not folder.is_dir():
        return
    cover("simulated-proc-driver", folder)
    folder /= "nvidia"
    machine = os.uname().machine
    write(
        folder / "version",
        f"NVRM version: NVIDIA UNIX {driver['module']} for {machine}  {driver['version']}  Release Build  (SIMULATED)\n",
    )
    write(folder / "params", "")
    for index, device in enumerate(devices):
        information = {
            "Model": device["name"],
            "GPU UUID": device["uuid"],
            "Bus Location": device["address"],
            "Device Minor": index,
        }
        write(
            folder / "gpus" / device["address"] / "information",
            "".join(f"{name + ':':<17}{value}\n" for name, value in information.items()),
        )


# ---- State file ----


def state_path() -> Path:
    found = sorted(path for pattern in STATES for path in Path("/usr").glob(pattern))
    if len(found) != 1:
        raise RefusedError(f"one state file is expected, found {len(found)}")
    return found[0]


def pin_state() -> None:
    """Open the file for writing once: a file of a lower image layer is copied up now, not after containers mounted it."""
    with state_path().open("r+b"):
        pass


def read_state() -> list[str]:
    return state_path().read_text(encoding="utf-8").splitlines()


def set_values(assignments: list[str]) -> None:
    """Rewrite the state file in place. It ends with complete=yes, so that a reader never takes half of it."""
    wanted = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key or key == "complete" or "\n" in assignment:
            raise RefusedError(f"KEY=VALUE is expected, not {assignment!r}")
        wanted[key] = value
    kept = [line for line in read_state() if line.partition("=")[0] not in {*wanted, "complete"}]
    lines = [*kept, *(f"{key}={value}" for key, value in wanted.items()), "complete=yes"]
    with state_path().open("r+", encoding="utf-8") as state:
        state.truncate()
        state.write("\n".join(lines) + "\n")


def get_values(keys: list[str]) -> None:
    values = dict(line.partition("=")[::2] for line in read_state() if not line.startswith("#"))
    for key in keys:
        print(values.get(key, ""))


# ---- Boot ----


def require_lab_host() -> None:
    """Only a lab host may be changed: it carries the marker, and it is a container."""
    if not MARKER.exists() or not DATA.exists():
        raise RefusedError(f"not a lab host: {MARKER} or {DATA} is missing")
    container = Path("/run/.containerenv").exists() or b"container=" in Path("/proc/1/environ").read_bytes()
    if not container:
        raise RefusedError("not a container: simulated hardware would cover the hardware of this machine")


def boot() -> None:
    require_lab_host()
    data = json.loads(DATA.read_text(encoding="utf-8"))
    show_pci(data["pci"])
    show_dmi(data["dmi"])
    make_nodes(len(data["pci"]))
    show_proc(data["driver"], data["pci"])
    pin_state()
    subprocess.run(["/sbin/ldconfig"], check=True)


def main(arguments: list[str]) -> int:
    try:
        if not arguments:
            boot()
        elif arguments[0] == "set" and arguments[1:]:
            set_values(arguments[1:])
        elif arguments[0] == "get" and arguments[1:]:
            get_values(arguments[1:])
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except (RefusedError, OSError) as error:
        print(f"simulated-hardware: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
