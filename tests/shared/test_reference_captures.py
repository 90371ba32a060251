"""Parsers against reference captures that are kept beside the checkout; skipped where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import nvidia_smi
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import parse_dgx_release
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import NOT_SUPPORTED

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="reference captures are not beside this checkout")


def sample(name: str) -> str:
    """A capture without its first line, where that only names its source."""
    text = (SAMPLES / name).read_text(encoding="utf-8")
    return text.partition("\n")[2] if text.startswith("# source") else text


def smi(name: str) -> nvidia_smi.SmiDocument:
    return nvidia_smi.parse(sample(name))


@pytest.mark.parametrize("name", ["nvidia-smi/gb10-q-x-fragment-A.xml", "nvidia-smi/gb10-q-x-fragment-B.xml"])
def test_gb10_reports_no_memory(name: str) -> None:
    document = smi(name)
    assert [gpu.product_name for gpu in document.gpus] == ["NVIDIA GB10"]
    assert document.gpus[0].memory_total_bytes is None
    assert document.missing["gpus[0].memory_total_bytes"].kind == NOT_SUPPORTED


def test_a_process_in_both_lists_is_counted_once() -> None:
    processes = smi("nvidia-smi/gb10-q-x-fragment-B.xml").gpus[0].processes
    assert [(process.pid, process.kinds) for process in processes] == [(100, ("C", "G")), (200, ("G",)), (300, ("C",))]
    assert processes[2].memory_bytes is None


def test_h100_reports_memory_capability_and_mig() -> None:
    document = smi("nvidia-smi/h100-q-x-fragment.xml")
    assert {gpu.memory_total_bytes for gpu in document.gpus} == {81559 * 1024**2}
    assert [(gpu.compute_capability, gpu.mig_mode) for gpu in document.gpus] == [
        ("9.0", "Disabled"),
        ("9.0", "Enabled"),
    ]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("health/SYNTHETIC_nvidia_smi_qx_8xh100_healthy.xml", 8),
        ("health/SYNTHETIC_nvidia_smi_qx_8xh100_faulty.xml", 8),
        ("health/SYNTHETIC_nvidia_smi_qx_7of8.xml", 7),
    ],
)
def test_an_h100_server_is_read_whole(name: str, count: int) -> None:
    document = smi(name)
    assert (len(document.gpus), document.driver_version) == (count, "590.48.01")
    assert {gpu.pci_id for gpu in document.gpus} == {"10de:2330"}
    assert len({gpu.bus_id for gpu in document.gpus}) == count


@pytest.mark.parametrize(
    ("name", "ota"), [("dgx-os/dgx-release-asus-gx10-7.6.0.txt", "7.6.0"), ("dgx-os/dgx-release-fe-7.5.0.txt", "7.5.0")]
)
def test_the_last_update_counts_and_the_factory_image_does_not(name: str, ota: str) -> None:
    release = parse_dgx_release(sample(name))
    assert (release.name, release.ota_version, release.software_build_version) == ("DGX Spark", ota, "7.2.3")


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("nvidia-smi/*.txt")), ids=lambda path: path.name)
def test_a_text_capture_is_not_taken_for_xml(path: Path) -> None:
    with pytest.raises(nvidia_smi.NvidiaSmiFormatError):
        nvidia_smi.parse(path.read_text(encoding="utf-8"))
