"""What roles left on real hosts and in a real cluster is judged: as it was made it is proven, and each fault is told by its code, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support.breaking import failed_codes
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab

pytestmark = pytest.mark.lab

# What cannot settle is not waited for.
IMPATIENT = (
    "--extra-vars=gpu_verify_capacity_timeout=8",
    "--extra-vars=gpu_verify_pod_timeout=30",
    "--extra-vars=nvidia_device_plugin_rollout_timeout=8",
    "--extra-vars=pod_network_rollout_timeout=8",
)


@dataclass(frozen=True)
class Fault:
    """Shell commands on a host that make a fault and take it back, and the codes by which the host ``told`` shows it."""

    host: str
    make: str
    undo: str
    codes: tuple[str, ...]
    told: str = ""

    @property
    def subject(self) -> str:
        return self.told or self.host


def edited(host: str, path: str, script: str, *codes: str) -> Fault:
    """A file changed by sed. It gets its own time back with its content, so that nothing seems to need a restart."""
    kept = f"/run/kept{path.replace('/', '-')}"
    make = f"cp -p {path} {kept}; sed -i {script} {path}; ! cmp -s {path} {kept}"
    return Fault(host, make, f"cp -p {kept} {path}", codes)


OPERANDS = "k3s kubectl --namespace gpu-operands"
MIRROR_KEY = "/usr/share/keyrings/lab-mirror.asc"
SPARK = (
    edited("spark-01", "/etc/apt/sources.list.d/lab-mirror.sources", "'$aTrusted: yes'", "BG-REPO-003"),
    edited("spark-01", MIRROR_KEY, "'/^$/,$d'", "BG-REPO-004"),
    edited("spark-01", "/etc/nvidia-container-runtime/config.toml", '\'s/"info"/"debug"/\'', "BG-CTK-003"),
    Fault(
        "calypso",
        f"{OPERANDS} label daemonset nvidia-device-plugin app.kubernetes.io/name-",
        f"{OPERANDS} label daemonset nvidia-device-plugin app.kubernetes.io/name=nvidia-device-plugin",
        ("BG-DP-002",),
        "spark-01",
    ),
)
# A new pod that does not get ready, while the one before it goes on: nothing else suffers from it.
NFD = "k3s kubectl --namespace node-feature-discovery"
SPARK_ROLLOUT = (
    Fault(
        "calypso",
        f"{NFD} get deployment nfd-master -o jsonpath='{{.spec.template.spec.containers[0].image}}' > /run/image-kept; "
        f"{NFD} set image deployment/nfd-master nfd-master=mirror.lab.internal/wrong:v0",
        f'{NFD} set image deployment/nfd-master nfd-master="$(cat /run/image-kept)"; '
        f"{NFD} rollout status --timeout=120s deployment/nfd-master",
        ("BG-DP-002", "BG-DP-003"),
        "spark-01",
    ),
)

KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
CTR = "ctr --namespace k8s.io"
ONYX = (
    edited("onyx-g1", "/etc/containerd/config.toml", "'/runtimes.nvidia/,$d'", "BG-CTRD-002", "BG-CTRD-003"),
    # An image of the control plane, which nothing on this host runs.
    Fault(
        "onyx-g1",
        f'image="$({CTR} images ls -q | grep /kube-apiserver:)"; echo "$image" > /run/image-kept; {CTR} images rm "$image"',
        f'ls /var/lib/baremetal-gpu/images/kubernetes-*.tar | while read -r archive; do {CTR} images import "$archive"; done',
        ("BG-IMG-006",),
    ),
    Fault("onyx-g1", "systemctl --quiet disable kubelet", "systemctl --quiet enable kubelet", ("BG-K8S-010",)),
    edited("onyx-g1", "/etc/yum.repos.d/lab-mirror.repo", "'s/^gpgcheck.*/gpgcheck = 0/'", "BG-REPO-003"),
    Fault(
        "onyx-m1",
        f"{KUBECTL} label node onyx-g1 --overwrite role=cpu",
        f"{KUBECTL} label node onyx-g1 --overwrite role=gpu",
        ("BG-K8S-008",),
        "onyx-g1",
    ),
    Fault(
        "onyx-m1",
        "touch /etc/kubernetes/.kubeadm-init-begun",
        "rm /etc/kubernetes/.kubeadm-init-begun",
        ("BG-K8S-005",),
    ),
    Fault(
        "onyx-m1",
        f"{KUBECTL} --namespace kube-flannel label daemonset -l app=flannel app=edited --overwrite",
        f"{KUBECTL} --namespace kube-flannel label daemonset -l app=edited app=flannel --overwrite",
        ("BG-K8S-011",),
    ),
)


@contextmanager
def broken(lab: Lab, faults: Sequence[Fault]) -> Iterator[None]:
    made: list[Fault] = []
    try:
        for fault in faults:
            made.append(fault)
            lab.ssh(fault.host, fault.make)
        yield
    finally:
        for fault in reversed(made):
            lab.ssh(fault.host, fault.undo)


def codes_by_host(faults: Sequence[Fault]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for fault in faults:
        found.setdefault(fault.subject, set()).update(fault.codes)
    return found


def hold(lab: Lab, playbook: str, hosts: Sequence[str], faults: Sequence[Fault]) -> None:
    """With the faults each host is red by just their codes, and without them the system is proven again."""
    with broken(lab, faults):
        run = lab.play(playbook, *IMPATIENT)
        told = {host: codes for host in hosts if (codes := failed_codes(run.verdict, host))}
        assert told == codes_by_host(faults), run.output[-3000:]
        changed = run.changed()
    assert changed == set()
    after = lab.play(playbook)
    assert (after.returncode, after.verdict["proven"]) == (0, True), "\n".join(after.failures())


@pytest.mark.parametrize("faults", [SPARK, SPARK_ROLLOUT], ids=["host and objects", "rollout"])
def test_spark_s_faults_are_told_each_by_its_code(spark: Any, faults: Sequence[Fault]) -> None:
    hold(spark.lab, "parts/spark_verify.yml", ("calypso", "spark-01"), faults)


def test_onyx_s_faults_are_told_each_by_its_code(onyx: Any) -> None:
    hold(onyx.lab, "parts/onyx_verify.yml", ("onyx-m1", "onyx-g1"), ONYX)
