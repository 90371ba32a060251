"""The admission policy as objects. What the API server makes of it is in ``tests/lab/test_sharing_policy.py``."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.filter.pod_sharing_faults import pod_sharing_faults
from ansible_collections.baremetal.gpu.plugins.filter.sharing_policy import sharing_policy
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.tests.support.shared_gpu_pods import POLICY_FAULTS

TEN = {"strategy": "mps", "replicas": 10}
TWO = {"strategy": "mps", "replicas": 2}


def messages(sharing: dict[str, Any], profile: str = "gb10") -> dict[str, str]:
    policy, _binding = sharing_policy(sharing, profile, 1000)
    return dict(each["message"].split(": ", 1) for each in policy["spec"]["validations"])


def test_the_policy_refuses_and_is_bound_to_labelled_namespaces_only() -> None:
    policy, binding = sharing_policy(TEN, "gb10", 1000, name="ten")
    assert (policy["metadata"], binding["metadata"]) == ({"name": "ten"}, {"name": "ten"})
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {
        "policyName": "ten",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"baremetal.gpu/sharing": "mps"}}},
    }


def test_every_message_has_a_registered_code_and_what_to_write() -> None:
    known = data_files.codes()
    found = messages(TEN)
    assert set(found) <= set(known)
    assert set(found) == {f"BG-SHARE-{number:03}" for number in (1, 2, 5, 6, 11, 12, 13, 14, 15)}
    assert "10 %" in found["BG-SHARE-006"]
    assert "user 1000" in found["BG-SHARE-012"]


def test_only_tiers_that_nodes_give_in_full_are_let_in() -> None:
    assert messages(TEN)["BG-SHARE-005"].endswith("give in full: small")
    assert messages(TWO)["BG-SHARE-005"].endswith("give in full: large, medium, small")
    assert messages(TEN, "h100-sxm-8")["BG-SHARE-005"].endswith("there is none")


def test_memory_is_capped_where_the_daemon_caps_it() -> None:
    assert "BG-SHARE-007" not in messages(TEN)
    assert "0=8155M" in messages(TEN, "h100-sxm-8")["BG-SHARE-007"]


def test_expressions_hold_no_value_that_is_not_written_as_one() -> None:
    """Brackets of all kinds are balanced, and nothing that only Python understands is in them."""
    policy, _binding = sharing_policy(TWO, "h100-sxm-8", 1000)
    spec = policy["spec"]
    every = [each["expression"] for key in ("variables", "validations", "matchConditions") for each in spec[key]]
    assert len(every) == len(spec["validations"]) + 2
    for expression in every:
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", expression)
        assert all(bare.count(left) == bare.count(right) for left, right in ("()", "[]", "{}")), expression
        assert not re.search(r"\b(None|True|False|and|or|not|Decimal)\b", bare), expression
    assert json.loads(json.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((({"strategy": "time-slicing", "replicas": 4}), "gb10", 1000), "BG-SHARE-008"),
        ((({**TEN, "thread_cap": 100}), "gb10", 1000), "BG-SHARE-010"),
        ((TEN, "gb10", "root"), "BG-SHARE-012"),
        ((TEN, "gb10", -1), "BG-SHARE-012"),
        ((TEN, "gb11", 1000), "BG-GPU-101"),
        ((TEN, "gb10", 1000, {}), "BG-SHARE-018"),
    ],
)
def test_a_policy_that_would_be_wrong_is_refused(arguments: tuple[Any, ...], code: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"sharing_policy: {code}"):
        sharing_policy(*arguments)


def test_what_the_policy_refuses_is_a_fault_of_the_manifest_with_the_same_code() -> None:
    """But for what the policy is stricter in."""
    stricter = {"no tier", "amount with B", "another device's UUID", "second device"}
    for name, spoil, code in POLICY_FAULTS:
        pod = json.loads(json.dumps(GOOD))
        spoil(pod)
        found = {fault["code"] for fault in pod_sharing_faults([pod], TWO, "gb10", user=1000)}
        assert code in found or name in stricter, name


GOOD: dict[str, Any] = {
    "kind": "Pod",
    "metadata": {"name": "a", "labels": {"baremetal.gpu/tier": "small"}},
    "spec": {
        "securityContext": {"runAsUser": 1000},
        "containers": [
            {
                "name": "c",
                "env": [
                    {"name": "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "value": "10"},
                    {"name": "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "value": "0=8G"},
                ],
                "resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
            }
        ],
    },
}


def test_the_good_pod_is_one() -> None:
    assert pod_sharing_faults([GOOD], TWO, "gb10", user=1000) == []
