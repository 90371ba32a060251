"""MIG on the simulated GPUs: which instances there are, which can be made, and where they are placed.

A GPU has 7 compute slices and 8 memory slices; a profile takes some of each and may start at certain memory slices only.
The geometry is data of the hardware profile. In the state file

    gpu.0.gi.2=9@4                    GPU instance 2 is of profile 9 and starts at memory slice 4
    gpu.0.gi.2.ci.0=2@0@MIG-...       its compute instance 0 is of compute profile 2, starts at slice 0, and has a UUID
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from .state import Change, Values, of_gpu

COMPUTE_SLICES = 7
MEMORY_SLICES = 8

COMPUTE_PROFILES = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4}
"""Compute slices to NVML's number of the compute instance profile; there are none of 5 or 6 slices."""

INSTANCE_NUMBERS = {8: (0,), 4: (1, 2), 2: (3, 4, 5, 6), 1: (7, 8, 9, 10, 11, 12, 13)}
"""Memory slices of a profile to the numbers that its GPU instances get, in the order they are given out."""


class MigError(RuntimeError):
    """NVML refuses; `code` is its return code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


NOT_SUPPORTED, INVALID_ARGUMENT, NOT_FOUND, INSUFFICIENT_RESOURCES, IN_USE = 3, 2, 6, 23, 19


@dataclass(frozen=True)
class Profile:
    """A kind of GPU instance."""

    number: int
    name: str
    slices: int
    size: int
    starts: tuple[int, ...]
    instances: int


@dataclass(frozen=True)
class GpuInstance:
    """A GPU instance that exists."""

    number: int
    profile: Profile
    start: int


@dataclass(frozen=True)
class ComputeInstance:
    """A compute instance that exists: a MIG device."""

    number: int
    slices: int
    start: int
    uuid: str


def profiles(values: Values) -> dict[int, Profile]:
    """All kinds of GPU instances, by number."""
    found = {}
    for number in filter(None, values.get("mig.profiles", "").split(",")):
        of = {key: values[f"mig.profile.{number}.{key}"] for key in ("name", "slices", "size", "starts", "instances")}
        starts = tuple(int(start) for start in of["starts"].split())
        found[int(number)] = Profile(
            int(number), of["name"], int(of["slices"]), int(of["size"]), starts, int(of["instances"])
        )
    return found


def gpu_instances(values: Values, gpu: int) -> list[GpuInstance]:
    """The GPU instances of a GPU, by number."""
    known, found = profiles(values), []
    for number in range(16):
        text = values.get(f"gpu.{gpu}.gi.{number}")
        if text:
            profile, _, start = text.partition("@")
            found.append(GpuInstance(number, known[int(profile)], int(start)))
    return found


def compute_instances(values: Values, gpu: int, instance: int) -> list[ComputeInstance]:
    """The compute instances of a GPU instance, by number."""
    slices = {profile: count for count, profile in COMPUTE_PROFILES.items()}
    found = []
    for number in range(COMPUTE_SLICES):
        text = values.get(f"gpu.{gpu}.gi.{instance}.ci.{number}")
        if text:
            profile, start, identity = text.split("@")
            found.append(ComputeInstance(number, slices[int(profile)], int(start), identity))
    return found


def free_start(existing: list[GpuInstance], profile: Profile, start: int | None = None) -> int | None:
    """Where one more instance of a profile can begin, or None when there is no room."""
    same = sum(1 for instance in existing if instance.profile.number == profile.number)
    compute = sum(instance.profile.slices for instance in existing)
    if same >= profile.instances or compute + profile.slices > COMPUTE_SLICES:
        return None
    taken = {at for instance in existing for at in range(instance.start, instance.start + instance.profile.size)}
    for begin in profile.starts if start is None else (start,):
        if begin in profile.starts and taken.isdisjoint(range(begin, begin + profile.size)):
            return begin
    return None


def _require_mig(values: Values, gpu: int) -> None:
    if of_gpu(values, gpu, "mig_mode") != "Enabled":
        raise MigError(NOT_SUPPORTED, "MIG mode is not enabled")


def create_gpu_instance(change: Change, gpu: int, number: int, start: int | None = None) -> int:
    """Make a GPU instance of a profile; return its number. Raises MigError."""
    _require_mig(change.values, gpu)
    profile = profiles(change.values).get(number)
    if profile is None:
        raise MigError(INVALID_ARGUMENT, f"there is no GPU instance profile {number}")
    existing = gpu_instances(change.values, gpu)
    begin = free_start(existing, profile, start)
    used = {instance.number for instance in existing}
    numbers = [candidate for candidate in INSTANCE_NUMBERS[profile.size] if candidate not in used]
    if begin is None or not numbers:
        raise MigError(INSUFFICIENT_RESOURCES, f"no room for {profile.name}")
    change.set(f"gpu.{gpu}.gi.{numbers[0]}", f"{number}@{begin}")
    return numbers[0]


def _gpu_instance(values: Values, gpu: int, number: int) -> GpuInstance:
    for instance in gpu_instances(values, gpu):
        if instance.number == number:
            return instance
    raise MigError(NOT_FOUND, f"there is no GPU instance {number}")


def destroy_gpu_instance(change: Change, gpu: int, number: int) -> None:
    """Remove a GPU instance, which must not have compute instances any more. Raises MigError."""
    _gpu_instance(change.values, gpu, number)
    if compute_instances(change.values, gpu, number):
        raise MigError(IN_USE, f"GPU instance {number} has compute instances")
    del change.values[f"gpu.{gpu}.gi.{number}"]


def create_compute_instance(change: Change, gpu: int, instance: int, profile: int) -> int:
    """Make a compute instance in a GPU instance; return its number. Raises MigError."""
    _require_mig(change.values, gpu)
    parent = _gpu_instance(change.values, gpu, instance)
    slices = {number: count for count, number in COMPUTE_PROFILES.items()}.get(profile, 0)
    if not 0 < slices <= parent.profile.slices:
        raise MigError(INVALID_ARGUMENT, f"{parent.profile.name} has no compute instance profile {profile}")
    existing = compute_instances(change.values, gpu, instance)
    taken = {at for other in existing for at in range(other.start, other.start + other.slices)}
    for start in range(parent.profile.slices - slices + 1):
        if taken.isdisjoint(range(start, start + slices)):
            number = next(
                candidate for candidate in range(COMPUTE_SLICES) if candidate not in {o.number for o in existing}
            )
            identity = mig_uuid(of_gpu(change.values, gpu, "uuid"), instance, number, parent.start + start)
            change.set(f"gpu.{gpu}.gi.{instance}.ci.{number}", f"{profile}@{start}@{identity}")
            return number
    raise MigError(INSUFFICIENT_RESOURCES, f"no room in GPU instance {instance}")


def mig_uuid(gpu_uuid: str, instance: int, compute: int, start: int) -> str:
    """The same GPU and the same place give the same UUID, as with the real driver."""
    return f"MIG-{uuid.uuid5(uuid.NAMESPACE_URL, f'{gpu_uuid}/{instance}/{compute}/{start}')}"


def destroy_compute_instance(change: Change, gpu: int, instance: int, number: int) -> None:
    """Remove a compute instance. Raises MigError when there is none."""
    if change.values.pop(f"gpu.{gpu}.gi.{instance}.ci.{number}", None) is None:
        raise MigError(NOT_FOUND, f"there is no compute instance {number} in GPU instance {instance}")


def destroy_all(change: Change, gpu: int) -> None:
    """What switching MIG off, or a restart, does to the instances of a GPU."""
    for instance in gpu_instances(change.values, gpu):
        for compute in compute_instances(change.values, gpu, instance.number):
            destroy_compute_instance(change, gpu, instance.number, compute.number)
        destroy_gpu_instance(change, gpu, instance.number)
