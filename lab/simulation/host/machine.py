"""What a host shows of its hardware in /sys, /proc and /dev, made from the state file: after boot and after each change.

`tree()` is pure: it says which files there are. `show()` writes them where boot has put empty file systems.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import mig
from .state import Place, Values, gpus, hcas, of_gpu, of_hca, read

PCI = "sys/bus/pci/devices"
INFINIBAND = "sys/class/infiniband"
DRIVER = "proc/driver"
MODULE = "sys/module/nvidia"
OWNED = (PCI, INFINIBAND, DRIVER, MODULE)
"""Folders that hold nothing but what `tree()` says."""

Content = str | bytes | Path
"""A file's text or bytes, or where a symbolic link leads."""
Tree = dict[str, Content]

# GT/s of a PCI Express generation, as the kernel writes current_link_speed.
LINK_SPEEDS = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0", 6: "64.0"}
UNKNOWN_WIDTH = 63
"""A device that answers with ones has all bits of its link width set."""

NVIDIA, MELLANOX = 0x10DE, 0x15B3
NETWORK_CLASS, INFINIBAND_CLASS = 0x020000, 0x020700

# Names of the kernel's counters of PCI Express errors (Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats).
AER_CORRECTABLE = ("RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout", "NonFatalErr", "CorrIntErr", "HeaderOF")
AER_UNCORRECTABLE = [
    "Undefined",
    "DLP",
    "SDES",
    "TLP",
    "FCP",
    "CmpltTO",
    "CmpltAbrt",
    "UnxCmplt",
    "RxOF",
    "MalfTLP",
    "ECRC",
    "UnsupReq",
    "ACSViol",
    "UncorrIntErr",
    "BlockedTLP",
    "AtomicOpBlocked",
    "TLPBlockedErr",
    "PoisonTLPBlocked",
]
AER = (
    ("correctable", AER_CORRECTABLE, "COR"),
    ("nonfatal", AER_UNCORRECTABLE, "NONFATAL"),
    ("fatal", AER_UNCORRECTABLE, "FATAL"),
)

# Names of the counters that the mlx5 driver has for each port.
PORT_COUNTERS = [
    "VL15_dropped",
    "excessive_buffer_overrun_errors",
    "link_downed",
    "link_error_recovery",
    "local_link_integrity_errors",
    "multicast_rcv_packets",
    "multicast_xmit_packets",
    "port_rcv_constraint_errors",
    "port_rcv_data",
    "port_rcv_errors",
    "port_rcv_packets",
    "port_rcv_remote_physical_errors",
    "port_rcv_switch_relay_errors",
    "port_xmit_constraint_errors",
    "port_xmit_data",
    "port_xmit_discards",
    "port_xmit_packets",
    "port_xmit_wait",
    "symbol_error",
    "unicast_rcv_packets",
    "unicast_xmit_packets",
]
HARDWARE_COUNTERS = [
    "duplicate_request",
    "implied_nak_seq_err",
    "lifespan",
    "local_ack_timeout_err",
    "np_cnp_sent",
    "np_ecn_marked_roce_packets",
    "out_of_buffer",
    "out_of_sequence",
    "packet_seq_err",
    "req_cqe_error",
    "req_cqe_flush_error",
    "req_remote_access_errors",
    "req_remote_invalid_request",
    "resp_cqe_error",
    "resp_cqe_flush_error",
    "resp_local_length_error",
    "resp_remote_access_errors",
    "rnr_nak_retry_err",
    "roce_adp_retrans",
    "roce_adp_retrans_to",
    "roce_slow_restart",
    "roce_slow_restart_cnps",
    "roce_slow_restart_trans",
    "rp_cnp_handled",
    "rp_cnp_ignored",
    "rx_atomic_requests",
    "rx_dct_connect",
    "rx_icrc_encapsulated",
    "rx_read_requests",
    "rx_write_requests",
]
LIFESPAN_MS = 12
"""How long the mlx5 driver keeps a reading of its hardware counters."""

# Device nodes of MIG: two of the host, then one for each GPU instance and compute instance that could ever be.
CAPS_MAJOR = 237
CAPS_OF_A_GPU, CAPS_OF_AN_INSTANCE, FIRST_CAP = 15 * 9, 9, 3

# Name, major and minor number as NVIDIA's driver has them; 235 is what the kernel happens to give nvidia-uvm.
CONTROL_NODES = (("nvidiactl", 195, 255), ("nvidia-uvm", 235, 0), ("nvidia-uvm-tools", 235, 1))
GPU_MAJOR = 195
NODE_MODE, CONTROL_CAP_MODE, INSTANCE_CAP_MODE = 0o666, 0o400, 0o444


def tree(values: Values, machine: dict[str, Any]) -> Tree:
    """Every file and link below /sys and /proc, by its path without the leading slash."""
    files: Tree = {}
    for gpu in gpus(values):
        if of_gpu(values, gpu, "missing") != "yes":
            files.update(_gpu_device(values, gpu))
    for hca in hcas(values):
        files.update(_hca_device(values, hca))
        files.update(_infiniband(values, hca))
    if kernel_driver(values):
        files.update(_driver(values, machine))
    return files


def kernel_driver(values: Values) -> str:
    """The version of the loaded kernel module; empty when none is loaded. That of the libraries unless it is set."""
    return values.get("kernel_driver_version", values.get("driver_version", ""))


# ---- PCI ----


def configuration_space(vendor: int, device: int, device_class: int, subsystem: tuple[int, int]) -> bytes:
    """The first 256 bytes of PCI configuration: identity, class, and an empty list of capabilities."""
    space = bytearray(256)
    struct.pack_into("<HHHH", space, 0x00, vendor, device, 0x0006, 0x0000)
    struct.pack_into("<I", space, 0x08, device_class << 8 | 0xA1)  # revision a1
    struct.pack_into("<HH", space, 0x2C, *subsystem)
    return bytes(space)


def _device(at: str, vendor: int, device: int, device_class: int, subsystem: tuple[int, int], numa_node: str) -> Tree:
    return {
        f"{at}/config": configuration_space(vendor, device, device_class, subsystem),
        f"{at}/vendor": f"0x{vendor:04x}\n",
        f"{at}/device": f"0x{device:04x}\n",
        f"{at}/subsystem_vendor": f"0x{subsystem[0]:04x}\n",
        f"{at}/subsystem_device": f"0x{subsystem[1]:04x}\n",
        f"{at}/class": f"0x{device_class:06x}\n",
        f"{at}/revision": "0xa1\n",
        f"{at}/enable": "1\n",
        f"{at}/numa_node": f"{numa_node or -1}\n",
        f"{at}/resource": "0x0000000000000000 0x0000000000000000 0x0000000000000000\n",
    }


def _link(at: str, generation: str, width: str, generation_max: str, width_max: str) -> Tree:
    """Link speed and width; a device whose link no source establishes has none of these files."""
    files: Tree = {}
    for kind, speed, lanes in (("current", generation, width), ("max", generation_max, width_max)):
        if speed and lanes:
            files[f"{at}/{kind}_link_speed"] = f"{LINK_SPEEDS[int(speed)]} GT/s PCIe\n"
            files[f"{at}/{kind}_link_width"] = f"{lanes}\n"
    return files


def aer_counters(names: tuple[str, ...] | list[str], total: str, counted: str) -> str:
    """The text of one aer_dev_* file; `counted` is like `BadTLP 12, RxErr 1`."""
    numbers = dict.fromkeys(names, 0)
    for part in filter(None, counted.split(",")):
        name, _, number = part.strip().partition(" ")
        numbers[name] = int(number)
    lines = [f"{name} {number}" for name, number in numbers.items()]
    return "\n".join([*lines, f"TOTAL_ERR_{total} {sum(numbers.values())}"]) + "\n"


def _gpu_device(values: Values, gpu: int) -> Tree:
    def of(name: str) -> str:
        return of_gpu(values, gpu, name)

    def number(name: str, absent: int = 0) -> int:
        return int(of(name) or str(absent), 0)

    at = f"{PCI}/{of('pci_bus_id')}"
    subsystem = (number("pci_subsystem_vendor_id", NVIDIA), number("pci_subsystem_device_id"))
    files = _device(at, NVIDIA, number("pci_device_id"), number("pci_class"), subsystem, of("numa_node"))
    names = ("pcie_generation_current", "pcie_width_current", "pcie_generation_max", "pcie_width_max")
    files.update(_link(at, *(of(name) for name in names)))
    for kind, counters, total in AER:
        files[f"{at}/aer_dev_{kind}"] = aer_counters(counters, total, of(f"aer_{kind}"))
    if of("lost") == "yes":
        files[f"{at}/config"] = b"\xff" * 256
        files[f"{at}/current_link_speed"] = "Unknown\n"
        files[f"{at}/current_link_width"] = f"{UNKNOWN_WIDTH}\n"
    if of("unclaimed") != "yes" and kernel_driver(values):
        files[f"{at}/driver"] = Path("../../drivers/nvidia")  # leads nowhere; its name is what tools read
    return files


# ---- Network adapters ----


def _hca_device(values: Values, hca: int) -> Tree:
    def of(name: str) -> str:
        return of_hca(values, hca, name)

    at = f"{PCI}/{of('pci_bus_id')}"
    device_class = INFINIBAND_CLASS if of("link_layer") == "InfiniBand" else NETWORK_CLASS
    device = int(of("pci_device_id"), 0)
    files = _device(
        at, MELLANOX, device, device_class, (MELLANOX, int(of("pci_subsystem_device_id") or "0", 0)), of("numa_node")
    )
    names = ("pcie_generation_current", "pcie_width_current", "pcie_generation_max", "pcie_width_max")
    files.update(_link(at, *(of(name) for name in names)))
    for kind, counters, total in AER:
        files[f"{at}/aer_dev_{kind}"] = aer_counters(counters, total, of(f"aer_{kind}"))
    files[f"{at}/driver"] = Path("../../drivers/mlx5_core")
    files[f"{at}/infiniband/{of('name')}"] = Path(f"/{INFINIBAND}/{of('name')}")
    return files


def _infiniband(values: Values, hca: int) -> Tree:
    def of(name: str) -> str:
        return of_hca(values, hca, name)

    at = f"{INFINIBAND}/{of('name')}"
    port = f"{at}/ports/1"
    files: Tree = {
        f"{at}/{name}": f"{of(name)}\n" for name in ("board_id", "fw_ver", "hca_type", "node_guid", "hw_rev")
    }
    files[f"{at}/device"] = Path(f"/{PCI}/{of('pci_bus_id')}")
    files[f"{at}/node_type"] = "1: CA\n"
    files.update({f"{port}/{name}": f"{of(name)}\n" for name in ("link_layer", "state", "phys_state", "rate")})
    for folder, names in (("counters", PORT_COUNTERS), ("hw_counters", HARDWARE_COUNTERS)):
        for name in names:
            files[f"{port}/{folder}/{name}"] = f"{of(f'counter_{name}') or 0}\n"
    files[f"{port}/hw_counters/lifespan"] = f"{LIFESPAN_MS}\n"
    if of("netdev"):
        files[f"{port}/gid_attrs/ndevs/0"] = f"{of('netdev')}\n"
    return files


# ---- Driver ----


def _driver(values: Values, machine: dict[str, Any]) -> Tree:
    version, folder = kernel_driver(values), f"{DRIVER}/nvidia"
    module = machine["driver"]["module"]
    text = f"NVRM version: NVIDIA UNIX {module} for {os.uname().machine}  {version}  Release Build  (SIMULATED)\n"
    files: Tree = {
        f"{folder}/version": text,
        f"{folder}/params": "",
        f"{MODULE}/version": f"{version}\n",
        f"{MODULE}/initstate": "live\n",
        f"{MODULE}/refcnt": "0\n",
    }
    for gpu in gpus(values):
        if of_gpu(values, gpu, "missing") != "yes":
            address = of_gpu(values, gpu, "pci_bus_id")
            files[f"{folder}/gpus/{address}/information"] = _information(values, gpu)
    if values.get("mig.profiles"):
        files[f"{DRIVER}/nvidia-caps/mig-minors"] = mig_minors(len(gpus(values)))
        for minor, name in ((1, "config"), (2, "monitor")):
            files[f"{folder}/capabilities/mig/{name}"] = _capability(minor, CONTROL_CAP_MODE)
        for name, minor in _instance_caps(values):
            files[f"{folder}/capabilities/{name.replace('/gi', '/mig/gi', 1)}"] = _capability(minor, INSTANCE_CAP_MODE)
    return files


def _information(values: Values, gpu: int) -> str:
    information = {
        "Model": of_gpu(values, gpu, "name"),
        "IRQ": 0,
        "GPU UUID": of_gpu(values, gpu, "uuid"),
        "Video BIOS": of_gpu(values, gpu, "vbios_version"),
        "Bus Type": "PCIe",
        "Bus Location": of_gpu(values, gpu, "pci_bus_id"),
        "Device Minor": gpu,
        "GPU Firmware": of_gpu(values, gpu, "gsp_firmware_version"),
        "GPU Excluded": "No",
    }
    return "".join(f"{name + ':':<17}{value}\n" for name, value in information.items())


def instance_minor(gpu: int, instance: int, compute: int | None = None) -> int:
    """The number of the device node that stands for a GPU instance, or for one of its compute instances."""
    first = FIRST_CAP + gpu * CAPS_OF_A_GPU + instance * CAPS_OF_AN_INSTANCE
    return first if compute is None else first + 1 + compute


def mig_minors(count: int) -> str:
    """The text of mig-minors: every capability that `count` GPUs may have and its device number."""
    lines = ["config 1", "monitor 2"]
    for gpu in range(count):
        for instance in range(CAPS_OF_A_GPU // CAPS_OF_AN_INSTANCE):
            lines.append(f"gpu{gpu}/gi{instance}/access {instance_minor(gpu, instance)}")
            lines += [
                f"gpu{gpu}/gi{instance}/ci{compute}/access {instance_minor(gpu, instance, compute)}"
                for compute in range(CAPS_OF_AN_INSTANCE - 1)
            ]
    return "\n".join(lines) + "\n"


def _instance_caps(values: Values) -> Iterator[tuple[str, int]]:
    """Capabilities of the MIG instances that exist, and their device numbers."""
    for gpu in gpus(values):
        for instance in mig.gpu_instances(values, gpu):
            yield f"gpu{gpu}/gi{instance.number}/access", instance_minor(gpu, instance.number)
            for compute in mig.compute_instances(values, gpu, instance.number):
                name = f"gpu{gpu}/gi{instance.number}/ci{compute.number}/access"
                yield name, instance_minor(gpu, instance.number, compute.number)


def _capability(minor: int, mode: int) -> str:
    return f"DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n"


# ---- Writing ----


def write_tree(root: Path, files: Tree) -> None:
    """Bring the owned folders below `root` to exactly these files. What is right already is not touched."""
    wanted = {root / path for path in files}
    folders = {parent for path in wanted for parent in path.parents}
    for path, content in files.items():
        _put(root / path, content)
    for owned in OWNED:
        if (root / owned).is_dir():
            _remove_others(root / owned, wanted, folders)


def _put(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        if not path.is_symlink() or path.readlink() != content:
            path.unlink(missing_ok=True)
            path.symlink_to(content)
        return
    data = content.encode() if isinstance(content, str) else content
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)
        path.chmod(0o444)


def _remove_others(folder: Path, wanted: set[Path], folders: set[Path]) -> None:
    for child in list(folder.iterdir()):
        if child.is_symlink() or not child.is_dir():
            if child not in wanted:
                child.unlink()
        elif child in folders:
            _remove_others(child, wanted, folders)
        else:
            shutil.rmtree(child)


def show(place: Place) -> None:
    """Show the state as it is now. Nothing before boot has covered /sys and /proc, which are the machine's own."""
    if not (place.root / "run/simulated-hardware/covered").exists():
        return
    values = read(place)
    write_tree(place.root, tree(values, place.read_machine()))
    make_nodes(place, values)


def make_nodes(place: Place, values: Values) -> None:
    """Device nodes: of the driver, of each GPU, and of MIG instances, which come and go."""
    devices = place.root / "dev"
    for name, major, minor in (*CONTROL_NODES, *((f"nvidia{gpu}", GPU_MAJOR, gpu) for gpu in gpus(values))):
        _node(devices / name, major, minor, NODE_MODE)
    if not values.get("mig.profiles"):
        return
    caps = devices / "nvidia-caps"
    caps.mkdir(exist_ok=True)
    wanted = {1: CONTROL_CAP_MODE, 2: INSTANCE_CAP_MODE}
    wanted.update({minor: INSTANCE_CAP_MODE for _, minor in _instance_caps(values)})
    for minor, mode in wanted.items():
        _node(caps / f"nvidia-cap{minor}", CAPS_MAJOR, minor, mode)
    for node in caps.iterdir():
        if node.name not in {f"nvidia-cap{minor}" for minor in wanted}:
            node.unlink()


def _node(path: Path, major: int, minor: int, mode: int) -> None:
    if not path.exists():
        os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
    path.chmod(mode)  # mknod obeys the umask
