"""What the checks look at and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, Mapping, Optional, Sequence, Tuple


@dataclass(frozen=True)
class Refusal:
    """One thing that is wrong: its code in the registry, the host, and what is the case. ``hint`` is a remedy for this case."""

    code: str
    subject: str
    what: str
    hint: str = ""


@dataclass(frozen=True)
class FileFacts:
    """A file on the controller. ``mode`` holds the permission bits; ``text`` is None when it cannot be read."""

    exists: bool
    regular: bool = False
    mode: int = 0
    text: Optional[str] = None


@dataclass(frozen=True)
class Profile:
    """The part of a hardware profile that the checks need."""

    name: str
    mig_capable: bool


@dataclass(frozen=True)
class Host:
    """One inventory host.

    ``variables`` are the evaluated ones that checks look at, with the defaults of the host's ``roles``. ``broken`` says
    why a variable could not be evaluated. ``names`` are all names that the inventory sets. ``judged`` is False for hosts
    that this run is not about.
    """

    name: str
    variables: Mapping[str, Any]
    roles: FrozenSet[str] = frozenset()
    broken: Mapping[str, str] = field(default_factory=dict)
    names: FrozenSet[str] = frozenset()
    judged: bool = True

    def text(self, name: str) -> str:
        """A variable as text; empty when it is not set."""
        value = self.variables.get(name)
        return "" if value is None else str(value).strip()


@dataclass(frozen=True)
class Inventory:
    """Everything that one preflight sees.

    ``options`` holds, per role, the options of its argument specs. ``read`` gives the facts of a file on the controller.
    """

    hosts: Tuple[Host, ...]
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    read: Callable[[str], FileFacts] = lambda _path: FileFacts(exists=False)

    def judged(self) -> Iterator[Host]:
        """Hosts that this run is about; the others only matter in comparisons between hosts."""
        return (host for host in self.hosts if host.judged)


# Facts of the site that no role sets: the k3s server exists before the run.
SITE_VARIABLES = frozenset(
    {
        "k3s_server_cluster_cidr",
        "k3s_server_service_cidr",
        "k3s_server_version",
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
