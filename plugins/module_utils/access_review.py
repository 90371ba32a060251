"""What the user of a connection may do, as the API server itself says. Runs on the controller."""

from __future__ import annotations

from typing import Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import as_map
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def may(cluster: Cluster, attributes: Mapping[str, str]) -> bool:
    """Whether the user may do what the attributes of a SelfSubjectAccessReview name. Raises as ``Cluster`` does."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": dict(attributes)},
    }
    answer = cluster.answer("POST", _REVIEWS, body=body)
    return bool(as_map(answer.body.get("status")).get("allowed"))


def title(attributes: Mapping[str, str]) -> str:
    """A right as a person reads it: ``create pods/eviction in namespace team-a``."""
    resource = "/".join(attributes[name] for name in ("resource", "subresource") if name in attributes)
    where = " in namespace {0}".format(attributes["namespace"]) if "namespace" in attributes else ""
    return "{0} {1}{2}".format(attributes["verb"], resource, where)
