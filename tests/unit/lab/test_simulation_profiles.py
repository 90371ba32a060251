"""Simulated hardware as data: profiles are checked, and a host gets everything that its driver packages would bring."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lab.simulation import hardware, profile
from lab.simulation.host import machine


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Stand-ins that need not work: their names are enough to install them."""
    folder = tmp_path / "built"
    folder.mkdir()
    for name in (*hardware.LIBRARIES, *hardware.PROGRAMS, *hardware.HELPERS):
        (folder / name).write_text(name, encoding="ascii")
    return folder


def changed(tmp_path: Path, name: str, /, **changes: object) -> Path:
    """A folder of profiles with one of them, in which some keys differ; `gpu__name` is the key `name` in `gpu`."""
    content = yaml.safe_load((profile.PROFILES / f"{name}.yml").read_text(encoding="utf-8"))
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = content
        for key in outer:
            place = place[int(key) if key.isdigit() else key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path


def state(name: str) -> dict[str, str]:
    lines = hardware.render_state(hardware.load(name)).splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("name", hardware.names())
def test_every_profile_is_valid(name: str) -> None:
    assert hardware.load(name).name == name


def test_there_are_a_spark_and_a_server_with_eight_gpus() -> None:
    assert {name: len(hardware.load(name).gpus) for name in hardware.names()} == {"gb10": 1, "h100x8": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema: 1 is expected, not 2"),
        ({"name": "gb11"}, "name: must be the file's name, 'gb10'"),
        ({"driver": ...}, "profile: missing: driver"),
        ({"colour": "green"}, "profile: unknown: colour; known are"),
        ({"driver__version": "580"}, "driver.version: digits and dots are expected"),
        ({"driver__version": 580.95}, "driver.version: a text is expected, not 580.95"),
        ({"dmi__product_name": ...}, "dmi: missing: product_name"),
        ({"dmi__../../etc": "x"}, "dmi: unknown: ../../etc"),
        (
            {"gpu__memory_total_mib": "lots"},
            "gpu.memory_total_mib: a whole number of 0 or more is expected, not 'lots'",
        ),
        ({"gpu__memory_total_mib": True}, "gpu.memory_total_mib: a whole number"),
        ({"gpu__name": "two\nlines"}, "gpu.name: a text is expected"),
        ({"gpu__power_draw_w": 11.05}, "gpu.power_draw_w: a quoted decimal number"),
        ({"gpu__ecc_mode": True}, "gpu.ecc_mode: Enabled or Disabled is expected, not True"),
        ({"gpu__wheels": 4}, "gpu: unknown: wheels"),
        ({"gpu__pci_class": None}, "gpus[0]: missing, here and in gpu: pci_class"),
        ({"gpus": []}, "gpus: a list with at least one entry"),
        ({"gpus__0__uuid": "GPU-1"}, "gpus[0].uuid: GPU- and a UUID in lower case"),
        ({"gpus__0__pci_bus_id": "1:0"}, "gpus[0].pci_bus_id: quoted, such as"),
        ({"hcas__0__name": ...}, "hcas[0]: missing, here and in hca: name"),
        ({"hcas__1__name": "rocep1s0f0"}, "hcas: two HCAs have the same name"),
        ({"hca__speed": 200}, "hca: unknown: speed"),
        ({"mig": [{"id": 19}]}, "mig[0]: missing: copy_engines"),
        ({"dgx_release__factory__DGX_NAME": ...}, "dgx_release.factory: missing: DGX_NAME"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_place(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(profile.ProfileError) as refused:
        profile.load("gb10", changed(tmp_path, "gb10", **changes))
    assert str(refused.value).startswith(f"gb10.yml: {message}")


@pytest.mark.parametrize("key", ["uuid", "pci_bus_id"])
def test_two_gpus_cannot_be_the_same(tmp_path: Path, key: str) -> None:
    twin = hardware.load("h100x8").gpus[0][key]
    with pytest.raises(profile.ProfileError, match=f"two GPUs have the same {key}"):
        profile.load("h100x8", changed(tmp_path, "h100x8", **{f"gpus__1__{key}": twin}))


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(profile.ProfileError, match="no simulated hardware is called 'b300'; there are gb10, h100x8"):
        hardware.load("b300")


def test_what_gb10_does_not_report_is_empty_in_its_state() -> None:
    values = state("gb10")
    assert values["gpu.*.memory_total_mib"] == ""
    assert values["gpu.*.mig_mode"] == ""
    assert values["gpu.*.compute_capability"] == "12.1"


def test_the_state_ends_with_the_mark_of_completeness() -> None:
    assert hardware.render_state(hardware.load("h100x8")).endswith("\ncomplete=yes\n")


def test_ldconfig_is_told_that_the_state_is_no_library() -> None:
    assert "GNU ld script" in hardware.render_state(hardware.load("gb10"))[:512]


@pytest.mark.parametrize("name", hardware.names())
def test_install_brings_what_the_driver_packages_would(tmp_path: Path, built: Path, name: str) -> None:
    root = tmp_path / "root"
    version = hardware.install(root, name, built).driver.version
    libraries = root / hardware.library_folder()
    assert (libraries / "libnvidia-ml.so.1").readlink() == Path(f"libnvidia-ml.so.{version}")
    assert (libraries / "libcuda.so.1").resolve() == libraries / f"libcuda.so.{version}"
    assert (libraries / f"libnvidia-simulated-hardware.so.{version}").read_text() == hardware.render_state(
        hardware.load(name)
    )
    for program in hardware.PROGRAMS:
        assert (root / "usr/bin" / program).stat().st_mode & 0o777 == 0o755


def test_the_units_of_a_host_are_on_but_for_what_nobody_asked_for(tmp_path: Path, built: Path) -> None:
    hardware.install(tmp_path / "root", "gb10", built)
    units = tmp_path / "root/etc/systemd/system"
    wanted = {path.name: path.resolve() for path in units.glob("*.wants/*")}
    assert wanted == {
        name: units / name
        for name in ("simulated-hardware.service", "simulated-kmsg.service", "simulated-driver.socket")
    }
    assert (units / "simulated-dcgm-exporter.service").is_file()


def test_a_host_program_starts_with_the_installed_package(tmp_path: Path, built: Path) -> None:
    hardware.install(tmp_path / "root", "gb10", built)
    entry = (tmp_path / "root/usr/local/sbin/simulated-hardware").read_text(encoding="utf-8")
    moved = entry.replace("/usr/local/lib", str(tmp_path / "root/usr/local/lib"))
    program = tmp_path / "program"
    program.write_text(moved, encoding="utf-8")
    answer = subprocess.run([sys.executable, "-I", program, "fault"], capture_output=True, text=True, check=False)
    assert (answer.returncode, "usage: simulated-hardware fault" in answer.stderr) == (2, True)


def test_the_marker_names_what_is_simulated(tmp_path: Path, built: Path) -> None:
    hardware.install(tmp_path / "root", "gb10", built)
    marker = json.loads((tmp_path / "root/etc/baremetal-gpu/simulated.json").read_text())
    assert {"nvml", "nvidia-smi", "pci", "dmi", "mps-control"} <= set(marker["stand_ins"])


def test_only_a_dgx_system_has_a_dgx_release(tmp_path: Path, built: Path) -> None:
    for name in hardware.names():
        hardware.install(tmp_path / name, name, built)
    assert 'DGX_NAME="DGX Spark"\n' in (tmp_path / "gb10/etc/dgx-release").read_text()
    assert not (tmp_path / "h100x8/etc/dgx-release").exists()


def test_install_does_not_write_through_a_link_out_of_the_root(tmp_path: Path, built: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine", encoding="ascii")
    release = tmp_path / "root/etc/dgx-release"
    release.parent.mkdir(parents=True)
    release.symlink_to(outside)
    hardware.install(tmp_path / "root", "gb10", built)
    assert outside.read_text(encoding="ascii") == "mine"


def test_install_again_is_the_same(tmp_path: Path, built: Path) -> None:
    def tree() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file()}

    hardware.install(tmp_path / "root", "gb10", built)
    first = tree()
    hardware.install(tmp_path / "root", "gb10", built)
    assert tree() == first


def test_the_configuration_space_identifies_the_device() -> None:
    space = machine.configuration_space(0x10DE, 0x2330, 0x030200, (0x10DE, 0x16C1))
    assert len(space) == 256
    assert struct.unpack_from("<HH", space) == (0x10DE, 0x2330)
    assert space[9:12] == bytes([0x00, 0x02, 0x03])  # class 0x030200, lowest byte first
    assert struct.unpack_from("<HH", space, 0x2C) == (0x10DE, 0x16C1)
    assert not space[6] & 0x10  # no list of capabilities is promised


def test_names_of_nvml_functions_are_read_from_a_header() -> None:
    header = "nvmlReturn_t DECLDIR nvmlInit_v2(void);\nnvmlReturn_t DECLDIR nvmlDeviceGetName (nvmlDevice_t d);\n// nvmlNot(x)\n"
    assert hardware.nvml_names(header) == ("nvmlDeviceGetName", "nvmlInit_v2")
