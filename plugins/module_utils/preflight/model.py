"""What the checks look at and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import Judge
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.figures import GpuMemory
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import Tier


@dataclass(frozen=True)
class Refusal:
    """One thing that is wrong: its code in the registry, the host, and what is the case.

    ``hint`` is a remedy for this case, ``variable`` the variable that it is about, where there is one.
    """

    code: str
    subject: str
    what: str
    hint: str = ""
    variable: str = ""


@dataclass(frozen=True)
class FileFacts:
    """A file on the controller. ``mode`` holds the permission bits; ``text`` is None when it cannot be read."""

    exists: bool
    regular: bool = False
    mode: int = 0
    text: Optional[str] = None


@dataclass(frozen=True)
class Kubeconfig:
    """What a kubeconfig on the controller says about its current context.

    ``fault`` says why it is none. ``expires`` is when its client certificate ends; None where it has no certificate.
    """

    fault: str = ""
    server: str = ""
    skips_tls_verification: bool = False
    expires: Optional[datetime] = None


@dataclass(frozen=True)
class Profile:
    """The part of a hardware profile that the checks need. ``architecture`` is empty where the profile says none.

    ``memory`` is that of one GPU; None where it is not known.
    """

    name: str
    mig_capable: bool
    architecture: str = ""
    memory: Optional[GpuMemory] = None


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included."""

    minimum: int
    maximum: int
    unit: str


@dataclass(frozen=True)
class System:
    """What groups the inventory of a system needs (``data/systems.yml``).

    ``required`` maps a group to what it is for; ``inside`` maps a group to the group that must contain its hosts;
    ``exclusive`` are groups of which a host may be in one only.
    """

    name: str
    required: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=dict)
    exclusive: Tuple[Tuple[str, ...], ...] = ()
    readiness: bool = False


@dataclass(frozen=True)
class Rules:
    """Everything that the checks know from data files.

    ``options`` holds, per role, the options of its argument specs; ``codes`` the kind of each registered code;
    ``readiness`` the items of a site's readiness checklist; ``kubelet_arguments`` the arguments that may not be given, with
    the reason; ``labels_by_api`` a pattern of the labels that the agent's role sets through the API, if it sets any so;
    ``compatibility`` answers which versions may meet, where that is known; ``tiers`` are the workload tiers by name.
    """

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    readiness: Mapping[str, str] = field(default_factory=dict)
    agent_keys: FrozenSet[str] = frozenset()
    agent_keys_of_role: Mapping[str, str] = field(default_factory=dict)
    kubelet_arguments: Mapping[str, str] = field(default_factory=dict)
    kubelet_labels: FrozenSet[str] = frozenset()
    kubelet_label_namespaces: FrozenSet[str] = frozenset()
    labels_by_api: str = ""
    compatibility: Optional[Judge] = None
    tiers: Mapping[str, Tier] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """One inventory host.

    ``variables`` are the evaluated ones that checks look at, with the defaults of the host's ``roles``. ``broken`` says
    why a variable could not be evaluated. ``names`` are all names that the inventory sets. ``exposed`` says which
    variables hold a secret in plain text, and why they are taken for one. ``judged`` is False for hosts that this run
    is not about.
    """

    name: str
    variables: Mapping[str, Any]
    roles: FrozenSet[str] = frozenset()
    broken: Mapping[str, str] = field(default_factory=dict)
    names: FrozenSet[str] = frozenset()
    exposed: Mapping[str, str] = field(default_factory=dict)
    judged: bool = True

    def text(self, name: str) -> str:
        """A variable as text; empty when it is not set."""
        value = self.variables.get(name)
        return "" if value is None else str(value).strip()

    def items(self, name: str) -> Sequence[Any]:
        """A list variable; empty when it is not set or no list."""
        value = self.variables.get(name)
        return value if isinstance(value, (list, tuple)) else ()


@dataclass(frozen=True)
class Inventory:
    """Everything that one preflight sees.

    ``groups`` are the hosts of each group. ``read`` and ``kubeconfig`` give the facts of a file on the controller.
    ``now`` is what certificates are held against.
    """

    hosts: Tuple[Host, ...]
    rules: Rules = field(default_factory=Rules)
    system: Optional[System] = None
    groups: Mapping[str, FrozenSet[str]] = field(default_factory=dict)
    read: Callable[[str], FileFacts] = lambda _path: FileFacts(exists=False)
    kubeconfig: Callable[[str], Kubeconfig] = lambda _path: Kubeconfig(fault="does not exist on the controller")
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def judged(self) -> Iterator[Host]:
        """Hosts that this run is about; the others only matter in comparisons between hosts."""
        return (host for host in self.hosts if host.judged)


# Facts of the site that no role sets, and what they are for; docs/preflight.md describes them.
SITE_VARIABLES = frozenset(
    {
        # How the GPUs of a group of nodes are shared (docs/sharing.md).
        "gpu_sharing",
        # The k3s server exists before the run.
        "k3s_server_cluster_cidr",
        "k3s_server_cluster_dns",
        "k3s_server_node_cidr_mask_size",
        "k3s_server_service_cidr",
        "k3s_server_version",
        # What a host has, or is to get, that no role installs; and rows of the compatibility table that do not hold here.
        "site_gpu_stack",
        "site_gpu_stack_accepted",
        # Networks that nodes' own addresses come from.
        "site_node_networks",
        # A mirror that may be read without TLS: what it serves is held against checksums.
        "site_mirror_url",
        "site_readiness",
    }
)

Check = Callable[[Inventory], Iterable[Refusal]]


@dataclass(frozen=True)
class Node:
    """A host as a member of a Kubernetes cluster."""

    host: Host
    cluster: str
    name: str
    address: str


@dataclass(frozen=True)
class _NodeRole:
    """By which variables a role says what node its host becomes. An empty name means that the host's name is used."""

    name: str
    address: str
    cluster: Callable[[Host], str]


# The cluster of a k3s agent is its server's address, of a kubeadm node its first control plane host.
NODE_ROLES: Dict[str, _NodeRole] = {
    "k3s_agent": _NodeRole("k3s_agent_node_name", "k3s_agent_node_ip", lambda host: host.text("k3s_agent_server")),
    "k3s_server": _NodeRole(
        "k3s_server_node_name", "k3s_server_node_ip", lambda host: host.text("k3s_server_api_address")
    ),
    "kubeadm_control_plane": _NodeRole(
        "kubeadm_control_plane_node_name", "kubeadm_control_plane_address", lambda host: host.name
    ),
    "kubeadm_worker": _NodeRole(
        "kubeadm_worker_node_name",
        "kubeadm_worker_address",
        lambda host: host.text("kubeadm_worker_control_plane_host"),
    ),
}


def nodes(inventory: Inventory) -> Iterator[Node]:
    """Every host that becomes a node, once per cluster role it has."""
    for host in inventory.hosts:
        for role, names in NODE_ROLES.items():
            if role in host.roles:
                yield Node(host, names.cluster(host), host.text(names.name) or host.name, host.text(names.address))


def clusters(inventory: Inventory) -> Dict[str, Sequence[Node]]:
    """Nodes by cluster; a node whose cluster is not known stands alone."""
    found: Dict[str, list[Node]] = {}
    for node in nodes(inventory):
        found.setdefault(node.cluster or "unknown cluster of " + node.host.name, []).append(node)
    return dict(found)
