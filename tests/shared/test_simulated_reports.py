"""The simulated nvidia-smi prints what real drivers print: rows, element paths, headers of reference captures.

Values differ, shapes must not. Skipped where the captures are not kept beside the checkout.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.simulation import hardware
from lab.simulation.host import dcgm
from lab.simulation.host.state import parse
from tests.unit.lab.simulated_host import SimulatedHost

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="reference captures are not beside this checkout")

Make = Callable[[str, str], SimulatedHost]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A host of a profile that pretends to run another driver."""
    built = tmp_path_factory.mktemp("built")
    hardware.build(built, None)

    def made(profile: str, version: str) -> SimulatedHost:
        host = SimulatedHost(tmp_path_factory.mktemp(profile) / "root", profile, built)
        host.set(f"driver_version={version}", f"nvml_version={version}")
        return host

    return made


def capture(name: str) -> str:
    """A capture without the line that names its source."""
    text = (SAMPLES / name).read_text(encoding="utf-8")
    return text.partition("\n")[2] if text.startswith("# source") else text


def section(text: str, command: str) -> str:
    """What the first run of a command printed, in a file of several."""
    after = text.partition(f"# $ {command}\n")[2].partition("\n")[2]
    return after.partition("\n####")[0]


def labels(report: str) -> list[str]:
    """The path of every row of the first GPU of a text report, in its order."""
    rows: list[str] = []
    open_labels: list[tuple[int, str]] = []
    body = report.partition("\nGPU 0")[2].partition("\n")[2].partition("\nGPU 0")[0]
    for line in filter(str.strip, body.splitlines()):
        label = re.split(r"\s+: |\s+:$", line)[0]
        depth = len(label) - len(label.lstrip())
        open_labels = [*((at, name) for at, name in open_labels if at < depth), (depth, label.strip())]
        rows.append("/".join(name for _, name in open_labels))
    return rows


def paths(element: ElementTree.Element, at: str = "") -> set[str]:
    """The paths of all elements below one."""
    return {at} | {path for child in element for path in paths(child, f"{at}/{child.tag}")}


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("nvidia-smi/h100-sxm-q-565.57.01-gpu0.txt", "565.57.01"),
        ("health/nvidia_smi_q_text_h100_idle_and_load_590.txt", "590.48.01"),
    ],
)
def test_the_report_has_exactly_the_rows_of_the_real_one(make: Make, name: str, version: str) -> None:
    text = capture(name)
    real = labels(section(text, "nvidia-smi -q") or text)
    assert len(real) > 200
    assert labels(make("h100x8", version).smi("-q").stdout) == real


def test_the_report_begins_and_is_indented_like_the_real_one(make: Make) -> None:
    real = capture("nvidia-smi/h100-sxm-q-565.57.01-gpu0.txt").splitlines()
    ours = make("h100x8", "565.57.01").smi("-q", "-i", "0").stdout.lstrip("\n").splitlines()
    real_columns, our_columns = ([line.find(" : ") for line in lines if " : " in line] for lines in (real, ours))
    assert our_columns == real_columns
    assert ours[0] == real[0]


def test_gb10_has_the_rows_and_the_column_of_its_capture(make: Make) -> None:
    report = make("gb10", "580.178.04").smi("-q").stdout
    for line in filter(str.strip, capture("nvidia-smi/gb10-q-fragment-580.178.04.txt").splitlines()):
        label = line.partition(" : ")[0]
        assert f"\n{label}" in f"\n{report}", label


@pytest.mark.parametrize("name", ["gb10-q-x-fragment-A.xml", "h100-q-x-fragment.xml"])
def test_the_xml_has_every_element_of_a_capture(make: Make, name: str) -> None:
    real = paths(ElementTree.fromstring(capture(f"nvidia-smi/{name}")))
    ours = paths(ElementTree.fromstring(make("h100x8", "575.57.08").smi("-q", "-x").stdout))
    no_process = {path for path in real if path.startswith("/gpu/processes/process_info")}  # nothing runs here
    not_printed = {"/gpu/compute_cap"}  # of newer drivers than those of the captures it stands beside
    assert real - no_process - not_printed <= ours


def test_the_xml_has_every_element_that_health_checks_read(make: Make) -> None:
    real = paths(ElementTree.fromstring(capture("health/SYNTHETIC_nvidia_smi_qx_8xh100_healthy.xml")))
    ours = paths(ElementTree.fromstring(make("h100x8", "590.48.01").smi("-q", "-x").stdout))
    gone_since_580 = {path for path in real if path.startswith("/gpu/gpu_reset_status")}
    assert real - gone_since_580 <= ours


@pytest.mark.parametrize(
    ("name", "profile", "version"),
    [
        ("nvidia-smi/gb10-580.95.05-no-processes.txt", "gb10", "580.95.05"),
        ("nvidia-smi/h100x8-565.57.01.txt", "h100x8", "565.57.01"),
    ],
)
def test_the_table_has_the_frame_of_the_real_one(make: Make, name: str, profile: str, version: str) -> None:
    def frame(text: str) -> list[str]:
        lines = text[text.index("+---") :].splitlines()
        return [re.sub(r" *[0-9A-F]+", "#", line).rstrip() for line in lines]

    assert frame(make(profile, version).smi().stdout) == frame(capture(name))


def test_a_query_of_all_fields_has_the_header_and_the_gaps_of_the_real_one(make: Make) -> None:
    lines = (SAMPLES / "health/nvidia_smi_query_gpu_csv_h100_590.txt").read_text(encoding="utf-8").splitlines()
    command = next(line for line in lines if line.startswith("# $ nvidia-smi --query-gpu="))
    at = next(index for index, line in enumerate(lines) if line.startswith("timestamp, "))
    fields = command.partition("--query-gpu=")[2].split()[0]
    answer = make("h100x8", "590.48.01").smi("-i", "0", f"--query-gpu={fields}", "--format=csv").stdout.splitlines()
    assert answer[0] == lines[at]
    assert len(answer[1].split(", ")) == len(lines[at + 1].split(", "))
    # What the real GPU does not report in a way that a program can read, ours does not either.
    ours, real = (
        [re.sub(r"[\dA-F]+", "#", value) for value in line.split(", ")] for line in (answer[1], lines[at + 1])
    )
    gaps = [
        (field, mine, theirs)
        for field, mine, theirs in zip(fields.split(","), ours, real, strict=True)
        if theirs[:1] == "["
    ]
    assert [gap for gap in gaps if gap[1] != gap[2] and not gap[0].startswith("pcie.link.gen.hostmax")] == []


def test_links_are_listed_like_the_real_ones(make: Make) -> None:
    real = section(capture("health/nvidia_smi_q_text_h100_idle_and_load_590.txt"), "nvidia-smi nvlink -s").rstrip()
    ours = make("h100x8", "590.48.01").smi("nvlink", "-s", "-i", "0").stdout.rstrip()
    assert ours.splitlines()[1:] == real.splitlines()[1:]


def test_the_topology_has_the_columns_and_the_legend_of_the_real_one(make: Make) -> None:
    real = section(capture("health/nvidia_smi_q_text_h100_idle_and_load_590.txt"), "nvidia-smi topo -m").splitlines()
    ours = make("h100x8", "590.48.01").smi("topo", "-m").stdout.splitlines()
    assert ours[0].startswith("\t\033[4mGPU0\t")
    assert ours[0].split("\t")[-3:] == real[0].split("\t")[-3:]
    assert (
        real[real.index("Legend:") : real.index("Legend:") + 9]
        == ours[ours.index("Legend:") : ours.index("Legend:") + 9]
    )


def test_all_queries_of_a_spark_that_were_captured_are_answered_alike(make: Make) -> None:
    host = make("gb10", "580.159.03")
    lines = capture("nvidia-smi/gb10-query-csv-jethac.txt").splitlines()
    asked = [
        (line.split()[2:], lines[index + 1]) for index, line in enumerate(lines) if line.startswith("$ nvidia-smi")
    ]
    assert len(asked) >= 3
    for arguments, real in asked:
        answer = host.smi(*arguments).stdout.strip()
        assert re.sub(r"\d+(?= %|$)", "#", answer) == re.sub(r"\d+(?= %|$)", "#", real)


def test_metrics_have_the_labels_of_the_real_exporter() -> None:
    line = capture("dcgm/h100-dcgm-operator.prom").splitlines()[1]  # a GPU that no pod uses
    values = parse(hardware.render_state(hardware.load("h100x8")))
    ours = next(line for line in dcgm.metrics(values, "host").splitlines() if line.startswith("DCGM_FI_DEV_GPU_TEMP"))
    names = re.compile(r'(\w+)="')
    assert names.findall(ours) == names.findall(line)


def test_gb10_has_the_metrics_that_were_measured() -> None:
    measured = capture("dcgm/gb10-series-measured.txt").partition("NOT EMITTED")[0]
    names = set(re.findall(r"DCGM_FI_DEV_\w+", measured)) | {"DCGM_FI_DEV_DEC_UTIL"}
    values = parse(hardware.render_state(hardware.load("gb10")))
    ours = set(re.findall(r"^(DCGM_FI_\w+)\{", dcgm.metrics(values, "host"), re.MULTILINE))
    assert ours == names


def test_the_diagnostic_has_the_structure_of_a_real_one() -> None:
    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return [shape(value[0])] if isinstance(value, list) else type(value).__name__

    real = json.loads(capture("health/dcgmi_diag_gb10_level1.json"))
    values = parse(hardware.render_state(hardware.load("gb10")))
    values["gpu.0.persistence_mode"] = "Disabled"
    ours, _ = dcgm.diagnostic(values)
    del real["DCGM Diagnostic"]["test_categories"][0]["tests"][0]["test_summary"][
        "info"
    ]  # says that it skipped something
    assert shape(ours) == shape(real)
    warning = real["DCGM Diagnostic"]["test_categories"][0]["tests"][0]["results"][0]["warnings"]
    assert ours["DCGM Diagnostic"]["test_categories"][0]["tests"][0]["results"][0]["warnings"] == warning
