"""Names resolve inside the cluster, and pods on different nodes reach each other."""

from __future__ import annotations

from typing import Any

testinfra_hosts = ["ansible://calypso"]

KUBECTL = "k3s kubectl"


def test_pods_resolve_names_and_reach_each_other_across_nodes(host: Any, pods_of: Any) -> None:
    pods = pods_of(KUBECTL)
    pods.await_dns()
    assert "10.43.0.1" in pods.output("spark-01", "nslookup kubernetes.default.svc.cluster.local")
    # The shop's pods run on calypso, and answer with their names.
    assert pods.output("spark-01", "wget -q -T 5 -O - http://shop.default.svc.cluster.local").startswith("shop-")
    pods.serve("spark-01", "page")
    assert pods.output("calypso", "wget -q -T 5 -O - http://page").strip() == "spark-01"


def test_the_name_service_is_the_real_one_at_its_usual_address(host: Any) -> None:
    assert (
        host.check_output(f"{KUBECTL} -n kube-system get service kube-dns -o jsonpath={{.spec.clusterIP}}")
        == "10.43.0.10"
    )
    assert "CoreDNS-" in host.check_output(f"{KUBECTL} -n kube-system logs deployment/coredns")


def test_the_network_between_the_nodes_is_flannel_s_vxlan(host: Any) -> None:
    assert "vxlan" in host.check_output("ip -details link show flannel.1")
