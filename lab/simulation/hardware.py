"""Simulated GPU hardware for lab hosts: compile the stand-ins once, give each host what its driver packages would have brought.

`build()` compiles `src/`; `install()` writes a profile's hardware into a host's root file system before its first boot.
What each stand-in does and does not do is in README.md.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lab.simulation import faults
from lab.simulation import profile as profiles
from lab.simulation.profile import GPU_VALUES, HCA_VALUES, Profile, ProfileError, Scalar, load, names

__all__ = [
    "PROGRAMS",
    "STAND_INS",
    "BuildError",
    "Profile",
    "ProfileError",
    "build",
    "install",
    "load",
    "names",
    "nvml_names",
    "render_state",
]

SOURCES = Path(__file__).parent / "src"
HOST = Path(__file__).parent / "host"

STAND_INS = (
    "nvml",
    "nvidia-smi",
    "nvidia-driver",
    "pci",
    "infiniband",
    "dmi",
    "mps-control",
    "libcuda",
    "device-nodes",
    "proc-driver",
    "kernel-log",
    "dcgm",
)
"""What of a host is simulated, as its marker file and every verdict name it."""

LIBRARIES = {
    "libnvidia-ml.so.1": (
        "simulated_nvml.c",
        "simulated_nvml_device.c",
        "simulated_nvml_readings.c",
        "simulated_nvml_links.c",
        "simulated_nvml_mig.c",
        "simulated_hardware.c",
        "simulated_mig.c",
    ),
    "libcuda.so.1": ("simulated_cuda.c",),
}
PROGRAMS = {
    "nvidia-smi": (
        "nvidia_smi.c",
        "smi_value.c",
        "smi_table.c",
        "smi_csv.c",
        "smi_report.c",
        "smi_mig.c",
        "smi_topology.c",
        "smi_modify.c",
        "simulated_hardware.c",
        "simulated_mig.c",
    ),
    "nvidia-cuda-mps-control": ("mps_control.c",),
    "nvidia-cuda-mps-server": ("mps_server.c",),
}
HELPERS = {"simulated-kmsg": ("simulated_kmsg.c",)}
"""Programs that no real host has."""
UNITS = {
    "simulated-hardware.service": "sysinit.target",
    "simulated-kmsg.service": "sysinit.target",
    "simulated-driver.socket": "sockets.target",
    "simulated-driver@.service": None,
    "simulated-dcgm-exporter.service": None,
}
"""Units of a host and what wants them; None: nobody, so they are off until somebody asks."""

PACKAGE = "usr/local/lib/simulated-hardware/simulated_hardware"
"""Where the Python package of the folder `host` lies on a host."""
ENTRIES = {
    "usr/local/sbin/simulated-hardware": "command",
    "usr/local/bin/dcgmi": "dcgmi",
    "usr/local/libexec/simulated-dcgm-exporter": "dcgm_exporter",
}
"""Programs of that package and the module whose main() each runs."""
_STRICT = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")

_NVML_DECLARATION = re.compile(r"\bDECLDIR\s+(nvml\w+)\s*\(")
_NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED


class BuildError(RuntimeError):
    """The compiler refused a stand-in; the message is the compiler's."""


def nvml_names(header: str) -> tuple[str, ...]:
    """The functions that the text of an `nvml.h` declares, sorted. Only names are taken from it."""
    return tuple(sorted(set(_NVML_DECLARATION.findall(header))))


def render_stubs(functions: Iterable[str]) -> str:
    """C source that answers NOT_SUPPORTED for each function, unless the stand-in defines it."""
    stubs = "".join(
        f'int {name}(void) __attribute__((weak, alias("simulated_not_supported")));\n' for name in functions
    )
    return (
        "/* Generated: NVML functions that the stand-in does not know. */\n"
        f"int simulated_not_supported(void);\nint simulated_not_supported(void) {{ return {_NOT_SUPPORTED}; }}\n{stubs}"
    )


def build(out: Path, nvml_header: Path | None) -> None:
    """Compile all stand-ins into the folder `out`, for the machine's own architecture.

    `nvml_header` is the `nvml.h` whose functions the library must have, because programs that link against NVML look
    up every name; without it only the simulated functions exist. Raises BuildError when something does not compile.
    """
    out.mkdir(parents=True, exist_ok=True)
    functions = nvml_names(nvml_header.read_text(encoding="utf-8")) if nvml_header else ()
    if nvml_header and not functions:
        raise BuildError(f"{nvml_header} declares no NVML function")
    with tempfile.TemporaryDirectory() as scratch:
        stubs = Path(scratch) / "nvml_stubs.c"
        stubs.write_text(render_stubs(functions), encoding="ascii")
        for name, sources in LIBRARIES.items():
            extra = [stubs] if name.startswith("libnvidia-ml") else []
            _compile(
                out / name, [SOURCES / source for source in sources] + extra, "-fPIC", "-shared", f"-Wl,-soname,{name}"
            )
    for name, sources in {**PROGRAMS, **HELPERS}.items():
        _compile(out / name, [SOURCES / source for source in sources], "-static", "-s")


def _compile(target: Path, sources: Iterable[Path], *options: str) -> None:
    command = [os.environ.get("CC", "gcc"), *_STRICT, *options, "-o", str(target), *map(str, sources)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildError(f"{target.name} does not compile:\n{result.stderr}")


def _text(value: Scalar) -> str:
    return "" if value is None else str(value)


def render_state(profile: Profile) -> str:
    """The state file of a host: what its libnvidia-ml and nvidia-smi answer. The format is in src/simulated_hardware.h."""
    lines = [
        # ldconfig looks at every lib*.so.*; with these words in it, a file that is no library is passed over in silence.
        f"# SIMULATED hardware ({profile.name}: {profile.title}). Not a library, nor a GNU ld script.",
        "# Change it in place (simulated-hardware set KEY=VALUE), so that containers that mount it see the change.",
        f"profile={profile.name}",
        f"driver_version={profile.driver.version}",
        f"nvml_version={profile.driver.version}",
        f"cuda_version={profile.driver.cuda_version}",
        f"dcgm_version={profile.driver.dcgm_version}",
        f"dcgm_former_version={profile.driver.dcgm_former_version}",
        f"gpu_count={len(profile.gpus)}",
        *_device_lines("gpu", profile.gpu, profile.gpus),
        f"hca_count={len(profile.hcas)}",
        *_device_lines("hca", profile.hca, profile.hcas),
        f"mig.profiles={','.join(str(kind.id) for kind in profile.mig)}",
        *(
            f"mig.profile.{kind.id}.{name}={value}"
            for kind in profile.mig
            for name, value in asdict(kind).items()
            if name != "id"
        ),
        "complete=yes",
    ]
    return "\n".join(lines) + "\n"


def _device_lines(kind: str, shared: Mapping[str, Scalar], devices: Sequence[Mapping[str, Scalar]]) -> list[str]:
    lines = [f"{kind}.*.{name}={_text(value)}" for name, value in shared.items()]
    return lines + [
        f"{kind}.{index}.{name}={_text(value)}"
        for index, device in enumerate(devices)
        for name, value in device.items()
    ]


def render_machine(profile: Profile) -> str:
    """What the host's programs need besides the state file: DMI, the driver, the names of values. JSON."""
    data = {
        "profile": profile.name,
        "driver": {"version": profile.driver.version, "module": profile.driver.module},
        "dmi": dict(profile.dmi),
        "value_names": {"gpu": sorted(GPU_VALUES), "hca": sorted(HCA_VALUES)},
    }
    return json.dumps(data, indent=1) + "\n"


def render_entry(module: str) -> str:
    """A program of the host's Python package."""
    folder = Path("/", PACKAGE).parent
    return (
        f"#!/usr/bin/python3 -I\n# SIMULATED hardware of a lab host; see {folder}.\n"
        f"import sys\n\nsys.path.insert(0, {str(folder)!r})\n"
        f"from simulated_hardware.{module} import main\n\nsys.exit(main(sys.argv[1:]))\n"
    )


def render_dgx_release(profile: Profile) -> str | None:
    """/etc/dgx-release, or None for a machine that is no DGX system."""
    if profile.dgx_release is None:
        return None
    blocks = [profile.dgx_release.factory, *profile.dgx_release.updates]
    return "\n".join("".join(f'{name}="{value}"\n' for name, value in block.items()) for block in blocks)


def library_folder() -> str:
    """Where the host's distribution keeps libraries of this machine's architecture, relative to the root."""
    return f"usr/lib/{platform.machine()}-linux-gnu"


def state_file(profile: Profile) -> str:
    """The state file's path, relative to the root. Its name lets the real CDI generator mount it into containers."""
    return f"{library_folder()}/libnvidia-simulated-hardware.so.{profile.driver.version}"


def install(root: Path, profile_name: str, built: Path) -> Profile:
    """Give the host whose root file system is `root` the hardware of a profile; `built` is the folder made by build().

    Writes only below `root`, which may be an empty overlay layer, and replaces files instead of writing through links
    that it finds. The boot service does what needs a running host. Raises ProfileError for a profile that is missing or wrong.
    """
    profile = profiles.load(profile_name)
    libraries = root / library_folder()
    for soname in LIBRARIES:
        versioned = f"{soname.removesuffix('.1')}.{profile.driver.version}"
        _copy(built / soname, libraries / versioned, 0o644)
        _link(libraries / soname, versioned)
    for program in PROGRAMS:
        _copy(built / program, root / "usr/bin" / program, 0o755)
    _write(root / state_file(profile), render_state(profile))
    _write(root / "etc/baremetal-gpu/simulated.json", json.dumps({"stand_ins": list(STAND_INS)}) + "\n")
    _write(root / "etc/baremetal-gpu/simulated-hardware.json", render_machine(profile))
    _write(root / "etc/baremetal-gpu/simulated-faults.json", faults.render())
    _write(root / Path(PACKAGE).parent / "initial-state", render_state(profile))
    for module in HOST.glob("*.py"):
        _copy(module, root / PACKAGE / module.name, 0o644)
    for path, module_name in ENTRIES.items():
        _write(root / path, render_entry(module_name), 0o755)
    for helper in HELPERS:
        _copy(built / helper, root / "usr/local/libexec" / helper, 0o755)
    for unit, wanted_by in UNITS.items():
        _copy(HOST / unit, root / "etc/systemd/system" / unit, 0o644)
        if wanted_by:
            _link(root / f"etc/systemd/system/{wanted_by}.wants" / unit, f"../{unit}")
    dgx_release = render_dgx_release(profile)
    if dgx_release is not None:
        _write(root / "etc/dgx-release", dgx_release)
    return profile


def _fresh(path: Path) -> Path:
    """A path where nothing is yet, in a folder that exists: an absolute link left there would lead out of the root."""
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
    path.unlink(missing_ok=True)
    return path


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    _fresh(path).write_text(text, encoding="utf-8")
    path.chmod(mode)


def _copy(source: Path, path: Path, mode: int) -> None:
    shutil.copyfile(source, _fresh(path))
    path.chmod(mode)


def _link(path: Path, target: str) -> None:
    _fresh(path).symlink_to(target)
