"""Manifests of pods held against how their group of nodes shares its GPUs, before anything is applied. Pure.

Only what stands in the manifest is judged. What comes from elsewhere (an image's user, a value of a ConfigMap) is not known here, and a
fault: the pod could not be vouched for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import MPS
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import as_list, as_map, is_gpu
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import parse_quantity, plain
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import MIG, Fault, Sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.figures import (
    GpuMemory,
    memory_above_cap,
    share_of,
    threads_above_cap,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.limits import (
    MEMORY,
    THREADS,
    parse_memory_limits,
    parse_thread_percentage,
    render_memory_limits,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import LABEL, Tier, Tiers, tier_named

LIMITS = (THREADS, MEMORY)


@dataclass(frozen=True)
class PodFault:
    """One thing that is wrong with a pod. ``subject`` is ``Kind/namespace/name``."""

    subject: str
    fault: Fault


@dataclass(frozen=True)
class _GpuPod:
    """A pod, or the pods that a controller makes, with its containers that ask for GPUs."""

    subject: str
    labels: Mapping[str, Any]
    spec: Mapping[str, Any]
    containers: Tuple[Mapping[str, Any], ...]


def pod_faults(
    manifests: Iterable[Any], sharing: Sharing, memory: Optional[GpuMemory], tiers: Tiers, user: Optional[int] = None
) -> List[PodFault]:
    """Everything that is wrong with pods that ask for GPUs of these nodes; other objects are left alone.

    ``user`` is the id that all of them must have; None takes the one that most of them have. Raises ``GpuError`` BG-SHARE-017 for what is
    no manifest.
    """
    pods = [pod for manifest in manifests for pod in _gpu_pods(manifest)]
    found = [PodFault(pod.subject, fault) for pod in pods for fault in _of_pod(pod, sharing, memory, tiers)]
    return [*found, *(_users(pods, user) if sharing.strategy == MPS else ())]


def _gpu_pods(manifest: Any) -> Iterator[_GpuPod]:
    if manifest is None:  # an empty document of a YAML file
        return
    if not isinstance(manifest, Mapping) or not isinstance(manifest.get("kind"), str):
        raise GpuError(
            "BG-SHARE-017",
            "this is no manifest: {0!r}".format(manifest)[:200],
            "what cannot be read cannot be vouched for",
            "pass a list of objects with a kind, for example from_yaml_all of a file",
        )
    if manifest["kind"].endswith("List"):
        # Items of a PodList have no kind of their own; those of a List do.
        kind = manifest["kind"][: -len("List")]
        for item in as_list(manifest.get("items")):
            # By items(): Ansible's own mappings evaluate what they hold only when they are asked for it.
            yield from _gpu_pods({"kind": kind, **dict(item.items())} if kind and isinstance(item, Mapping) else item)
        return
    found = _template(manifest)
    if found is None:
        return
    metadata, template = as_map(manifest.get("metadata")), as_map(found)
    spec = as_map(template.get("spec"))
    every = [as_map(each) for key in ("initContainers", "containers") for each in as_list(spec.get(key))]
    containers = tuple(each for each in every if any(_asked(each, key) for key in ("requests", "limits")))
    if containers:
        subject = "{0}/{1}/{2}".format(
            manifest["kind"],
            metadata.get("namespace") or "default",
            metadata.get("name") or metadata.get("generateName") or "?",
        )
        yield _GpuPod(subject, as_map(as_map(template.get("metadata")).get("labels")), spec, containers)


def _template(manifest: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    """What a controller makes its pods of, or the pod itself; None for an object that makes none."""
    spec = as_map(manifest.get("spec"))
    if manifest["kind"] == "Pod":
        return manifest
    if manifest["kind"] == "CronJob":
        spec = as_map(as_map(spec.get("jobTemplate")).get("spec"))
    template = manifest.get("template") if manifest["kind"] == "PodTemplate" else spec.get("template")
    return template if isinstance(template, Mapping) and "spec" in template else None


def _of_pod(pod: _GpuPod, sharing: Sharing, memory: Optional[GpuMemory], tiers: Tiers) -> Iterator[Fault]:
    tier: Optional[Tier] = None
    if LABEL in pod.labels:
        try:
            tier = tier_named(pod.labels[LABEL], tiers)
        except GpuError as error:
            yield _as_fault(error)
    for container in pod.containers:
        yield from _requests(container, sharing)
        if sharing.strategy == MPS:
            yield from _limits(container, sharing, memory, tier)
        elif tier is not None or any(name in LIMITS for name in _environment(container)):
            yield Fault(
                "BG-SHARE-008",
                "{0} has limits of MPS, and the strategy is {1}".format(_named(container), sharing.strategy),
            )


def _requests(container: Mapping[str, Any], sharing: Sharing) -> Iterator[Fault]:
    requests, limits = _asked(container, "requests"), _asked(container, "limits")
    if requests and requests != limits:
        what = "{0} requests {1} and has the limit {2}".format(_named(container), _told(requests), _told(limits))
        yield Fault("BG-SHARE-016", what)
    for name, count in sorted({**limits, **requests}.items()):
        if sharing.strategy != MIG and name != sharing.resource:
            what = "{0} requests {1}, and these nodes offer {2}".format(_named(container), name, sharing.resource)
            yield Fault("BG-SHARE-015", what, "request {0}".format(sharing.resource))
        elif not isinstance(count, Decimal) or count != int(count) or count < 0 or (sharing.replicas > 1 and count > 1):
            yield Fault("BG-SHARE-011", "{0} requests {1}".format(_named(container), _told({name: count})))


def _limits(
    container: Mapping[str, Any], sharing: Sharing, memory: Optional[GpuMemory], tier: Optional[Tier]
) -> Iterator[Fault]:
    """Presence, form, what the daemon lets a client have, and the tier, in this order: one fault per variable."""
    environment = _environment(container)
    for name in LIMITS:
        given = environment.get(name, [])
        if not given or given == [""]:
            yield Fault("BG-SHARE-013", "{0} has no {1}".format(_named(container), name))
        elif len(given) > 1:
            what = "{0} has {1} {2} times".format(_named(container), name, len(given))
            yield Fault("BG-SHARE-013", what, "give it once")
        elif given[0] is None:
            what = "{0} takes {1} from elsewhere, where it cannot be seen".format(_named(container), name)
            yield Fault("BG-SHARE-013", what, "write the value into the manifest")
        else:
            try:
                yield from _value(container, name, given[0], sharing, memory, tier)
            except GpuError as error:
                yield Fault(error.code, "{0}: {1}".format(_named(container), error.what), error.remedy)


def _value(
    container: Mapping[str, Any],
    name: str,
    value: Any,
    sharing: Sharing,
    memory: Optional[GpuMemory],
    tier: Optional[Tier],
) -> Iterator[Fault]:
    if name == THREADS:
        asked = parse_thread_percentage(value)
        yield from threads_above_cap(_named(container), asked, sharing)
        if tier is not None and asked != tier.thread_percent:
            yield _not_the_tier(container, name, plain(asked), tier, plain(tier.thread_percent))
        return
    limits = parse_memory_limits(value)
    only = next(iter(limits), "") if len(limits) == 1 else ""
    if only.isdigit() and only != "0":
        # The container sees the one GPU that it holds a share of, and that is its device 0.
        what = "{0} limits the memory of device {1} and has device 0 only".format(_named(container), only)
        yield Fault("BG-SHARE-013", what, "limit device 0")
    share = share_of(sharing, memory)
    for device, size in limits.items():
        yield from memory_above_cap("{0} on device {1}".format(_named(container), device), size, share)
    if tier is not None and any(size != tier.memory_bytes for size in limits.values()):
        expected = render_memory_limits(dict.fromkeys(limits, tier.memory_bytes))
        yield _not_the_tier(container, name, render_memory_limits(limits), tier, expected)


def _not_the_tier(container: Mapping[str, Any], name: str, given: str, tier: Tier, expected: str) -> Fault:
    what = "{0} has {1} {2}, and its tier {3} has {4}".format(_named(container), name, given, tier.name, expected)
    return Fault("BG-SHARE-014", what)


def _users(pods: List[_GpuPod], user: Optional[int]) -> Iterator[PodFault]:
    """Pods that do not say as whom they run, and those that run as another user than the rest."""
    users: List[Tuple[str, str, int]] = []
    for pod in pods:
        for container in pod.containers:
            given = _user(pod, container)
            if given is None:
                what = "{0} has no runAsUser, so its image decides".format(_named(container))
                yield PodFault(pod.subject, Fault("BG-SHARE-012", what))
            else:
                users.append((pod.subject, _named(container), given))
    counted = Counter(given for _subject, _container, given in users)
    # Of users that equally many have, the lower id: the answer does not depend on the order of the manifests.
    usual = user if user is not None else min(counted, key=lambda each: (-counted[each], each), default=0)
    for subject, container_name, given in users:
        if given != usual:
            what = "{0} runs as user {1}, and the others as {2}".format(container_name, given, usual)
            yield PodFault(subject, Fault("BG-SHARE-012", what, "set runAsUser to {0}".format(usual)))


def _user(pod: _GpuPod, container: Mapping[str, Any]) -> Optional[int]:
    for holder in (container, pod.spec):
        given = as_map(holder.get("securityContext")).get("runAsUser")
        if isinstance(given, int) and not isinstance(given, bool):
            return given
    return None


def _environment(container: Mapping[str, Any]) -> Dict[str, List[Any]]:
    """Values by name; None for one that comes from elsewhere. A later one of the same name wins in Kubernetes, and is a mistake here."""
    found: Dict[str, List[Any]] = {}
    for entry in map(as_map, as_list(container.get("env"))):
        found.setdefault(str(entry.get("name")), []).append(entry.get("value"))
    return found


def _named(container: Mapping[str, Any]) -> str:
    return "container {0}".format(container.get("name") or "?")


def _asked(container: Mapping[str, Any], key: str) -> Dict[str, Union[Decimal, str]]:
    """GPU resources of a container's requests or limits: their number, or the text that is no quantity. None of one is not asked for."""
    found: Dict[str, Union[Decimal, str]] = {}
    for name, value in as_map(as_map(container.get("resources")).get(key)).items():
        if is_gpu(str(name)):
            try:
                found[str(name)] = parse_quantity(str(value))
            except ValueError:
                found[str(name)] = str(value)
    return {name: count for name, count in found.items() if count != 0}


def _told(counts: Mapping[str, Union[Decimal, str]]) -> str:
    told = [
        "{0} {1}".format(plain(count) if isinstance(count, Decimal) else repr(count), name)
        for name, count in sorted(counts.items())
    ]
    return ", ".join(told) or "nothing"


def _as_fault(error: GpuError) -> Fault:
    return Fault(error.code, error.what, error.remedy)
