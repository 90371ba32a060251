"""Removes k3s from a host: what k3s made, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Dict, Iterable, List, Sequence, Set, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_host import Host
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_service import (
    BINARY,
    PREVIOUS_BINARY,
    SERVICES,
    Service,
)

# Where kubelet and containerd mount volumes, root file systems and network namespaces (as in k3s-killall.sh). What is mounted
# anywhere else below k3s's folders was mounted by somebody else.
MOUNTED_BY_K3S = ("/run/k3s", "/var/lib/kubelet/pods", "/var/lib/kubelet/plugins", "/run/netns/cni-")
# Network devices of k3s's flannel; containers' ends go with their namespaces.
DEVICES = ("cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6")
FOLDERS = (
    "/etc/rancher/k3s",
    "/etc/rancher/node",
    "/run/k3s",
    "/run/flannel",
    "/var/lib/cni/networks/cbr0",
    "/var/lib/kubelet",
    "/var/lib/rancher/k3s",
)
# A kubelet that k3s did not start has the same folder.
KUBELET_UNITS = ("/etc/systemd/system/kubelet.service", "/usr/lib/systemd/system/kubelet.service")
# Volumes of the local path provisioner: the users' data.
STORAGE = "/var/lib/rancher/k3s/storage"
# By it a containerd shim of k3s is told from one of another containerd.
SOCKET_FOLDER = "/run/k3s/"
PODS_CGROUP = "/kubepods"

END_TIMEOUT_S = 20.0
"""How long processes may take to end, and each volume to be unmounted."""


@dataclass(frozen=True)
class Leftovers:
    """What of k3s is on a host. ``foreign_mounts`` are mount points below its folders that are not its own."""

    unit: Tuple[str, ...]
    processes: Tuple[int, ...]
    mounts: Tuple[str, ...]
    devices: Tuple[str, ...]
    files: Tuple[str, ...]
    folders: Tuple[str, ...]
    foreign_mounts: Tuple[str, ...]
    left: Tuple[str, ...]

    @property
    def anything(self) -> bool:
        return bool(self.unit or self.processes or self.mounts or self.devices or self.files or self.folders)

    def names(self) -> List[str]:
        """For results: what goes away."""
        processes = ["{0} processes of containers".format(len(self.processes))] if self.processes else []
        devices = ["network device {0}".format(name) for name in self.devices]
        return [*self.unit, *processes, *self.mounts, *devices, *self.files, *self.folders]


def observe(host: Host, service: Service) -> Leftovers:
    """Look for what k3s made. Raises ``GpuError`` BG-K3S-012 when the host is also a node of another kind."""
    others = [other.unit_file for other in SERVICES.values() if other.name != service.name]
    for unit in (*others, *KUBELET_UNITS):
        if host.exists(unit):
            raise GpuError(
                "BG-K3S-012",
                "this host has {0}, too".format(unit),
                "it uses folders that would go with {0}".format(service.name),
                "remove that one first, in its own way",
            )
    mounted = mount_points(host.read("/proc/self/mountinfo") or "")
    own = tuple(sorted((point for point in mounted if point.startswith(MOUNTED_BY_K3S)), reverse=True))
    foreign = tuple(point for point in mounted if point not in own and any(_below(point, folder) for folder in FOLDERS))
    return Leftovers(
        unit=(service.unit_file,) if host.exists(service.unit_file) else (),
        processes=tuple(container_processes(host)),
        mounts=own,
        devices=tuple(name for name in DEVICES if host.exists("/sys/class/net/" + name)),
        files=tuple(path for path in _files(service) if host.exists(path)),
        folders=tuple(folder for folder in FOLDERS if _has_content(host, folder, foreign)),
        foreign_mounts=foreign,
        left=tuple(_left(host, foreign)),
    )


def remove(host: Host, service: Service, leftovers: Leftovers) -> None:
    """Remove it, in an order in which every step can be repeated; the unit's file goes last, so that a run that is cut short is repeated.

    Raises ``GpuError`` BG-K3S-013 when a process stays or a volume cannot be unmounted: nothing below it is deleted then.
    """
    if leftovers.unit:
        _stop(host, service)
    _end(host)
    for point in _still_mounted(host):
        _unmount(host, point)
    for device in leftovers.devices:
        host.command(["ip", "link", "delete", device])
    for folder in leftovers.folders:
        _clear(host, folder, leftovers.foreign_mounts)
    for path in (*leftovers.files, *leftovers.unit):
        os.unlink(host.path(path))
    # Others may have drop-ins of their own there.
    with suppress(OSError):
        os.rmdir(host.path(os.path.dirname(service.tailnet_file)))
    if leftovers.unit:
        host.systemctl("daemon-reload")
        host.systemctl("reset-failed", service.name)


def mount_points(mountinfo: str) -> List[str]:
    """Mount points out of ``/proc/self/mountinfo``, which writes blanks in paths as octal numbers."""
    found = []
    for line in mountinfo.splitlines():
        columns = line.split(" ")
        if len(columns) > 4:
            found.append(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), columns[4]))
    return found


def container_processes(host: Host) -> List[int]:
    """k3s's containerd shims with everything that they started, and whatever else runs in a pod's cgroup."""
    parents: Dict[int, int] = {}
    found: Set[int] = set()
    try:
        names = os.listdir(host.path("/proc"))
    except OSError:
        return []
    for name in names:
        if not name.isdigit():
            continue
        arguments = (host.read("/proc/{0}/cmdline".format(name)) or "").split("\0")
        status = host.read("/proc/{0}/stat".format(name)) or ""
        # The command's name is in brackets and may itself hold brackets and blanks.
        fields = status.rpartition(")")[2].split()
        if len(fields) < 2 or fields[0] == "Z":
            continue
        parents[int(name)] = int(fields[1])
        # A kubelet that is not k3s's would have been refused before: pods' processes are k3s's.
        if _is_shim(arguments) or PODS_CGROUP in (host.read("/proc/{0}/cgroup".format(name)) or ""):
            found.add(int(name))
    return sorted(_descendants(found, parents))


def remove_tree(path: str, kept: Iterable[str]) -> bool:
    """Delete a folder, but not the kept paths nor the folders that lead to them. Returns whether all of it is gone."""
    kept = set(kept)
    if path in kept:
        return False
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return True
    if not any(_below(point, path) for point in kept):
        shutil.rmtree(path)
        return True
    for name in os.listdir(path):
        remove_tree(os.path.join(path, name), kept)
    return False


def _stop(host: Host, service: Service) -> None:
    done = host.systemctl("disable", "--now", service.name)
    if done.return_code != 0:
        raise GpuError(
            "BG-K3S-013",
            "{0} cannot be stopped ({1})".format(service.name, (done.errors or done.output).strip()[:200]),
            "it would make again what is removed",
            "read its journal, stop it, then run again",
        )


def _end(host: Host) -> None:
    """End what runs in containers. Pods were drained, or their loss was accepted, before this is called."""
    deadline = time.monotonic() + END_TIMEOUT_S
    left = container_processes(host)
    while left:
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise GpuError(
                "BG-K3S-013",
                "processes of containers do not end: {0}".format(", ".join(map(str, left))),
                "they hold the volumes that are to be unmounted",
                "a process that hangs in a driver ends only with a reboot; then run again",
            )
        time.sleep(0.2)
        left = container_processes(host)


def _unmount(host: Host, point: str) -> None:
    """A process that was killed may hold it for another moment."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while True:
        done = host.command(["umount", point])
        if done.return_code == 0 or point not in _still_mounted(host):
            return
        if time.monotonic() > deadline:
            raise GpuError(
                "BG-K3S-013",
                "{0} cannot be unmounted ({1})".format(point, done.errors.strip()[:200]),
                "deleting the folders around it would delete the volume's data",
                "end what uses it, then run again",
            )
        time.sleep(0.5)


def _still_mounted(host: Host) -> List[str]:
    points = mount_points(host.read("/proc/self/mountinfo") or "")
    return sorted((point for point in points if point.startswith(MOUNTED_BY_K3S)), reverse=True)


def _is_shim(arguments: Sequence[str]) -> bool:
    return (
        bool(arguments)
        and "containerd-shim" in arguments[0]
        and any(argument.startswith(SOCKET_FOLDER) for argument in arguments[1:])
    )


def _descendants(ancestors: Set[int], parents: Dict[int, int]) -> Set[int]:
    found = set(ancestors)
    grown = True
    while grown:
        children = {child for child, parent in parents.items() if parent in found} - found
        found |= children
        grown = bool(children)
    return found


def _files(service: Service) -> Tuple[str, ...]:
    return (
        BINARY,
        PREVIOUS_BINARY,
        service.unit_file + ".env",
        service.tailnet_file,
        "/run/baremetal-gpu/{0}.stale".format(service.name),
    )


def _has_content(host: Host, folder: str, foreign: Sequence[str]) -> bool:
    """Whether there is something to delete: an empty mount point, or what only leads to things that stay, is nothing."""
    paths, kept = _targets(host, folder, foreign)
    return any(os.path.lexists(path) and _deletable(path, kept) for path in paths)


def _clear(host: Host, folder: str, foreign: Sequence[str]) -> None:
    paths, kept = _targets(host, folder, foreign)
    for path in paths:
        if os.path.lexists(path):
            remove_tree(path, kept)


def _targets(host: Host, folder: str, foreign: Sequence[str]) -> Tuple[List[str], Set[str]]:
    """What to delete for a folder, and what must stay. Of a folder that is a mount point itself, the content goes."""
    kept = {host.path(point) for point in foreign} | _storage(host)
    full = host.path(folder)
    if full not in kept:
        return [full], kept
    return [os.path.join(full, name) for name in sorted(os.listdir(full))], kept - {full}


def _deletable(path: str, kept: Set[str]) -> bool:
    if path in kept:
        return False
    if not any(_below(point, path) for point in kept):
        return True
    return any(_deletable(os.path.join(path, name), kept) for name in os.listdir(path))


def _storage(host: Host) -> Set[str]:
    path = host.path(STORAGE)
    return {path} if os.path.isdir(path) and os.listdir(path) else set()


def _left(host: Host, foreign: Sequence[str]) -> List[str]:
    left = ["{0}: mounted by somebody else".format(point) for point in foreign if point not in FOLDERS]
    if _storage(host):
        left.append("{0}: volumes with the users' data".format(STORAGE))
    return left


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
