"""DGX systems of every maker are recognised, and their packages, sources and updates are read as programs print them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os import packages, sources, updates
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.recognition import Recognition, recognise

NVIDIA = {"sys_vendor": "NVIDIA", "product_name": "NVIDIA_DGX_Spark"}
OEM = {"sys_vendor": "Example Computer Inc.", "product_name": "EX10"}
SPARK_RELEASE = (
    'DGX_NAME="DGX Spark"\nDGX_PRETTY_NAME="NVIDIA DGX Spark"\nDGX_SWBUILD_VERSION="7.2.3"\nDGX_PLATFORM="EX10"\n'
)
SERVER_RELEASE = 'DGX_NAME="DGX Server"\nDGX_PRETTY_NAME="NVIDIA DGX Server"\nDGX_PLATFORM="DGX Server for DGX A100"\n'
CANARY = "SERIAL-CANARY-4711"


def who(release: str | None = None, **changes: Any) -> Recognition:
    asked: dict[str, Any] = {"os_id": "ubuntu", "os_version": "24.04", "dmi": NVIDIA, **changes}
    return recognise(release, **asked)


@pytest.mark.requirement("SPARK-03", part="which of both paths a host is on")
@pytest.mark.parametrize(
    ("changes", "kind", "maker", "platform"),
    [
        ({"release": SPARK_RELEASE}, "dgx_spark", "NVIDIA", "dgx-os-7"),
        ({"release": SPARK_RELEASE, "dmi": OEM}, "dgx_spark", "Example Computer Inc.", "dgx-os-7"),
        ({"release": SPARK_RELEASE.replace('"', "")}, "dgx_spark", "NVIDIA", "dgx-os-7"),
        ({"release": 'DGX_PRETTY_NAME="NVIDIA DGX Spark"'}, "dgx_spark", "NVIDIA", "dgx-os-7"),
        ({"release": SERVER_RELEASE, "os_version": "22.04"}, "dgx", "NVIDIA", "dgx-os-6"),
        ({"pci_ids": ["10DE:2E12"]}, "gb10", "NVIDIA", "ubuntu-24.04"),
        ({"smi_list": "GPU 0: NVIDIA GB10 (UUID: GPU-0)"}, "gb10", "NVIDIA", "ubuntu-24.04"),
        # The name in DMI says nothing by itself, not even the one of NVIDIA's own machine.
        ({}, "none", "NVIDIA", "ubuntu-24.04"),
        ({"smi_list": "GPU 0: NVIDIA GB100"}, "none", "NVIDIA", "ubuntu-24.04"),
        ({"os_version": "22.04", "dmi": {}}, "none", None, "ubuntu-22.04"),
        ({"os_id": "rocky", "os_version": "9.4", "dmi": {"board_vendor": "Nvidia Corp"}}, "none", "NVIDIA", "rocky-9"),
        ({"release": SPARK_RELEASE, "os_version": "26.04"}, "dgx_spark", "NVIDIA", None),
        ({"os_id": "debian", "os_version": "12"}, "none", "NVIDIA", None),
        ({"release": 'NAME="Ubuntu"'}, "none", "NVIDIA", "ubuntu-24.04"),
    ],
)
def test_a_host_is_what_its_release_file_or_its_gpu_says(
    changes: dict[str, Any], kind: str, maker: str | None, platform: str | None
) -> None:
    found = who(**changes)
    assert (found.kind, found.maker, found.platform) == (kind, maker, platform)
    assert found.is_dgx_os == kind.startswith("dgx")
    assert found.by


def test_the_last_update_counts_and_the_build_of_the_image_does_not(root: Path) -> None:
    found = who((root / "tests/data/dgx-release/updated-twice.txt").read_text(encoding="utf-8"))
    assert (found.updates, found.release) == (("7.3.1", "7.4.0"), "7.4.0")
    assert who(SPARK_RELEASE).release is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_serial_number_is_nowhere_in_what_is_known(before: str, after: str) -> None:
    text = f'{SPARK_RELEASE}{before}\nDGX_SERIAL_NUMBER="{CANARY}"\nDGX_OTA_VERSION="7.4.0"\n{after}'
    found = who(text, dmi={**OEM, "product_serial": CANARY})
    assert CANARY not in repr(dataclasses.asdict(found))
    assert "7.4.0" in found.updates


DPKG = """\
ii |nvidia-driver-580-open|580.159.03-1
hi |linux-image-nvidia-hwe-24.04|6.17.0-1021.21
rc |nvidia-spark-repo|1.0
iU |dgx-release|7.5.0
iF |nvidia-modprobe|580.159.03-1
iiR|broken|1
iW |waits|1
un |absent|
not a line
"""


def test_states_of_packages() -> None:
    found = {each.name: (each.state, each.held) for each in packages.parse_dpkg(DPKG)}
    assert found == {
        "nvidia-driver-580-open": ("installed", False),
        "linux-image-nvidia-hwe-24.04": ("installed", True),
        "nvidia-spark-repo": ("removed", False),
        "dgx-release": ("half", False),
        "nvidia-modprobe": ("half", False),
        "broken": ("half", False),
        "waits": ("installed", False),
    }


def test_what_must_not_move_and_is_not_held() -> None:
    patterns = ["nvidia-driver-.*", "linux-image-.*", "nvidia-modprobe", "dgx"]
    assert packages.not_held(packages.parse_dpkg(DPKG), patterns) == ["nvidia-driver-580-open"]


def test_what_autoremove_would_take() -> None:
    automatic = packages.parse_names("nvidia-driver-580-open\nlibc6:arm64\n\nnvidia-spark-repo\n")
    assert automatic == ("nvidia-driver-580-open", "libc6", "nvidia-spark-repo")
    assert packages.removable(packages.parse_dpkg(DPKG), automatic, ["nvidia-.*"]) == ["nvidia-driver-580-open"]


def test_a_pattern_is_of_a_whole_name() -> None:
    assert packages.matching(["nv-docker-options", "libnv-x", "nv"], ["nv-.*"]) == ["nv-docker-options"]


POLICY = """\
nvidia-driver-580-open:
  Installed: 580.159.03-1
  Candidate: 580.173.02-0ubuntu1
  Version table:
     580.173.02-0ubuntu1 500
        500 http://ports.ubuntu.com/ubuntu-ports noble-updates/restricted arm64 Packages
 *** 580.159.03-1 600
        600 https://repo.download.nvidia.com/spark/ubuntu/arm64 noble-updates/common arm64 Packages
        100 /var/lib/dpkg/status
nvidia-modprobe:
  Installed: 580.159.03-1
  Candidate: 580.178.04-1
  Version table:
     580.178.04-1 600
        500 http://ports.ubuntu.com/ubuntu-ports noble/restricted arm64 Packages
        600 https://repo.download.nvidia.com/spark/ubuntu/arm64 noble-updates/common arm64 Packages
 *** 580.159.03-1 100
        100 /var/lib/dpkg/status
nvidia-settings:
  Installed: (none)
  Candidate: 510.47-0ubuntu4
  Version table:
     510.47-0ubuntu4 500
        500 http://ports.ubuntu.com/ubuntu-ports noble/main arm64 Packages
"""
HOSTS = ["repo.download.nvidia.com"]


def test_a_driver_of_another_server_is_told() -> None:
    """It is on no server of NVIDIA's; nvidia-modprobe's is on both, and nvidia-settings is not installed."""
    policies = packages.parse_policy(POLICY)
    assert list(policies) == ["nvidia-driver-580-open", "nvidia-modprobe", "nvidia-settings"]
    assert policies["nvidia-settings"].installed is None
    assert packages.foreign_candidates(policies, HOSTS) == {"nvidia-driver-580-open": "580.173.02-0ubuntu1"}


def test_a_server_is_told_from_one_that_only_begins_alike() -> None:
    text = POLICY.replace("https://repo.download.nvidia.com/", "https://repo.download.nvidia.com.example.org/")
    assert set(packages.foreign_candidates(packages.parse_policy(text), HOSTS)) == {
        "nvidia-driver-580-open",
        "nvidia-modprobe",
    }


def test_a_kernel_needs_modules_of_its_own_release() -> None:
    known = packages.parse_dpkg(
        "ii |linux-modules-nvidia-580-open-6.17.0-1021-nvidia|1\nrc |linux-modules-nvidia-580-open-6.18.0-1-nvidia|1\n"
    )
    prefixes = ["linux-modules-nvidia-580-open-"]
    assert packages.modules_for(known, "6.17.0-1021-nvidia", prefixes) != []
    assert packages.modules_for(known, "6.18.0-1-nvidia", prefixes) == []


KEYRING = "/usr/share/keyrings/cuda-archive-keyring.gpg"
CUDA = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/sbsa/"
DEB822 = f"""\
# comment
Types: deb deb-src
URIs: {CUDA}
Suites: /
Signed-By: {KEYRING}

Enabled: no
Types: deb
URIs: https://off.example/
Suites: x

Types: deb-src
URIs: https://source.example/
Suites: x
"""


@pytest.mark.parametrize("line", [f"deb [arch=arm64] {CUDA} /", f"deb {CUDA.rstrip('/')} / # a comment"])
def test_two_keys_for_one_address_are_a_conflict(line: str) -> None:
    one, other = sources.parse_sources("cuda.sources", DEB822), sources.parse_sources("cuda.list", f"# old\n{line}\n")
    assert [source.uri for source in one] == [CUDA.rstrip("/")]
    (conflict,) = sources.conflicts(one + other)
    assert conflict.signed_by == ("", KEYRING)
    assert conflict.files == ("cuda.sources", "cuda.list")


def test_one_key_for_one_address_is_none() -> None:
    one = sources.parse_sources("cuda.sources", DEB822)
    other = sources.parse_sources("cuda.list", f"deb [signed-by={KEYRING} arch=arm64] {CUDA} /\n")
    assert sources.conflicts(one + other) == []


def test_a_key_that_stands_in_the_source_is_not_kept() -> None:
    text = "Types: deb\nURIs: https://x.example\nSuites: a b\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n"
    assert [(each.suite, each.signed_by) for each in sources.parse_sources("x.sources", text)] == [
        ("a", "a key in the source itself"),
        ("b", "a key in the source itself"),
    ]


@given(st.text(max_size=200), st.sampled_from(["x.list", "x.sources"]))
def test_any_text_is_a_file_of_sources(text: str, file: str) -> None:
    assert all(source.uri is not None and source.suite for source in sources.parse_sources(file, text))


@given(st.text(max_size=200))
def test_any_text_is_an_output_of_the_package_tools(text: str) -> None:
    packages.parse_dpkg(text)
    packages.parse_policy(text)
    packages.parse_names(text)
    assert updates.parse_snapshot(text) is None or text.startswith("ssbbs")
    assert updates.parse_fwupd(text) is None or "Devices" in text


def test_a_dead_address_is_rewritten() -> None:
    dead = {"/baseos/8/ubuntu/noble/": "/baseos/ubuntu/noble/"}
    uri = "https://repo.download.nvidia.com/baseos/8/ubuntu/noble/arm64/"
    assert sources.rewritten(uri, dead) == "https://repo.download.nvidia.com/baseos/ubuntu/noble/arm64/"
    assert sources.rewritten(CUDA, dead) == CUDA


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'ssbbs "ready" "2026-09-05T10:33:15+03:00" true false "July 2026"\n',
            updates.OtaSnapshot("ready", "2026-09-05T10:33:15+03:00", (True, False), "July 2026"),
        ),
        ("Call failed: The name is not activatable", None),
        ('ssb "ready" "x" true', None),
        ('ssbbs "ready" "x" yes no "y"', None),
        ('ssbbs "ready', None),
        ("", None),
    ],
)
def test_the_dashboard_s_answer(text: str, expected: updates.OtaSnapshot | None) -> None:
    assert updates.parse_snapshot(text) == expected


def test_firmware_has_no_serial_number() -> None:
    text = f'{{"Devices": [{{"Name": "EC", "Version": "0x1", "Serial": "{CANARY}"}}, {{"Name": "no version"}}]}}'
    assert updates.parse_fwupd(text) == (updates.Firmware("EC", "0x1", ""),)


@pytest.mark.parametrize("text", ["", "[]", '{"Devices": [1]}', '{"Devices": null}', "{}"])
def test_anything_else_is_not_fwupd_s_answer(text: str) -> None:
    assert updates.parse_fwupd(text) is None
