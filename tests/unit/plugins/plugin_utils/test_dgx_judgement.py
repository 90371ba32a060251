"""A DGX OS host whose stack could tear is told by its code; what was not read is unknown, never ok."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.packages import Package, Policy
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.recognition import Recognition
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.sources import Source
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.dgx_judgement import CODES, DgxReadings, judge

RULES = data_files.load("data/dgx_os.yml")
REGISTRY = data_files.codes()
SPARK = Recognition("dgx_spark", "/etc/dgx-release", "NVIDIA", "dgx-os-7", ("7.5.0",))
KERNEL = "6.17.0-1021-nvidia"
DRIVER, IMAGE, MODULES = (
    "nvidia-driver-580-open",
    "linux-image-nvidia-hwe-24.04",
    f"linux-modules-nvidia-580-open-{KERNEL}",
)
KEYRING = RULES["keyring"]["file"]
SPARK_URI = "https://repo.download.nvidia.com/spark/ubuntu/arm64"


def installed(name: str, held: bool = False) -> Package:
    return Package(name, "1", "installed", held)


GOOD = DgxReadings(
    packages=(installed(DRIVER, True), installed(IMAGE, True), installed(MODULES), installed("nvidia-spark-repo")),
    automatic=("libc6",),
    policies={DRIVER: Policy("1", "1", {"1": (SPARK_URI,)})},
    sources=(Source("spark.sources", SPARK_URI, "noble-updates", KEYRING),),
    kernel=KERNEL,
    files={KEYRING: True},
    units={"nvidia-spark-run-apt-upgrade-once.service": "inactive"},
)


def findings(readings: DgxReadings, recognition: Recognition = SPARK) -> dict[str, Finding]:
    return {each.code: each for each in judge(recognition, readings, RULES, "spark-01", REGISTRY)}


def wrong(readings: DgxReadings) -> dict[str, str]:
    """Status of every finding that is not ok."""
    return {code: each.status for code, each in findings(readings).items() if each.status != "ok"}


def with_packages(*more: Package, without: str = "") -> tuple[Package, ...]:
    assert GOOD.packages is not None
    return (*(each for each in GOOD.packages if each.name != without), *more)


def test_a_host_in_order_is_ok() -> None:
    found = findings(GOOD)
    assert (tuple(found), wrong(GOOD)) == (CODES, {})
    assert {each.subject for each in found.values()} == {"spark-01"}
    assert all(each.requirements for each in found.values())


@pytest.mark.requirement("SPARK-20", part="what an ordinary upgrade would break is told before it")
@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"packages": with_packages(installed(DRIVER), without=DRIVER)}, "BG-DGX-001", f"apt-mark hold {DRIVER}"),
        ({"automatic": (DRIVER,)}, "BG-DGX-002", f"apt-mark manual {DRIVER}"),
        ({"kernel": "7.0.0-1019-nvidia"}, "BG-DGX-004", "install linux-modules-nvidia-580-open-7.0.0-1019-nvidia"),
        ({"packages": with_packages(without=MODULES)}, "BG-DGX-004", "boot another kernel"),
        (
            {"sources": (*(GOOD.sources or ()), Source("spark.list", SPARK_URI, "noble-updates", ""))},
            "BG-DGX-005",
            "spark.list",
        ),
        (
            {"sources": (Source("dgx.sources", "https://repo.download.nvidia.com/baseos/8/ubuntu/noble/arm64", "noble", "k"),)},
            "BG-DGX-005",
            "write https://repo.download.nvidia.com/baseos/ubuntu/noble/arm64",
        ),
        ({"files": {KEYRING: False}}, "BG-DGX-005", "install nvidia-spark-repo again"),
        (
            {"packages": with_packages(Package("nvidia-spark-repo", "1", "removed", False), without="nvidia-spark-repo")},
            "BG-DGX-005",
            "install nvidia-spark-repo again",
        ),
        ({"units": {"nvidia-spark-run-apt-upgrade-once.service": "activating"}}, "BG-DGX-006", "wait"),
        ({"packages": with_packages(Package("dgx-release", "1", "half", False))}, "BG-DGX-006", "dpkg --configure"),
    ],
)  # fmt: skip
def test_one_thing_that_is_wrong_has_one_code(changes: dict[str, Any], code: str, told: str) -> None:
    readings = replace(GOOD, **changes)
    assert wrong(readings) == {code: "fail"}
    assert told in findings(readings)[code].remedy


@pytest.mark.requirement("SPARK-04", part="an upgrade that would take another build of the driver is told")
@pytest.mark.parametrize(("held", "status"), [(False, "fail"), (True, "warn")])
def test_a_driver_of_another_server_waits_for_the_next_upgrade(held: bool, status: str) -> None:
    """What was seen in the field: the same branch from Ubuntu's own updates, after which no device is found."""
    policies = {DRIVER: Policy("1", "2", {"2": ("http://ports.ubuntu.com/ubuntu-ports",), "1": (SPARK_URI,)})}
    readings = replace(GOOD, policies=policies, packages=with_packages(installed(DRIVER, held), without=DRIVER))
    finding = findings(readings)["BG-DGX-003"]
    assert finding.status == status
    assert f"{DRIVER} 2" in finding.reason


def test_what_was_not_read_is_unknown() -> None:
    assert wrong(DgxReadings()) == dict.fromkeys(CODES, "unknown")


def test_another_system_is_not_judged() -> None:
    plain = Recognition("gb10", "PCI device 10de:2e12", "NVIDIA", "ubuntu-24.04")
    found = findings(GOOD, plain)
    assert {each.status for each in found.values()} == {"skipped"}
    assert all("PCI device 10de:2e12" in each.reason for each in found.values())
