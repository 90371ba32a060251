"""Which keys k3s takes in its configuration file. Pure.

A server only warns of a key that it does not know and skips it; an agent ends at once, after its node was taken down. Both
are refused before anything changes.

Source: the command line reference of k3s v1.34 (a key of ``config.yaml`` is a flag without its dashes).
"""

from __future__ import annotations

import difflib
from typing import Any, FrozenSet, Iterable, List, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

_AGENT = (
    "airgap-extra-registry alsologtostderr bind-address config container-runtime-endpoint data-dir debug"
    " default-runtime disable-apiserver-lb disable-default-registry-endpoint docker enable-pprof flannel-cni-conf"
    " flannel-conf flannel-iface image-credential-provider-bin-dir image-credential-provider-config"
    " image-service-endpoint kube-proxy-arg kubelet-arg lb-server-port log node-external-dns node-external-ip"
    " node-internal-dns node-ip node-label node-name node-taint nonroot-devices pause-image prefer-bundled-bin"
    " private-registry protect-kernel-defaults resolv-conf rootless selinux server snapshotter token token-file v"
    " vmodule vpn-auth vpn-auth-file with-node-id"
)

_SERVER_ONLY = (
    "advertise-address advertise-port agent-token agent-token-file cluster-cidr cluster-dns cluster-domain"
    " cluster-init cluster-reset cluster-reset-restore-path datastore-cafile datastore-certfile datastore-endpoint"
    " datastore-keyfile default-local-storage-path disable disable-agent disable-apiserver disable-cloud-controller"
    " disable-controller-manager disable-etcd disable-helm-controller disable-kube-proxy disable-network-policy"
    " disable-scheduler egress-selector-mode embedded-registry etcd-arg etcd-disable-snapshots etcd-expose-metrics"
    " etcd-s3 etcd-s3-access-key etcd-s3-bucket etcd-s3-bucket-lookup-type etcd-s3-config-secret etcd-s3-endpoint"
    " etcd-s3-endpoint-ca etcd-s3-folder etcd-s3-insecure etcd-s3-proxy etcd-s3-region etcd-s3-retention"
    " etcd-s3-secret-key etcd-s3-session-token etcd-s3-skip-ssl-verify etcd-s3-timeout etcd-snapshot-compress"
    " etcd-snapshot-dir etcd-snapshot-name etcd-snapshot-retention etcd-snapshot-schedule-cron"
    " flannel-backend flannel-external-ip flannel-ipv6-masq helm-job-image https-listen-port kine-tls"
    " kube-apiserver-arg kube-cloud-controller-manager-arg kube-controller-manager-arg kube-scheduler-arg"
    " multi-cluster-cidr secrets-encryption secrets-encryption-provider service-cidr service-node-port-range"
    " servicelb-namespace supervisor-metrics system-default-registry tls-san tls-san-security write-kubeconfig"
    " write-kubeconfig-group write-kubeconfig-mode"
)

AGENT: FrozenSet[str] = frozenset(_AGENT.split())
SERVER: FrozenSet[str] = AGENT | frozenset(_SERVER_ONLY.split())

# Roles install to k3s's own places and remove what is there.
FIXED: FrozenSet[str] = frozenset({"config", "data-dir"})

FLAGS: Mapping[str, FrozenSet[str]] = {"agent": AGENT, "server": SERVER}


def check_keys(service: str, settings: Mapping[str, Any], further: Iterable[str] = ()) -> None:
    """Refuse keys that ``k3s <service>`` does not know. ``further`` are keys of other releases that the operator vouches for.

    Raises ``GpuError`` BG-K3S-004, also for the places of k3s's files, which are fixed.
    """
    fixed = sorted(FIXED.intersection(settings))
    if fixed:
        raise GpuError(
            "BG-K3S-004",
            "the k3s setting {0} cannot be changed".format(", ".join(fixed)),
            "configuration, images and removal rely on k3s's default places",
            "leave it out; mount another file system on /var/lib/rancher if space is the reason",
        )
    known = FLAGS[service] | frozenset(further)
    # `key+` adds to a list that an earlier file began.
    unknown = [key for key in settings if key.rstrip("+") not in known]
    if unknown:
        raise GpuError(
            "BG-K3S-004",
            "k3s {0} knows no setting {1}".format(service, ", ".join(_near(key, known) for key in unknown)),
            "an agent ends at once on it and a server silently goes on without it",
            "correct the name, or list it as a known setting if this release of k3s has it",
        )


def _near(key: str, known: Iterable[str]) -> str:
    near: List[str] = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.7)
    return "{0} (did you mean {1}?)".format(key, near[0]) if near else key
