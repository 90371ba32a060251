"""Every pair in the reference tables of compatibility is answered as they say; skipped where they are not beside the checkout."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import Answer, Judge
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.question import parse_question
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import declared
from ansible_collections.baremetal.gpu.plugins.plugin_utils.compat_rules import load_table

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "compat"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="reference tables are not beside this checkout")

TABLE = load_table()
JUDGE = Judge(TABLE)
GB10 = {"gpu": "gb10"}
# Their device plugin has the fix for GB10, and yet a Spark did not come up with the second of them (gpu-operator issue 1794).
REFUSED_BY_THE_FIELD = {"v25.3.3", "v25.3.4"}


def rows(name: str) -> list[dict[str, str]]:
    path = SAMPLES / name
    if not path.exists():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


OPERATORS = rows("gpu-operator-components.csv")
CONTAINERS = rows("triton-compat.csv")
BASES = rows("triton-release-cuda.csv")
MINIMUMS = {row["component"]: row["minimum"] for row in rows("gb10-minimums.csv")}
COLUMNS = {
    "device_plugin": "device_plugin",
    "dcgm": "dcgm",
    "dcgm_exporter": "dcgm_exporter",
    "nfd": "node_feature_discovery",
}


def ask(**names: Any) -> Answer:
    combination, faults = parse_question(TABLE, names)
    assert faults == []
    return JUDGE.answer(combination)


def allowed(**names: Any) -> bool:
    return ask(**names).status == "allowed"


def test_the_tables_are_there() -> None:
    assert (len(OPERATORS), len(CONTAINERS), len(BASES), len(MINIMUMS)) == (28, 20, 10, 13)


@pytest.mark.parametrize("row", OPERATORS, ids=lambda row: row["operator"])
def test_an_operator_meets_its_own_components_and_no_others(row: dict[str, str]) -> None:
    for other in OPERATORS:
        for column, name in COLUMNS.items():
            same = declared(other[column]) == declared(row[column])
            assert allowed(gpu_operator=row["operator"], **{name: other[column]}) == same, (column, other[column])


@pytest.mark.parametrize("row", OPERATORS, ids=lambda row: row["operator"])
def test_an_operator_on_gb10(row: dict[str, str]) -> None:
    assert allowed(**GB10, device_plugin=row["device_plugin"]) == (row["gb10_ok"] == "yes")
    expected = row["gb10_ok"] == "yes" and row["operator"] not in REFUSED_BY_THE_FIELD
    assert allowed(**GB10, gpu_operator=row["operator"]) == expected


@pytest.mark.parametrize("row", OPERATORS, ids=lambda row: row["operator"])
def test_an_operator_on_h100_with_its_default_driver(row: dict[str, str]) -> None:
    assert allowed(gpu="h100-sxm-8", gpu_operator=row["operator"], driver=row["default_driver"])


@pytest.mark.parametrize("row", OPERATORS, ids=lambda row: row["operator"])
def test_sharing_by_mps(row: dict[str, str]) -> None:
    assert allowed(sharing="mps", gpu_operator=row["operator"]) == (row["mps_hostpid"] == "yes")
    by_label = allowed(features=["mps_by_label"], gpu_operator=row["operator"])
    assert by_label == (row["cm_panic_fix"] == "yes")


@pytest.mark.parametrize("row", CONTAINERS, ids=lambda row: f"{row['container']}-{row['triton']}")
def test_a_container_of_triton(row: dict[str, str]) -> None:
    name = f"triton_{row['container']}"
    release = {name: row["triton"]}
    thirteen = row["cuda"].startswith("13.")
    assert allowed(driver=row["driver"], **release)
    assert ask(driver=row["driver"], **release).advice == ()
    # What a driver runs by minor version compatibility within CUDA's major version.
    for driver, least in (("580.95.05", 13), ("535.183.01", 12), ("470.1", 11)):
        major = int(row["cuda"].partition(".")[0])
        assert allowed(driver=driver, **release) == (major <= least), driver
    # GB10 has a target from CUDA 13.0 on, and branch 580 only.
    assert allowed(**GB10, driver="580.159.03", **release) == thirteen
    assert not allowed(**GB10, driver="590.48.01", **release)
    # Exactly the releases that were built with branch 580 or an older one do not lean on minor version compatibility.
    if thirteen:
        leans = any("own-driver" in each.row for each in ask(**GB10, driver="580.159.03", **release).advice)
        assert leans == (int(row["driver"].partition(".")[0]) > 580)
    # What is built on the host runs in it.
    assert allowed(cuda="13.0", **release) == thirteen
    assert allowed(cuda="12.8", **release) == (not thirteen)


@pytest.mark.parametrize("row", BASES, ids=lambda row: row["release"])
def test_a_base_container_of_triton(row: dict[str, str]) -> None:
    release, stated = {"triton": row["release"]}, row["stated_min_driver"]
    least = int(stated) if stated.isdigit() else 580
    for branch in (525, 535, 550, 560, 570, 575, 580, 590):
        assert allowed(driver=f"{branch}.1", **release) == (branch >= least), branch
    assert allowed(gpu="h100-sxm-8", driver="580.95.05", **release)
    assert allowed(**GB10, driver="580.95.05", **release) == row["cuda"].startswith("13.")


@pytest.mark.parametrize(
    ("component", "name", "below"),
    [
        ("cuda toolkit", "cuda", "12.9"),
        ("cudnn", "cudnn", "9.10.2"),
        ("nccl", "nccl", "2.28.8-1"),
        ("nvidia container toolkit", "container_toolkit", "1.17.6"),
        ("deep learning framework containers", "framework_container", "25.08"),
    ],
)
def test_a_minimum_of_gb10(component: str, name: str, below: str) -> None:
    assert allowed(**GB10, **{name: MINIMUMS[component]})
    assert not allowed(**GB10, **{name: below})
    assert allowed(gpu="h100-sxm-8", **{name: below})


def test_the_driver_of_gb10() -> None:
    assert MINIMUMS["nvidia driver branch"] == "580-open"
    assert allowed(**GB10, driver="580-open")
    assert not allowed(**GB10, driver="580.159.03", kernel_modules="proprietary")
    assert [branch for branch in range(525, 620, 5) if allowed(**GB10, driver=f"{branch}.1")] == [580]
    assert not allowed(**GB10, driver=MINIMUMS["driver to avoid"].partition(" ")[0])


def test_the_device_plugin_of_gb10() -> None:
    assert MINIMUMS["k8s device plugin"] == "0.17.4 or >=0.18.0"
    answers = {version: allowed(**GB10, device_plugin=version) for version in ("0.17.3", "0.17.4", "0.18.0", "0.20.0")}
    assert answers == {"0.17.3": False, "0.17.4": True, "0.18.0": True, "0.20.0": True}
    fixed = MINIMUMS["device plugin config-manager panic fix"]
    assert allowed(**GB10, device_plugin=fixed, features=["mps_by_label"])
    assert not allowed(**GB10, device_plugin="0.19.3", features=["mps_by_label"])


def test_what_gb10_has_not() -> None:
    assert MINIMUMS["dra driver"] == "none"
    assert not allowed(**GB10, dra_driver="25.12.0")
    assert MINIMUMS["mps v3 + dmem limits"] == "driver r615 / CUDA 13.4"
    assert not allowed(**GB10, features=["mps_memory_partitions"])
    assert not allowed(driver="610.1", features=["mps_memory_partitions"])
    assert allowed(driver="615.61", cuda="13.4", features=["mps_memory_partitions"])
    assert MINIMUMS["hpc sdk / doca / gpudirect rdma"] == "not supported"
    for feature in ("hpc_sdk", "doca", "gpudirect_rdma"):
        assert not allowed(**GB10, features=[feature])
        assert allowed(gpu="h100-sxm-8", features=[feature])


def test_k3s_with_a_template_for_containerd_2() -> None:
    lines = [text.strip() for text in MINIMUMS["k3s containerd 2.0 (config-v3.toml.tmpl)"].split("/")]
    assert all(allowed(k3s=line, features=["containerd_v3_template"]) for line in lines)
    for older in ("v1.31.5+k3s1", "v1.32.1+k3s1", "v1.30.9+k3s1"):
        assert not allowed(k3s=older, features=["containerd_v3_template"])
    assert allowed(k3s="v1.33.0+k3s1", features=["containerd_v3_template"])
