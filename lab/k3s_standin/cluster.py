"""What is true for the whole cluster: decided by the server's flags, read by every agent.

k3s serves this on its own port; the stand-in publishes it as a ConfigMap that the join token may read.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass
from typing import Any

from . import passwords
from .configuration import Configuration
from .console import FatalError

NAMESPACE = "kube-system"
CONFIG_MAP = "k3s-standin-cluster"
SETTINGS_PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
BOOTSTRAPPERS = "system:bootstrappers"
"""Group of whoever shows the join token."""

_NODES = "system:nodes"
_BACKENDS = ("none", "vxlan", "host-gw")
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class ClusterSettings:
    """Networks in CIDR notation, the DNS service's address and domain, and which parts a node runs."""

    cluster_cidr: str = "10.42.0.0/16"
    service_cidr: str = "10.43.0.0/16"
    cluster_dns: str = "10.43.0.10"
    cluster_domain: str = "cluster.local"
    flannel_backend: str = "vxlan"
    kube_proxy: bool = True

    @classmethod
    def from_configuration(cls, configuration: Configuration) -> ClusterSettings:
        """From a server's flags. Raises FatalError for a pod network that the stand-in does not have."""
        backend = configuration.text("flannel-backend", "vxlan")
        if backend not in _BACKENDS:
            raise FatalError(f"flannel-backend {backend}: the stand-in has {', '.join(_BACKENDS)}")
        service_cidr = configuration.first("service-cidr", cls.service_cidr)
        return cls(
            cluster_cidr=configuration.first("cluster-cidr", cls.cluster_cidr),
            service_cidr=service_cidr,
            cluster_dns=configuration.first("cluster-dns", service_address(service_cidr, 10)),
            cluster_domain=configuration.text("cluster-domain", cls.cluster_domain),
            flannel_backend=backend,
            kube_proxy=not configuration.enabled("disable-kube-proxy"),
        )

    @classmethod
    def from_config_map(cls, content: bytes) -> ClusterSettings:
        """From the API's answer."""
        return cls(**json.loads(json.loads(content)["data"]["settings"]))


def service_address(service_cidr: str, number: int) -> str:
    """The address with this number in the service network; 1 is the API's, 10 the DNS service's."""
    return str(ipaddress.ip_network(service_cidr)[number])


def objects(settings: ClusterSettings) -> list[dict[str, Any]]:
    """What the server puts into the API before a node can join."""
    return [
        _cluster_role_binding("k3s-standin-bootstrap", "system:node-bootstrapper", BOOTSTRAPPERS),
        _cluster_role_binding(
            "k3s-standin-approve", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", BOOTSTRAPPERS
        ),
        _cluster_role_binding(
            "k3s-standin-renew", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", _NODES
        ),
        # kube-proxy and flannel use the kubelet's certificate, which by itself may read its own Node only.
        _cluster_role_binding("k3s-standin-network", "system:node-proxier", _NODES),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
            "data": {"settings": json.dumps(asdict(settings), sort_keys=True)},
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "Role",
            "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
            "rules": [
                {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_MAP], "verbs": ["get"]}
            ],
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": CONFIG_MAP},
            "subjects": [_group(BOOTSTRAPPERS)],
        },
        *passwords.objects(_group(BOOTSTRAPPERS)),
    ]


def _cluster_role_binding(name: str, role: str, group: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [_group(group)],
    }


def _group(name: str) -> dict[str, str]:
    return {"apiGroup": _RBAC, "kind": "Group", "name": name}
