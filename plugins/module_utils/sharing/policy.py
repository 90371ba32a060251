"""A ValidatingAdmissionPolicy that lets in only pods whose request, environment and tier agree. Pure: gives objects of Kubernetes.

What ``pods`` looks at in manifests, the API server then looks at in every pod of the namespaces that the policy is bound to, in the
expression language of Kubernetes (CEL). It is stricter in two points: memory is limited for device 0 alone, which is the one GPU that
a container with one share has, and the user is a given one. It adds nothing to pods, and does not sum them up.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import MPS
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import Sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.figures import (
    GpuMemory,
    share_of,
    tier_share,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.limits import MEMORY, MIB, THREADS
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import LABEL, Tiers, environment

API_VERSION = "admissionregistration.k8s.io/v1"

_ASKED = "name.matches('^nvidia[.]com/(gpu|mig-)') && quantity(c.resources.limits[name]).isGreaterThan(quantity('0'))"
# Requests of extended resources equal their limits, and the API server takes no request without one.
_CONTAINERS = (
    "(object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : []))"
    ".filter(c, has(c.resources) && has(c.resources.limits) && c.resources.limits.exists(name, " + _ASKED + "))"
)
_TIER_OF = (
    "(has({0}.metadata.labels) && '" + LABEL + "' in {0}.metadata.labels ? {0}.metadata.labels['" + LABEL + "'] : '')"
)
# A pod that was there before the policy keeps its own life: only its tier cannot be changed to a false one.
_CONCERNED = "request.operation == 'CREATE' || {0} != {1}".format(
    _TIER_OF.format("object"), _TIER_OF.format("oldObject")
)
_USER = (
    "(has(c.securityContext) && has(c.securityContext.runAsUser) ? c.securityContext.runAsUser : "
    "(has(object.spec.securityContext) && has(object.spec.securityContext.runAsUser) ? "
    "object.spec.securityContext.runAsUser : -1))"
)
_PERCENTAGE = "e.value.matches('^[0-9]{1,3}([.][0-9]{1,6})?$')"
_AMOUNT = "e.value.matches('^0=[1-9][0-9]{0,8}[GM]$')"
_MIB = "int(e.value.substring(2, e.value.size() - 1)) * (e.value.endsWith('G') ? 1024 : 1)"


def policy_objects(
    name: str,
    sharing: Sharing,
    memory: Optional[GpuMemory],
    tiers: Tiers,
    user: int,
    namespaces: Mapping[str, str],
) -> List[Dict[str, Any]]:
    """The policy and its binding to namespaces with these labels, which must be there: pods elsewhere are not looked at.

    Raises ``GpuError`` BG-SHARE-008 for GPUs that are not shared by MPS, and BG-SHARE-018 without a label.
    """
    if sharing.strategy != MPS:
        what = "a policy about limits of MPS is asked for with strategy {0}".format(sharing.strategy)
        raise GpuError("BG-SHARE-008", what, "nothing applies them there", "share by mps")
    if not namespaces:
        raise GpuError(
            "BG-SHARE-018",
            "the policy is bound to no label of namespaces",
            "pods of every namespace would be held against one group of nodes, NVIDIA's own pods, too",
            "name a label, and give it to the namespaces with pods for these nodes",
        )
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}
            ]
        },
        "matchConditions": [{"name": "new-or-of-another-tier", "expression": _CONCERNED}],
        "variables": [{"name": "containers", "expression": _CONTAINERS}],
        "validations": [
            {"expression": expression, "message": message}
            for expression, message in _validations(sharing, memory, tiers, user)
        ],
    }
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": dict(namespaces)}},
    }
    return [
        {"apiVersion": API_VERSION, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        {
            "apiVersion": API_VERSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": binding,
        },
    ]


def _validations(sharing: Sharing, memory: Optional[GpuMemory], tiers: Tiers, user: int) -> List[Tuple[str, str]]:
    """Expressions with what is said of a pod for which they are not true. The first that is not true is the one that is told."""
    resource, cap = sharing.resource, sharing.cap
    cap_bytes = share_of(sharing, memory).memory_cap_bytes
    given = {
        tier.name: {entry["name"]: entry["value"] for entry in environment(tier)}
        for tier in tiers.values()
        if not tier_share(tier, sharing, memory).faults
    }
    named = _TIER_OF.format("object")
    found = [
        (
            _each("c.resources.limits.all(name, !({0}) || name == '{1}')".format(_ASKED, resource)),
            "BG-SHARE-015: these nodes offer {0} only; request that".format(resource),
        ),
        (
            _each("quantity(c.resources.limits['{0}']).compareTo(quantity('1')) == 0".format(resource)),
            "BG-SHARE-011: a container gets one share of a GPU; request 1 {0}".format(resource),
        ),
    ]
    for variable in (THREADS, MEMORY):
        once = "has(c.env) && c.env.filter(e, e.name == '{0}').size() == 1".format(variable)
        value = "c.env.all(e, e.name != '{0}' || (has(e.value) && e.value != ''))".format(variable)
        what = "BG-SHARE-013: a container with a GPU needs {0} once, as a value in its env".format(variable)
        found.append((_each("{0} && {1}".format(once, value)), what))
    found += [
        (
            _value(THREADS, "{0} && double(e.value) > 0.0 && double(e.value) <= 100.0".format(_PERCENTAGE)),
            "BG-SHARE-001: {0} is one number above 0 and up to 100, for example 10".format(THREADS),
        ),
        (
            _value(THREADS, "double(e.value) <= {0}.0".format(cap)),
            "BG-SHARE-006: the MPS daemon of these nodes lets a client have {0} % of the threads; ask for no more".format(
                cap
            ),
        ),
        (_value(MEMORY, _AMOUNT), "BG-SHARE-002: {0} is 0=amount with G or M, for example 0=16G".format(MEMORY)),
    ]
    if cap_bytes is not None:
        most = cap_bytes // MIB
        what = "BG-SHARE-007: the MPS daemon of these nodes lets a client have 0={0}M; ask for no more".format(most)
        found.append((_value(MEMORY, "{0} <= {1}".format(_MIB, most)), what))
    found.append(
        (
            "variables.containers.size() == 0 || {0} in {1}".format(named, json.dumps(sorted(given))),
            "BG-SHARE-005: the label {0} names a tier that these nodes give in full: {1}".format(
                LABEL, ", ".join(sorted(given)) or "there is none"
            ),
        )
    )
    for variable in (THREADS, MEMORY):
        values = json.dumps({name: values[variable] for name, values in sorted(given.items())})
        what = "BG-SHARE-014: {0} is not that of the tier; the tiers have {1}".format(variable, values)
        found.append((_value(variable, "e.value == {0}[{1}]".format(values, named)), what))
    found.append(
        (_each("{0} == {1}".format(_USER, user)), "BG-SHARE-012: GPU pods of these nodes run as user {0}".format(user))
    )
    return found


def _each(condition: str) -> str:
    return "variables.containers.all(c, {0})".format(condition)


def _value(variable: str, condition: str) -> str:
    """The condition on the value ``e.value`` of a variable; whether there is one is another expression's."""
    return _each("!has(c.env) || c.env.all(e, e.name != '{0}' || !has(e.value) || ({1}))".format(variable, condition))
