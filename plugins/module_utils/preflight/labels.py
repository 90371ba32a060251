"""Labels and taints with which a k3s agent registers its node."""

from __future__ import annotations

import re
from typing import Iterator, Set, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal, Rules
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.names import is_subdomain
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

LABELS = "k3s_agent_node_labels"
TAINTS = "k3s_agent_node_taints"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# Qualified names and label values as the API server checks them.
_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse labels and taints that the API server or the kubelet would refuse, and keys given twice."""
    for host in inventory.judged():
        yield from _labels(host, inventory.rules)
        yield from _taints(host)


def _labels(host: Host, rules: Rules) -> Iterator[Refusal]:
    seen: Set[str] = set()
    for item in host.items(LABELS):
        key, equals, value = str(item).partition("=")
        if not equals or not is_key(key) or not is_value(value):
            what = "{0} holds {1!r}".format(LABELS, item)
            yield Refusal("BG-INV-043", host.name, what, "write it as key=value, for example tier=gpu", LABELS)
        elif is_reserved(key, rules):
            yield Refusal("BG-INV-044", host.name, "{0} holds {1!r}".format(LABELS, item), variable=LABELS)
        if key in seen:
            yield Refusal("BG-INV-045", host.name, "{0} has the key {1} twice".format(LABELS, key), variable=LABELS)
        seen.add(key)


def _taints(host: Host) -> Iterator[Refusal]:
    seen: Set[Tuple[str, str]] = set()
    for item in host.items(TAINTS):
        left, colon, effect = str(item).rpartition(":")
        key, _equals, value = left.partition("=")
        if not colon or not is_key(key) or not is_value(value):
            what = "{0} holds {1!r}".format(TAINTS, item)
            hint = "write it as key=value:effect, for example nvidia.com/gpu=present:NoSchedule"
            yield Refusal("BG-INV-043", host.name, what, hint, TAINTS)
        elif effect not in EFFECTS:
            what = "{0} holds {1!r}: there is no effect {2}".format(TAINTS, item, effect or "without a name")
            yield Refusal("BG-INV-043", host.name, what, did_you_mean(effect, EFFECTS), TAINTS)
        if (key, effect) in seen:
            what = "{0} has {1} with effect {2} twice".format(TAINTS, key, effect)
            yield Refusal("BG-INV-045", host.name, what, variable=TAINTS)
        seen.add((key, effect))


def is_key(text: str) -> bool:
    """A name of at most 63 characters, with a DNS subdomain and a slash before it or not."""
    prefix, slash, name = text.rpartition("/")
    return bool(_PART.fullmatch(name)) and (not slash or is_subdomain(prefix))


def is_value(text: str) -> bool:
    """At most 63 letters, digits, '-', '_' and '.', or nothing."""
    return not text or bool(_PART.fullmatch(text))


def is_reserved(key: str, rules: Rules) -> bool:
    """Whether the kubelet ends on this label: of Kubernetes' own namespaces it may set only some."""
    namespace = key.rpartition("/")[0]
    own = any(namespace == root or namespace.endswith("." + root) for root in ("kubernetes.io", "k8s.io"))
    if not own or key in rules.kubelet_labels or (rules.labels_by_api and re.match(rules.labels_by_api, key)):
        return False
    return not any(namespace == each or namespace.endswith("." + each) for each in rules.kubelet_label_namespaces)
