"""Which flags k3s knows, and of which kind: the list decides what is accepted and what is refused.

Source: the server's and the agent's command line reference of k3s v1.34. A flag in this list is accepted; README.md says which have an effect.
"""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """How a flag takes its value: a list flag may be given several times and keeps every value."""

    TEXT = "text"
    LIST = "list"
    BOOLEAN = "boolean"


def _names(text: str) -> list[str]:
    return text.split()


def _flags(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(_names(names), kind)


AGENT = {
    **_flags(
        Kind.TEXT,
        """
        config v vmodule log token token-file server data-dir node-name lb-server-port container-runtime-endpoint default-runtime
        pause-image snapshotter private-registry resolv-conf flannel-iface flannel-conf flannel-cni-conf vpn-auth vpn-auth-file
        image-credential-provider-bin-dir image-credential-provider-config bind-address image-service-endpoint airgap-extra-registry
        """,
    ),
    **_flags(
        Kind.LIST,
        """
        node-label node-taint node-ip node-external-ip node-internal-dns node-external-dns kubelet-arg kube-proxy-arg
        """,
    ),
    **_flags(
        Kind.BOOLEAN,
        """
        debug alsologtostderr with-node-id selinux protect-kernel-defaults rootless prefer-bundled-bin docker disable-default-registry-endpoint
        nonroot-devices enable-pprof disable-apiserver-lb
        """,
    ),
}

SERVER = {
    **AGENT,
    **_flags(
        Kind.TEXT,
        """
        https-listen-port advertise-address advertise-port service-node-port-range cluster-domain flannel-backend egress-selector-mode
        servicelb-namespace write-kubeconfig write-kubeconfig-mode write-kubeconfig-group helm-job-image agent-token agent-token-file
        cluster-reset-restore-path datastore-endpoint datastore-cafile datastore-certfile datastore-keyfile kine-tls etcd-snapshot-name
        etcd-snapshot-schedule-cron etcd-snapshot-retention etcd-snapshot-dir etcd-s3-endpoint etcd-s3-endpoint-ca etcd-s3-access-key
        etcd-s3-secret-key etcd-s3-session-token etcd-s3-bucket etcd-s3-bucket-lookup-type etcd-s3-region etcd-s3-folder etcd-s3-proxy
        etcd-s3-config-secret etcd-s3-timeout etcd-s3-retention default-local-storage-path system-default-registry
        secrets-encryption-provider
        """,
    ),
    **_flags(
        Kind.LIST,
        """
        tls-san cluster-cidr service-cidr cluster-dns disable kube-apiserver-arg etcd-arg kube-controller-manager-arg kube-scheduler-arg
        kube-cloud-controller-manager-arg
        """,
    ),
    **_flags(
        Kind.BOOLEAN,
        """
        tls-san-security cluster-init cluster-reset flannel-ipv6-masq flannel-external-ip etcd-expose-metrics etcd-disable-snapshots
        etcd-snapshot-compress etcd-s3 etcd-s3-skip-ssl-verify etcd-s3-insecure disable-scheduler disable-cloud-controller disable-kube-proxy
        disable-network-policy disable-helm-controller disable-apiserver disable-controller-manager disable-etcd disable-agent
        embedded-registry supervisor-metrics secrets-encryption multi-cluster-cidr
        """,
    ),
}

ALIASES = {
    "c": "config",
    "t": "token",
    "s": "server",
    "d": "data-dir",
    "i": "node-ip",
    "o": "write-kubeconfig",
    "l": "log",
}

ENVIRONMENT = {
    "K3S_TOKEN": "token",
    "K3S_TOKEN_FILE": "token-file",
    "K3S_URL": "server",
    "K3S_NODE_NAME": "node-name",
    "K3S_DATA_DIR": "data-dir",
    "K3S_DEBUG": "debug",
    "K3S_RESOLV_CONF": "resolv-conf",
    "K3S_SELINUX": "selinux",
    "K3S_LB_SERVER_PORT": "lb-server-port",
    "K3S_VPN_AUTH": "vpn-auth",
    "K3S_VPN_AUTH_FILE": "vpn-auth-file",
    "K3S_KUBECONFIG_OUTPUT": "write-kubeconfig",
    "K3S_KUBECONFIG_MODE": "write-kubeconfig-mode",
    "K3S_KUBECONFIG_GROUP": "write-kubeconfig-group",
    "K3S_AGENT_TOKEN": "agent-token",
    "K3S_AGENT_TOKEN_FILE": "agent-token-file",
    "K3S_CLUSTER_INIT": "cluster-init",
    "K3S_DATASTORE_ENDPOINT": "datastore-endpoint",
}
"""Variables that give a flag its value when neither a file nor the command line does."""

HONOURED = frozenset(
    _names(
        """
    config token token-file server data-dir node-name default-runtime pause-image snapshotter resolv-conf flannel-iface node-label
    node-taint node-ip kubelet-arg kube-proxy-arg protect-kernel-defaults https-listen-port advertise-address bind-address
    service-node-port-range cluster-domain flannel-backend write-kubeconfig write-kubeconfig-mode agent-token agent-token-file tls-san
    cluster-cidr service-cidr cluster-dns disable kube-apiserver-arg etcd-arg kube-controller-manager-arg kube-scheduler-arg
    disable-scheduler disable-kube-proxy disable-agent
    """
    )
)
"""Flags that change what the stand-in does. Every other one is accepted, named in a warning, and has no effect."""


def known(command: str) -> dict[str, Kind]:
    """The flags of `server` or `agent`."""
    return SERVER if command == "server" else AGENT
