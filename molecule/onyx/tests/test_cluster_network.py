"""Names resolve inside the cluster, and pods on different nodes reach each other."""

from __future__ import annotations

from typing import Any

testinfra_hosts = ["ansible://onyx-m1"]

KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"


def test_pods_resolve_names_and_reach_each_other_across_nodes(host: Any, pods_of: Any) -> None:
    pods = pods_of(KUBECTL)
    pods.await_dns()
    assert "10.96.0.1" in pods.output("onyx-g1", "nslookup kubernetes.default.svc.cluster.local")
    pods.serve("onyx-m1", "page")
    assert pods.output("onyx-g1", "wget -q -T 5 -O - http://page.network-test.svc.cluster.local").strip() == "onyx-m1"
    pods.serve("onyx-g1", "reply")
    assert pods.output("onyx-m1", "wget -q -T 5 -O - http://reply").strip() == "onyx-g1"


def test_the_name_service_is_the_release_that_was_asked_for(host: Any) -> None:
    image = host.check_output(f"{KUBECTL} -n kube-system get deployment coredns -o jsonpath={{..image}}")
    version = image.rpartition(":")[2]
    assert f"CoreDNS-{version.removeprefix('v')}" in host.check_output(
        f"{KUBECTL} -n kube-system logs deployment/coredns"
    )
