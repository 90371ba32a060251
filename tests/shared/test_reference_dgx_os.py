"""DGX OS hosts against reference captures; skipped where they are not beside the checkout."""

from __future__ import annotations

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.packages import matching
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.recognition import recognise
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.updates import Firmware, parse_fwupd
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.tests.shared.test_reference_captures import SAMPLES, sample

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="reference captures are not beside this checkout")


def dmi(name: str) -> dict[str, str | None]:
    lines = sample(name).splitlines()
    return {key: value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


def test_a_founders_edition_is_recognised() -> None:
    found = recognise(sample("dgx-os/dgx-release-fe-7.5.0.txt"), "ubuntu", "24.04", {"sys_vendor": "NVIDIA"})
    assert (found.kind, found.maker, found.platform, found.release) == ("dgx_spark", "NVIDIA", "dgx-os-7", "7.5.0")


def test_a_box_of_another_maker_is_recognised_with_all_its_updates() -> None:
    found = recognise(
        sample("dgx-os/dgx-release-asus-gx10-7.6.0.txt"), "ubuntu", "24.04", dmi("dgx-os/dmi-asus-gx10.txt")
    )
    assert (found.kind, found.maker, found.platform) == ("dgx_spark", "ASUSTeK COMPUTER INC.", "dgx-os-7")
    assert found.updates == ("7.3.1", "7.4.0", "7.5.0", "7.6.0")


def test_a_box_of_another_maker_without_its_release_file_is_recognised_by_its_gpu() -> None:
    found = recognise(None, "ubuntu", "24.04", dmi("dgx-os/dmi-asus-gx10.txt"), ["10de:2e12"])
    assert (found.kind, found.platform) == ("gb10", "ubuntu-24.04")


def test_whatever_was_held_on_a_real_box_must_be_held() -> None:
    held = sample("dgx-os/apt-holds.txt").split()
    assert held
    assert matching(held, data_files.load("data/dgx_os.yml")["hold"]["patterns"]) == sorted(held)


def test_firmware_of_a_real_box() -> None:
    assert parse_fwupd(sample("dgx-os/fwupdmgr-get-devices-json.json")) == (
        Firmware("Embedded Controller", "0x02000005", "Asus"),
        Firmware("UEFI Device Firmware", "0x03000007", "Asus"),
        Firmware("UEFI dbx", "20230501", "Microsoft"),
    )
