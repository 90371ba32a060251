"""The stand-in is one file that brings its programs along, as k3s is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.k3s_standin import build
from lab.k3s_standin.bundle import MULTICALL_NAMES, PROGRAMS, Bundle, data_dir
from lab.k3s_standin.console import FatalError
from lab.k3s_standin.deploy import COMPONENTS
from lab.k3s_standin.processes import Supervisor
from lab.versions import version

RELEASE = version("k3s")


def programs(folder: Path, text: str = "") -> dict[str, Path]:
    """Shell scripts in place of the programs: each says its name, its arguments and two settings."""
    folder.mkdir(exist_ok=True)
    for name in PROGRAMS:
        path = folder / name
        path.write_text(f'#!/bin/sh\n# {text}\necho "$(basename $0) $* $KUBECONFIG $CONTAINERD_NAMESPACE"\n')
        path.chmod(0o755)
    return {name: folder / name for name in PROGRAMS}


@pytest.fixture
def k3s(tmp_path: Path) -> Path:
    build.build(tmp_path / "k3s", programs(tmp_path / "in"), RELEASE)
    return tmp_path / "k3s"


def run(program: Path, *arguments: str, data: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "K3S_DATA_DIR": str(data or program.parent / "data"),
    }
    return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=False)


def test_the_same_input_gives_the_same_bytes(k3s: Path, tmp_path: Path) -> None:
    build.build(tmp_path / "again", programs(tmp_path / "elsewhere"), RELEASE)
    assert k3s.read_bytes() == (tmp_path / "again").read_bytes()
    assert k3s.stat().st_mode & 0o777 == 0o755


def test_another_program_gives_another_content_hash(k3s: Path, tmp_path: Path) -> None:
    build.build(tmp_path / "other", programs(tmp_path / "in2", "changed"), RELEASE)
    assert Bundle(k3s).manifest["hash"] != Bundle(tmp_path / "other").manifest["hash"]


def test_a_missing_or_unknown_program_is_refused(tmp_path: Path) -> None:
    binaries = programs(tmp_path / "in")
    binaries["tini"] = binaries.pop("runc")
    with pytest.raises(ValueError, match=r"missing \['runc'\], unknown \['tini'\]"):
        build.build(tmp_path / "k3s", binaries, RELEASE)


def test_the_version_says_that_it_is_a_stand_in(k3s: Path) -> None:
    lines = run(k3s, "--version").stdout.splitlines()
    assert lines[0] == f"k3s version {RELEASE} (stand-in)"
    assert lines[1].startswith("go version ")
    assert not (k3s.parent / "data").exists(), "asking for the version extracts nothing"


def test_programs_are_extracted_below_their_content_hash(k3s: Path, tmp_path: Path) -> None:
    bundle = Bundle(k3s)
    folder = bundle.extract(tmp_path / "data")
    assert folder == tmp_path / "data/data" / bundle.manifest["hash"] / "bin"
    assert {path.name for path in folder.iterdir()} == {*PROGRAMS, *MULTICALL_NAMES}
    assert (folder / "kubelet").readlink() == Path("hyperkube")
    assert (tmp_path / "data/data/current").resolve() == folder.parent
    assert (tmp_path / "data/data/cni/bridge").resolve() == folder / "bridge"
    assert os.access(folder / "containerd", os.X_OK)


def test_a_second_start_extracts_nothing(k3s: Path, tmp_path: Path) -> None:
    first = Bundle(k3s).extract(tmp_path / "data") / "etcd"
    before = first.stat().st_mtime_ns
    Bundle(k3s).extract(tmp_path / "data")
    assert first.stat().st_mtime_ns == before


def test_an_upgrade_moves_current_and_keeps_previous(k3s: Path, tmp_path: Path) -> None:
    old = Bundle(k3s).extract(tmp_path / "data").parent
    build.build(tmp_path / "other", programs(tmp_path / "in2", "changed"), RELEASE)
    new = Bundle(tmp_path / "other").extract(tmp_path / "data").parent
    data = tmp_path / "data/data"
    assert (data / "current").resolve() == new != old
    assert (data / "previous").resolve() == old
    assert (data / "cni/portmap").resolve() == new / "bin/portmap"


def test_an_extraction_that_was_cut_short_is_done_again(k3s: Path, tmp_path: Path) -> None:
    bundle = Bundle(k3s)
    rest = tmp_path / "data/data" / f"{bundle.manifest['hash']}-tmp/bin"
    rest.mkdir(parents=True)
    (rest / "kubelet").touch()
    assert (bundle.extract(tmp_path / "data") / "kubelet").is_symlink()
    assert not rest.exists()


def test_processes_that_start_at_once_all_find_every_program(k3s: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: run(k3s, "kubectl", str(number), data=tmp_path / "data"), range(8)))
    assert [result.returncode for result in results] == [0] * 8, [result.stderr for result in results]
    assert [result.stdout.split()[:2] for result in results] == [["kubectl", str(number)] for number in range(8)]


def test_kubectl_and_ctr_get_k3s_defaults_also_by_link(k3s: Path) -> None:
    (k3s.parent / "ctr").symlink_to("k3s")
    assert run(k3s, "kubectl", "get").stdout.split() == ["kubectl", "get", "/etc/rancher/k3s/k3s.yaml", "k8s.io"]
    assert run(k3s.parent / "ctr", "images").stdout.split()[:2] == ["ctr", "images"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("crictl", "ps"), 1, "k3s crictl is not part of the stand-in"),
        (("etcd-snapshot", "save"), 1, "k3s etcd-snapshot is not part of the stand-in"),
        (("bogus",), 3, "No help topic for 'bogus'"),
        (("agent", "--no-such-flag"), 1, "Incorrect Usage: flag provided but not defined: -no-such-flag"),
        (("server", "--config=/nonexistent/k3s.yaml"), 1, "open /nonexistent/k3s.yaml: no such file or directory"),
    ],
)
def test_refusals_have_k3s_exit_status_and_words(
    k3s: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    result = run(k3s, *arguments)
    assert result.returncode == status
    assert message in result.stderr


def test_from_sources_there_are_no_programs() -> None:
    with pytest.raises(FatalError, match="carries no programs"):
        Bundle.running()


def test_clients_use_the_systems_folder_only_as_root() -> None:
    assert data_dir({}, 0) == Path("/var/lib/rancher/k3s")
    assert data_dir({"HOME": "/home/u"}, 1000).name == "k3s"
    assert data_dir({"K3S_DATA_DIR": "/d"}, 0) == Path("/d")


def sleeper(folder: Path) -> Path:
    path = folder / "sleeper"
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    return path


def test_the_end_of_one_child_is_the_end_of_all(tmp_path: Path) -> None:
    supervisor = Supervisor(os.environ["PATH"])
    supervisor.start(sleeper(tmp_path), [])
    supervisor.start(Path("/bin/false"), [])
    with pytest.raises(FatalError, match="false exited: 1"):
        supervisor.wait_until("nothing", lambda: False, timeout_s=10)
    supervisor.stop()
    supervisor.check()


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lab.k3s_standin.processes import Supervisor\n"
        "s = Supervisor('/bin:/usr/bin'); s.start(Path(sys.argv[1]), []); print(s._children[0][1].pid, flush=True); time.sleep(60)"
    )
    root = Path(build.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code, sleeper(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as supervisor:
        assert supervisor.stdout
        child = int(supervisor.stdout.readline())
        supervisor.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while is_alive(child):
        assert time.monotonic() < deadline, "the child outlived its supervisor"
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_every_component_comes_along_with_its_manifest(k3s: Path) -> None:
    for name in COMPONENTS:
        assert "kind: Deployment" in Bundle(k3s).component(name)


def test_the_file_names_the_images_of_what_it_brings_along(k3s: Path) -> None:
    assert Bundle(k3s).manifest["coredns_image"].endswith(f"/coredns:{version('coredns')}")
