"""Takes a Spark host back to what it was before the playbooks, quicker than booting a new one."""

from __future__ import annotations

from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab

UNDO = r"""
exec 2>/dev/null; set +e
systemctl --quiet disable --now k3s-agent
# Pods outlive the agent on purpose; a new one may appear while the first are killed.
for round in 1 2; do
    for process in /proc/[0-9]*; do
        # By its program: this very script has the words in its command line too.
        case "$(readlink "$process/exe") $(cat "$process/cgroup")" in
            /var/lib/rancher/k3s/*|*kubepods*) kill -KILL "${process#/proc/}" ;;
        esac
    done
    sleep 0.3
done
awk '$2 ~ "^/(run/k3s|run/netns/cni|var/lib/kubelet/|run/nvidia/mps)" { print $2 }' /proc/mounts | sort -r | while read -r place; do
    umount --lazy "$place"
done
ip link delete cni0; ip link delete flannel.1
rm -rf /var/lib/rancher/* /etc/rancher /run/k3s /run/flannel /run/nvidia/mps /var/lib/kubelet/* /var/lib/cni /etc/cni
rm -rf /usr/local/bin/k3s /etc/systemd/system/k3s-agent.service /etc/cdi/nvidia.yaml /etc/nvidia-container-runtime
dpkg --configure -a > /dev/null; dpkg --purge --force-depends nvidia-container-toolkit > /dev/null
rm -f /etc/apt/sources.list.d/lab-mirror.sources /usr/share/keyrings/lab-mirror.asc /var/lib/apt/lists/*mirror*
systemctl daemon-reload; systemctl reset-failed
exec 2>&1; set -e
test ! -e /usr/local/bin/k3s; test ! -e /usr/bin/nvidia-ctk; test ! -e /etc/rancher
test -z "$(systemctl list-unit-files --no-legend k3s-agent.service)"
"""


def make_bare(lab: Lab) -> None:
    """Take spark-01 out of the cluster and everything off it. Raises AssertionError when something is left."""
    lab.ssh("spark-01", UNDO)
    lab.ssh("calypso", "k3s kubectl delete node spark-01 --ignore-not-found --wait=false > /dev/null")
