"""Ways in which a converged host drifts: what somebody edits, removes or stops, and how one sees that it is repaired."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab

KUBECTL = "k3s kubectl --namespace gpu-operands"
OPERAND = "daemonset/nvidia-device-plugin"


@dataclass(frozen=True)
class Drift:
    """``make`` and ``repaired`` are shell commands on ``host``; ``repaired`` ends well only when the drift is gone."""

    name: str
    host: str
    make: str
    repaired: str

    def apply(self, lab: Lab) -> None:
        """Let the host drift. Raises AssertionError when it did not, because then nothing would be tested."""
        lab.ssh(self.host, self.make)
        assert lab.ssh(self.host, self.repaired, check=False).returncode, f"{self.name}: no drift came about"

    def is_repaired(self, lab: Lab) -> bool:
        return lab.ssh(self.host, self.repaired, check=False).returncode == 0


def _edited(name: str, host: str, path: str) -> Drift:
    return Drift(name, host, f"echo '# drifted' >> {path}", f"test -s {path} && ! grep -q drifted {path}")


def _removed(name: str, host: str, path: str) -> Drift:
    return Drift(name, host, f"rm -f {path}", f"test -s {path}")


def _mode(name: str, host: str, path: str, wrong: str, right: str) -> Drift:
    return Drift(name, host, f"chmod {wrong} {path}", f'test "$(stat -c %a {path})" = {right}')


_IMAGES = "/var/lib/rancher/k3s/agent/images"
_PLUGIN_IMAGE = "-o jsonpath='{.spec.template.spec.containers[0].image}'"

SPARK = {
    drift.name: drift
    for drift in (
        Drift(
            "agent's configuration edited",
            "spark-01",
            "sed -i 's/^node-name:.*/&\\nlog: \\/dev\\/null/' /etc/rancher/k3s/config.yaml",
            "grep -q ^node-name: /etc/rancher/k3s/config.yaml && ! grep -q ^log: /etc/rancher/k3s/config.yaml",
        ),
        _edited("agent's unit edited", "spark-01", "/etc/systemd/system/k3s-agent.service"),
        Drift(
            "join token changed",
            "spark-01",
            "cp -p /etc/rancher/k3s/agent-token /run/token-before; echo wrong > /etc/rancher/k3s/agent-token",
            "cmp /etc/rancher/k3s/agent-token /run/token-before",
        ),
        _mode("join token readable for all", "spark-01", "/etc/rancher/k3s/agent-token", "0644", "600"),
        Drift(
            # Another file, as an update by hand leaves it: the running program keeps its own.
            "agent's program replaced",
            "spark-01",
            "cd /usr/local/bin; sha256sum k3s > /run/k3s-before; cp k3s k3s.new; echo >> k3s.new; mv k3s.new k3s",
            "cd /usr/local/bin; sha256sum --status --check /run/k3s-before",
        ),
        Drift("agent stopped", "spark-01", "systemctl stop k3s-agent", "systemctl is-active k3s-agent"),
        Drift(
            "agent does not start at boot",
            "spark-01",
            "systemctl --quiet disable k3s-agent",
            "systemctl is-enabled k3s-agent",
        ),
        Drift(
            "image archive deleted",
            "spark-01",
            f"ls {_IMAGES}/*.tar* | wc -l > /run/archives-before; rm $(ls {_IMAGES}/*.tar* | head -n 1)",
            f'test "$(ls {_IMAGES}/*.tar* | wc -l)" = "$(cat /run/archives-before)"',
        ),
        _removed("repository's definition removed", "spark-01", "/etc/apt/sources.list.d/lab-mirror.sources"),
        _edited("repository's signing key edited", "spark-01", "/usr/share/keyrings/lab-mirror.asc"),
        _edited("runtime's configuration edited", "spark-01", "/etc/nvidia-container-runtime/config.toml"),
        _removed("CDI specification deleted", "spark-01", "/etc/cdi/nvidia.yaml"),
        Drift(
            "toolkit removed",
            "spark-01",
            "dpkg --remove --force-depends nvidia-container-toolkit > /dev/null",
            "dpkg-query --show nvidia-container-toolkit && command -v nvidia-ctk",
        ),
        Drift(
            "operand deleted",
            "calypso",
            f"{KUBECTL} delete --wait=false {OPERAND} > /dev/null; sleep 1",
            f"{KUBECTL} get {OPERAND}",
        ),
        Drift(
            "operand's image edited",
            "calypso",
            f"{KUBECTL} get {OPERAND} {_PLUGIN_IMAGE} > /run/image-before; "
            f"{KUBECTL} set image {OPERAND} nvidia-device-plugin=mirror.lab.internal/wrong:v0 > /dev/null",
            f'test "$({KUBECTL} get {OPERAND} {_PLUGIN_IMAGE})" = "$(cat /run/image-before)"',
        ),
        Drift(
            "operand's label removed",
            "calypso",
            f"{KUBECTL} label {OPERAND} app.kubernetes.io/name- > /dev/null",
            f"{KUBECTL} get {OPERAND} --show-labels | grep -q app.kubernetes.io/name=",
        ),
        Drift(
            "sharing's configuration edited",
            "calypso",
            f'{KUBECTL} patch configmap nvidia-device-plugin --type merge -p \'{{"data":{{"config.yaml":"version: v1"}}}}\' > /dev/null',
            f"{KUBECTL} get configmap nvidia-device-plugin -o yaml | grep -q replicas",
        ),
    )
}

SPARK_ROUNDS = (
    # Each round holds what does not hide each other: a stopped agent, for example, is not restarted.
    (
        "agent's configuration edited",
        "image archive deleted",
        "repository's definition removed",
        "CDI specification deleted",
        "operand deleted",
    ),
    (
        "agent's unit edited",
        "runtime's configuration edited",
        "repository's signing key edited",
        "join token readable for all",
        "operand's image edited",
    ),
    ("agent stopped", "agent's program replaced", "toolkit removed", "sharing's configuration edited"),
)

ONYX = {
    drift.name: drift
    for drift in (
        _edited("containerd's configuration edited", "onyx-g1", "/etc/containerd/config.toml"),
        Drift(
            "kubelet does not start at boot",
            "onyx-m1",
            "systemctl --quiet disable kubelet",
            "systemctl is-enabled kubelet",
        ),
        _removed("kernel parameters removed", "onyx-g1", "/etc/sysctl.d/90-kubernetes.conf"),
        Drift(
            "image archive deleted",
            "onyx-m1",
            'cd /var/lib/baremetal-gpu/images; ls | wc -l > /run/archives-before; rm "$(ls | head -n 1)"',
            'cd /var/lib/baremetal-gpu/images; test "$(ls | wc -l)" = "$(cat /run/archives-before)"',
        ),
        _removed("repository's definition removed", "onyx-g1", "/etc/yum.repos.d/lab-mirror.repo"),
        _mode("runtime's configuration closed", "onyx-g1", "/etc/nvidia-container-runtime/config.toml", "0600", "644"),
        Drift("containerd stopped", "onyx-g1", "systemctl stop containerd", "systemctl is-active containerd"),
        Drift(
            "operand deleted",
            "onyx-m1",
            "export KUBECONFIG=/etc/kubernetes/admin.conf; "
            f"kubectl --namespace gpu-operands delete --wait=false {OPERAND} > /dev/null; sleep 1",
            f"kubectl --kubeconfig /etc/kubernetes/admin.conf --namespace gpu-operands get {OPERAND}",
        ),
    )
}

ONYX_ROUNDS = (
    (
        "containerd's configuration edited",
        "kubelet does not start at boot",
        "kernel parameters removed",
        "image archive deleted",
        "repository's definition removed",
        "operand deleted",
    ),
    ("runtime's configuration closed", "containerd stopped"),
)
