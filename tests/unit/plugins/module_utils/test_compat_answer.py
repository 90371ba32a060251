"""Combinations are answered with the row that objects, its reason, and the nearest combination that is allowed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import ALLOWED, REFUSED, UNKNOWN, Judge
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.nearest import differences, nearest
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.question import Combination, parse_question
from ansible_collections.baremetal.gpu.plugins.plugin_utils.compat_rules import load_table

TABLE = load_table()
JUDGE = Judge(TABLE)
SPARK = {
    "gpu": "gb10",
    "platform": "dgx-os-7",
    "architecture": "arm64",
    "kernel_modules": "open",
    "sharing": "mps",
    "driver": "580.159.03",
    "cuda": "13.0.3",
    "cudnn": "9.17.0",
    "nccl": "2.28.9-1",
    "container_toolkit": "1.17.8",
    "device_plugin": "v0.18.0",
    "k3s": "v1.34.4+k3s1",
    "triton_vllm": "25.11",
}
ONYX = {
    "gpu": "h100-sxm-8",
    "platform": "rocky-9",
    "architecture": "amd64",
    "kernel_modules": "open",
    "driver": "550.90.07",
    "fabric_manager": "550.90.07",
    "cuda": "12.4",
    "container_toolkit": "1.15.0",
    "device_plugin": "v0.15.0",
    "kubernetes": "v1.27.6",
}


def asked(**names: Any) -> Combination:
    combination, faults = parse_question(TABLE, names)
    assert faults == []
    return combination


def against(base: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    """Code and row of everything that objects."""
    return [(each.code, each.row) for each in JUDGE.answer(asked(**{**base, **changes})).against]


def solution(base: dict[str, Any], **changes: Any) -> str:
    """How to come to the nearest allowed combination."""
    combination = asked(**{**base, **changes})
    found = nearest(JUDGE, combination)
    return differences(JUDGE, combination, found) if found is not None else ""


@pytest.mark.requirement("SPARK-04", part="the table answers; what roles install later is compared by them")
@pytest.mark.parametrize("stack", [SPARK, ONYX], ids=["spark", "onyx"])
def test_the_reference_systems_are_allowed_as_they_are(stack: dict[str, Any]) -> None:
    answer = JUDGE.answer(asked(**stack))
    assert (answer.status, answer.advice) == (ALLOWED, ())


@pytest.mark.parametrize(
    ("changes", "code", "row", "remedy"),
    [
        ({"driver": "590.48.01"}, "BG-COMPAT-001", "gb10-driver-branch", "take driver 580.178.04 instead of 590.48.01"),
        ({"driver": "580.173.02"}, "BG-COMPAT-001", "gb10-torn-driver", "take driver 580.178.04 instead of 580.173.02"),
        ({"cudnn": "9.10.2"}, "BG-COMPAT-001", "gb10-cudnn", "take cuDNN 9.11.0 instead of 9.10.2"),
        ({"nccl": "2.28.3"}, "BG-COMPAT-001", "gb10-nccl", "take NCCL 2.28.9 instead of 2.28.3"),
        (
            {"container_toolkit": "1.17.6"},
            "BG-COMPAT-001",
            "gb10-container-toolkit",
            "take container toolkit 1.17.7 instead of 1.17.6",
        ),
        (
            {"device_plugin": "v0.17.3"},
            "BG-COMPAT-001",
            "gb10-device-plugin",
            "take device plugin 0.17.4 instead of v0.17.3",
        ),
        ({"kernel_modules": "proprietary"}, "BG-COMPAT-003", "gb10-kernel-modules", "take kernel modules open instead of proprietary"),
        ({"architecture": "amd64"}, "BG-COMPAT-003", "gb10-architecture", "take architecture arm64 instead of amd64"),
        ({"platform": "ubuntu-22.04"}, "BG-COMPAT-003", "gb10-platform", "take platform dgx-os-7 instead of ubuntu-22.04"),
        ({"fabric_manager": "580.159.03"}, "BG-COMPAT-003", "gb10-fabric-manager", "leave out fabric manager"),
        ({"dra_driver": "25.12.0"}, "BG-COMPAT-003", "gb10-dra-driver", "leave out DRA driver"),
        ({"features": ["doca"]}, "BG-COMPAT-003", "gb10-doca", "leave out doca"),
        (
            {"features": ["mps_by_label"]},
            "BG-COMPAT-001",
            "mps-by-label-device-plugin",
            "take device plugin 0.20.0 instead of v0.18.0",
        ),
        (
            {"features": ["containerd_v3_template"], "k3s": "v1.32.1+k3s1"},
            "BG-COMPAT-001",
            "k3s-containerd-v3-template",
            "take k3s 1.32.2 instead of v1.32.1+k3s1",
        ),
    ],
)  # fmt: skip
def test_one_wrong_thing_is_refused_by_one_row(changes: dict[str, Any], code: str, row: str, remedy: str) -> None:
    assert against(SPARK, **changes) == [(code, row)]
    assert solution(SPARK, **changes) == remedy


@pytest.mark.requirement("SPARK-22")
@pytest.mark.parametrize(
    ("changes", "row", "remedy"),
    [
        # TensorRT-LLM 25.10 is of CUDA 12.9, which knows no GB10 and does not fit a host with CUDA 13.
        ({"triton_trtllm": "25.10"}, "triton_trtllm-releases", "take Triton with TensorRT-LLM 25.11 instead of 25.10"),
        ({"triton_trtllm": "25.10", "cuda": ""}, "gb10-cuda", "take Triton with TensorRT-LLM 25.11 instead of 25.10"),
        ({"triton": "25.03"}, "triton-releases", "take Triton 25.08 instead of 25.03"),
    ],
)
def test_the_inference_server_s_release_must_fit_driver_and_cuda(
    changes: dict[str, Any], row: str, remedy: str
) -> None:
    """Calypso's Triton: what is built on the host runs there."""
    found = against(SPARK, **changes)
    assert ("BG-COMPAT-005", row) in found
    assert {code for code, _row in found} == {"BG-COMPAT-005"}
    assert solution(SPARK, **changes) == remedy


def test_the_containers_of_one_driver_lean_on_it_only_where_their_cuda_is_newer() -> None:
    """Release 25.11 was built with branch 580, 25.12 and later with CUDA 13.1 and more: they run, and the answer says so."""
    advice = {
        release: [each.row for each in JUDGE.answer(asked(**{**SPARK, "triton_vllm": release})).advice]
        for release in ("25.09", "25.11", "25.12", "26.08")
    }
    assert advice == {"25.09": [], "25.11": [], "25.12": ["cuda-13.1-own-driver"], "26.08": ["cuda-13.4-own-driver"]}


def test_a_least_driver_that_release_notes_name_replaces_the_one_of_any_cuda() -> None:
    """Triton 25.08 carries CUDA 13, brings the libraries for data centre GPUs itself, and asks for driver 575."""
    assert against(ONYX, cuda="", driver="575.57.08", fabric_manager="575.57.08", triton="25.08") == []
    assert against(ONYX, cuda="", driver="570.148.08", fabric_manager="570.148.08", triton="25.08") == [
        ("BG-COMPAT-005", "triton-releases")
    ]
    assert against(ONYX, cuda="", driver="575.57.08", fabric_manager="575.57.08", triton="26.06") == [
        ("BG-COMPAT-005", "cuda-13-driver")
    ]


@pytest.mark.requirement("ONYX-R018", part="the fabric manager is of the driver's version")
def test_the_fabric_manager_is_of_the_driver_s_version() -> None:
    assert against(ONYX, fabric_manager="550.90.08") == [("BG-COMPAT-002", "fabric-manager-of-the-driver")]
    assert solution(ONYX, fabric_manager="550.90.08") == "take fabric manager 550.90.07 instead of 550.90.08"
    assert against(ONYX, fabric_manager="550") == []


@pytest.mark.requirement("ONYX-R049", part="the driver refuses a real-time kernel")
def test_a_realtime_kernel_has_no_driver() -> None:
    assert against(ONYX, features=["realtime_kernel"]) == [("BG-COMPAT-003", "realtime-kernel-driver")]
    assert solution(ONYX, features=["realtime_kernel"]) == "leave out realtime kernel"


def test_closed_modules_under_nvswitches_are_advised_against() -> None:
    answer = JUDGE.answer(asked(**{**ONYX, "kernel_modules": "proprietary"}))
    assert (answer.status, [each.row for each in answer.advice]) == (ALLOWED, ["rocky-9-h100-kernel-modules"])


def test_an_operator_s_own_components_are_judged_with_it() -> None:
    """25.3.2 brings the device plugin that ends on GB10; nobody had to declare it."""
    found = against({"gpu": "gb10"}, gpu_operator="v25.3.2")
    assert ("BG-COMPAT-006", "gb10-device-plugin") in found
    assert solution({"gpu": "gb10"}, gpu_operator="v25.3.2") == "take GPU operator 25.10.0 instead of v25.3.2"


def test_a_cluster_has_one_device_plugin() -> None:
    assert against({}, gpu_operator="25.10.0", device_plugin="0.17.4") == [("BG-COMPAT-006", "gpu_operator-releases")]
    assert solution({}, gpu_operator="25.10.0", device_plugin="0.17.4") == "take device plugin 0.18.0 instead of 0.17.4"


def test_a_toolkit_of_the_host_stands_instead_of_the_operator_s() -> None:
    assert against({"k3s": "1.33.5"}, gpu_operator="24.9.0") == [("BG-COMPAT-006", "k3s-container-toolkit")]
    assert against({"k3s": "1.33.5"}, gpu_operator="24.9.0", container_toolkit="1.17.8") == []


@pytest.mark.parametrize(
    ("changes", "row"),
    [({"triton": "27.01"}, "triton-releases"), ({"cuda": "14.0"}, "cuda-covered"), ({"gpu_operator": "27.1.0"}, "gpu_operator-releases")],
)  # fmt: skip
def test_what_no_row_covers_is_unknown_and_not_allowed(changes: dict[str, Any], row: str) -> None:
    combination = asked(**changes)
    answer = JUDGE.answer(combination)
    assert (answer.status, [(each.code, each.row) for each in answer.unknown]) == (UNKNOWN, [("BG-COMPAT-007", row)])
    assert JUDGE.answer(combination, frozenset({row})).status == ALLOWED


def test_an_accepted_row_does_not_object() -> None:
    combination = asked(**{**SPARK, "driver": "580.173.02"})
    assert JUDGE.answer(combination).status == REFUSED
    assert JUDGE.answer(combination, frozenset({"gb10-torn-driver"})).status == ALLOWED


def test_what_was_not_asked_about_is_not_judged() -> None:
    assert JUDGE.answer(asked()).status == ALLOWED
    assert JUDGE.answer(asked(driver="1.0")).status == ALLOWED


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ({"drivers": "580"}, "drivers"),
        ({"gpu": "gb1O"}, "gpu"),
        ({"triton": 25.10}, "triton"),
        ({"cuda": "latest"}, "cuda"),
        ({"features": "doca"}, "features"),
        ({"features": ["docka"]}, "features"),
    ],
)
def test_a_question_that_cannot_be_used_says_which_part(question: dict[str, Any], name: str) -> None:
    faults = parse_question(TABLE, question)[1]
    assert [fault.name for fault in faults] == [name]
    assert faults[0].hint


def test_a_driver_of_open_modules_says_so_in_its_name() -> None:
    assert parse_question(TABLE, {"driver": "580-open"})[0].attributes == {"kernel_modules": "open"}


# Combinations of a few known versions, many of them wrong.
QUESTIONS = st.fixed_dictionaries(
    {"gpu": st.sampled_from(["gb10", "h100-sxm-8"])},
    optional={
        "platform": st.sampled_from(sorted(TABLE.attributes["platform"])),
        "sharing": st.sampled_from(["none", "mps"]),
        "features": st.lists(st.sampled_from(sorted(TABLE.features)), max_size=2, unique=True),
        **{
            name: st.sampled_from([version.text for version in versions])
            for name, versions in TABLE.known.items()
            if versions and name not in ("fabric_manager", "dra_driver")
        },
    },
)


def few(question: dict[str, Any]) -> Combination:
    """At most four names beside the GPU: where more are wrong at once, the search may end before it is through."""
    return asked(**dict(sorted(question.items(), key=lambda item: item[0] != "gpu")[:5]))


@given(QUESTIONS)
def test_the_nearest_combination_is_allowed_and_keeps_the_gpu(question: dict[str, Any]) -> None:
    combination = few(question)
    found = nearest(JUDGE, combination)
    assert found is not None
    assert JUDGE.answer(found).status == ALLOWED
    assert found.attributes["gpu"] == combination.attributes["gpu"]
    assert (differences(JUDGE, combination, found) == "") == (JUDGE.answer(combination).status == ALLOWED)


def changed(one: Combination, other: Combination) -> int:
    """How many names differ."""
    before, after = one.as_dict(), other.as_dict()
    names = [name for name in {*before, *after} - {"features"} if before.get(name) != after.get(name)]
    return len(one.features ^ other.features) + len(names)


def ways(combination: Combination, name: str) -> list[Callable[[Combination], Combination]]:
    """Every change of one name to something that is known."""
    if name in combination.versions:
        return [functools.partial(Combination.with_version, name=name, version=each) for each in TABLE.known[name]]
    if name in combination.attributes:
        return [functools.partial(Combination.with_attribute, name=name, value=each) for each in TABLE.attributes[name]]
    return [functools.partial(Combination.without, name=name)]


def with_changes(combination: Combination, count: int) -> Iterator[Combination]:
    """Every combination that differs in so many names."""
    names = [*combination.attributes, *combination.versions, *combination.features]
    for chosen in itertools.combinations([name for name in names if name != "gpu"], count):
        for changes in itertools.product(*(ways(combination, name) for name in chosen)):
            yield functools.reduce(lambda old, change: change(old), changes, combination)


@settings(max_examples=40)
@given(QUESTIONS)
def test_no_allowed_combination_is_nearer(question: dict[str, Any]) -> None:
    """Held against trying every other one, where that is possible: with one change less."""
    combination = few(question)
    found = nearest(JUDGE, combination)
    assert found is not None
    changes = changed(combination, found)
    for count in range(min(changes, 3)):
        assert not any(JUDGE.answer(other).status == ALLOWED for other in with_changes(combination, count))


@given(QUESTIONS)
@settings(max_examples=25)
def test_however_much_is_wrong_the_search_ends_and_what_it_finds_is_allowed(question: dict[str, Any]) -> None:
    found = nearest(JUDGE, asked(**question))
    assert found is None or JUDGE.answer(found).status == ALLOWED


def test_equal_hosts_are_answered_once() -> None:
    judge = Judge(TABLE)
    first = judge.answer(asked(**SPARK))
    assert judge.answer(asked(**SPARK)) is first
