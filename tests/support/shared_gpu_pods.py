"""Ways to spoil a good pod of tier small on nodes with two shares per GPU, and the code with which an admission policy refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

THREADS, MEMORY = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
GPU = "nvidia.com/gpu"
LABEL = "baremetal.gpu/tier"

Spoil = Callable[[dict[str, Any]], Any]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def put(name: str, value: Any) -> Spoil:
    """Give a variable another value; None leaves it out."""

    def change(pod: dict[str, Any]) -> None:
        env = [entry for entry in container(pod)["env"] if entry["name"] != name]
        container(pod)["env"] = env + ([{"name": name, "value": value}] if value is not None else [])

    return change


def asks(name: str, count: str) -> Spoil:
    return lambda pod: container(pod).update(resources={"requests": {name: count}, "limits": {name: count}})


def from_elsewhere(pod: dict[str, Any]) -> None:
    put(THREADS, None)(pod)
    source = {"configMapKeyRef": {"name": "limits", "key": "threads"}}
    container(pod)["env"].append({"name": THREADS, "valueFrom": source})


def twice(pod: dict[str, Any]) -> None:
    container(pod)["env"].append({"name": THREADS, "value": "50"})


def of_another_user(pod: dict[str, Any]) -> None:
    container(pod)["securityContext"] = {"runAsUser": 0}


def another_tier(name: str) -> Spoil:
    return lambda pod: pod["metadata"]["labels"].update({LABEL: name})


POLICY_FAULTS: tuple[tuple[str, Spoil, str], ...] = (
    ("no environment", lambda pod: container(pod).pop("env"), "BG-SHARE-013"),
    ("no threads", put(THREADS, None), "BG-SHARE-013"),
    ("no memory", put(MEMORY, None), "BG-SHARE-013"),
    ("empty", put(MEMORY, ""), "BG-SHARE-013"),
    ("from elsewhere", from_elsewhere, "BG-SHARE-013"),
    ("twice", twice, "BG-SHARE-013"),
    ("percent sign", put(THREADS, "10%"), "BG-SHARE-001"),
    ("no threads at all", put(THREADS, "0"), "BG-SHARE-001"),
    ("above 100", put(THREADS, "101"), "BG-SHARE-001"),
    ("above the cap", put(THREADS, "51"), "BG-SHARE-006"),
    ("no device", put(MEMORY, "8G"), "BG-SHARE-002"),
    ("unit of Kubernetes", put(MEMORY, "0=8Gi"), "BG-SHARE-002"),
    ("fraction", put(MEMORY, "0=7.5G"), "BG-SHARE-002"),
    ("nothing", put(MEMORY, "0=0G"), "BG-SHARE-002"),
    ("second device", put(MEMORY, "1=8G"), "BG-SHARE-002"),
    ("amount with B", put(MEMORY, "0=8GB"), "BG-SHARE-002"),
    ("another device's UUID", put(MEMORY, "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6=8G"), "BG-SHARE-002"),
    ("two shares", asks(GPU, "2"), "BG-SHARE-011"),
    ("MIG device", asks("nvidia.com/mig-1g.10gb", "1"), "BG-SHARE-015"),
    ("renamed", asks(GPU + ".shared", "1"), "BG-SHARE-015"),
    ("no tier", lambda pod: pod["metadata"].pop("labels"), "BG-SHARE-005"),
    ("unknown tier", another_tier("huge"), "BG-SHARE-005"),
    ("threads of another tier", put(THREADS, "25"), "BG-SHARE-014"),
    ("memory of another tier", put(MEMORY, "0=32G"), "BG-SHARE-014"),
    ("label of another tier", another_tier("large"), "BG-SHARE-014"),
    ("another user", of_another_user, "BG-SHARE-012"),
    ("no user", lambda pod: pod["spec"].pop("securityContext"), "BG-SHARE-012"),
)
