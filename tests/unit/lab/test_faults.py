"""The fault catalogue, and the bookkeeping of faults: made once, taken back exactly, known while they are there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.faults import actions, catalogue, cluster, record
from lab.faults.catalogue import Fault, FaultError, Parameter, Way
from lab.faults.handler import Handler
from lab.model import all_hosts, find_host

HARDWARE = """\
schema: 1
faults:
  gpu_lost: {title: A GPU has fallen off the bus, target: gpu}
  row_remap_pending: {title: A row is to be replaced, target: gpu, profiles: [h100x8]}
  hca_down: {title: A port is down, target: hca}
  driver_mismatch: {title: Library and module differ, target: host}
  nvlink_down: {title: An NVLink is down, target: gpu, profiles: [h100x8]}
xids: {79: gone}
"""


class Toy(Handler):
    """Breaks nothing but a set of names."""

    broken: set[tuple[str, str]] = set()  # noqa: RUF012 - one world for all instances
    calls: list[str] = []  # noqa: RUF012
    refuses: str | None = None
    fails = False

    def refusal(self, target):
        return self.refuses

    def apply(self, target):
        self.calls.append(f"apply {target.host.name}")
        if self.fails:
            raise FaultError("half way")
        self.broken.add((target.host.name, self.fault))
        return {"note": self.settings.get("speed", "")}

    def active(self, target, kept):
        return (target.host.name, self.fault) in self.broken

    def undo(self, target, kept):
        self.calls.append(f"undo {target.host.name} {self.fault}")
        self.broken.discard((target.host.name, self.fault))


class Stored(Toy):
    survives_reboot = True


class Outside(Toy):
    survives_reboot = True
    lies_outside = True


class Power(Toy):
    needs_running = False


def fault(name: str, handler: str, **parameters: Parameter) -> Fault:
    way = Way(frozenset(["hardware"]), handler, {"speed": "@rate@"} if parameters else {})
    return Fault(name, f"title of {name}", f"seen as {name}", (way,), parameters)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A lab whose hosts all run, with faults that only note what was done."""
    states = {host.name: "running" for host in all_hosts()}
    known = {
        "toy": fault("toy", "toy"),
        "toy_fast": fault("toy_fast", "toy", rate=Parameter("1", r"\d+", "how fast")),
        "stored": fault("stored", "stored"),
        "outside": fault("outside", "outside"),
        "power": fault("power", "off"),
    }
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    monkeypatch.setattr(record, "FILE", tmp_path / "active.json")
    monkeypatch.setattr("lab.power.states", lambda: states)
    monkeypatch.setattr(actions, "HANDLERS", {"toy": Toy, "stored": Stored, "outside": Outside, "off": Power})
    monkeypatch.setattr(actions, "catalogue", lambda: known)
    monkeypatch.setattr(catalogue, "catalogue", lambda: known)
    monkeypatch.setattr(Toy, "broken", set())
    monkeypatch.setattr(Toy, "calls", [])
    return states


def recorded() -> list[tuple[str, str]]:
    return [(entry.host, entry.fault) for entry in record.entries()]


def test_a_fault_is_made_and_recorded(world):
    assert actions.inject("spark-01", "toy")
    assert recorded() == [("spark-01", "toy")]
    assert ("spark-01", "toy") in Toy.broken


def test_making_it_twice_changes_nothing(world):
    actions.inject("spark-01", "toy")
    assert not actions.inject("spark-01", "toy")
    assert Toy.calls == ["apply spark-01"]


def test_one_that_was_mended_otherwise_can_be_made_again(world):
    actions.inject("spark-01", "toy")
    Toy.broken.clear()
    assert actions.inject("spark-01", "toy")


def test_undo_restores_and_forgets(world):
    actions.inject("spark-01", "toy")
    assert actions.undo("spark-01", "toy")
    assert (Toy.broken, recorded()) == (set(), [])


def test_undo_of_what_is_not_active_says_so(world, capsys):
    assert not actions.undo("spark-01", "toy")
    assert "toy is not active on spark-01" in capsys.readouterr().err
    assert Toy.calls == []


def test_undo_says_when_something_else_was_quicker(world, capsys):
    actions.inject("spark-01", "toy")
    Toy.broken.clear()
    assert actions.undo("spark-01", "toy")
    assert "something else had taken it back" in capsys.readouterr().err


def test_all_faults_are_taken_back_the_last_first(world):
    actions.inject("spark-01", "toy")
    actions.inject("onyx-g1", "toy")
    Toy.calls.clear()
    actions.undo_all()
    assert Toy.calls == ["undo onyx-g1 toy", "undo spark-01 toy"]


def test_only_one_host_s_faults_can_be_taken_back(world):
    actions.inject("spark-01", "toy")
    actions.inject("onyx-g1", "toy")
    actions.undo_all("onyx-g1")
    assert recorded() == [("spark-01", "toy")]


def test_a_host_that_cannot_have_it_is_refused_with_those_that_can(world):
    with pytest.raises(
        FaultError, match=r"calypso cannot have toy, which needs a host with hardware: spark-01, onyx-g1"
    ):
        actions.inject("calypso", "toy")


def test_a_refusal_leaves_no_record(world, monkeypatch):
    monkeypatch.setattr(Toy, "refuses", "its unit is not installed")
    with pytest.raises(FaultError, match="its unit is not installed"):
        actions.inject("spark-01", "toy")
    assert recorded() == []


def test_one_that_fails_half_way_is_taken_back(world, monkeypatch):
    monkeypatch.setattr(Toy, "fails", True)
    with pytest.raises(FaultError, match="half way"):
        actions.inject("spark-01", "toy")
    assert (Toy.calls[-1], recorded()) == ("undo spark-01 toy", [])


def test_one_that_can_neither_be_made_nor_taken_back_stays_known(world, monkeypatch):
    monkeypatch.setattr(Toy, "fails", True)
    monkeypatch.setattr(Toy, "undo", lambda self, target, _kept: self.apply(target))
    with pytest.raises(FaultError, match="half way"):
        actions.inject("spark-01", "toy")
    assert recorded() == [("spark-01", "toy")]


def test_a_host_that_does_not_exist_yet_is_refused_with_the_command(world):
    del world["spark-01"]
    with pytest.raises(FaultError, match=r"`make lab SYSTEM=spark` boots it"):
        actions.inject("spark-01", "toy")


def test_a_host_that_is_off_by_a_fault_is_refused_with_that_fault(world):
    actions.inject("spark-01", "power")
    world["spark-01"] = "exited"
    with pytest.raises(FaultError, match=r"spark-01 is exited: .*FAULT=power UNDO=1"):
        actions.inject("spark-01", "toy")


def test_a_host_that_is_off_can_be_switched_on_again(world):
    actions.inject("spark-01", "power")
    world["spark-01"] = "exited"
    assert actions.undo("spark-01", "power")


def test_a_fault_keeps_its_host_off_until_it_is_taken_back(world):
    assert not actions.keeps_off("spark-01")
    actions.inject("spark-01", "power")
    assert actions.keeps_off("spark-01")
    actions.undo("spark-01", "power")
    assert not actions.keeps_off("spark-01")


def test_a_restart_ends_what_was_only_running(world):
    for name in ("toy", "stored", "outside"):
        actions.inject("spark-01", name)
    Toy.calls.clear()
    actions.after_start("spark-01")
    assert recorded() == [("spark-01", "stored"), ("spark-01", "outside")]
    # Its cable was made anew with the start.
    assert Toy.calls == ["apply spark-01"]


def test_a_restart_of_another_host_ends_nothing(world):
    actions.inject("spark-01", "toy")
    actions.after_start("onyx-g1")
    assert recorded() == [("spark-01", "toy")]


def test_parameters_reach_the_handler_and_the_record(world):
    actions.inject("spark-01", "toy_fast", ["rate=7"])
    (entry,) = record.entries()
    assert (entry.parameters, entry.kept) == ({"rate": "7"}, {"note": "7"})


def test_other_parameters_need_an_undo_first(world):
    actions.inject("spark-01", "toy_fast", ["rate=7"])
    with pytest.raises(FaultError, match="rate=7: undo it first"):
        actions.inject("spark-01", "toy_fast", ["rate=8"])


@pytest.mark.parametrize(
    ("argument", "message"),
    [("rate=fast", "how fast"), ("raet=1", "did you mean rate"), ("rate", "KEY=VALUE is expected")],
)
def test_a_wrong_parameter_is_refused(world, argument, message):
    with pytest.raises(FaultError, match=message):
        actions.inject("spark-01", "toy_fast", [argument])


def test_an_unknown_fault_is_refused_with_near_names(world):
    with pytest.raises(FaultError, match="did you mean stored"):
        actions.inject("spark-01", "stord")


def test_listing_tells_what_is_there_from_what_is_gone(world):
    actions.inject("spark-01", "toy")
    actions.inject("onyx-g1", "toy")
    Toy.broken.discard(("onyx-g1", "toy"))
    states = {entry["host"]: entry["state"] for entry in actions.listing()["active"]}
    assert states == {"spark-01": "active", "onyx-g1": "gone"}


def test_listing_does_not_guess_about_a_host_that_is_off(world):
    actions.inject("spark-01", "toy")
    world["spark-01"] = "exited"
    assert [entry["state"] for entry in actions.listing()["active"]] == ["unknown"]


def test_table_names_every_fault_and_what_is_active(world):
    actions.inject("spark-01", "toy_fast")
    table = actions.active_table(actions.listing())
    assert all(name in table for name in ("toy", "stored", "outside"))
    assert re.search(r"active: toy_fast on spark-01 since \S+ rate=1$", table)


def test_whoever_runs_the_lab_is_told_of_faults(world, capsys):
    actions.inject("spark-01", "toy")
    capsys.readouterr()
    actions.warn()
    assert "make lab-fault HOST=spark-01 FAULT=toy UNDO=1" in capsys.readouterr().err


# ---- The catalogue itself ----


def test_catalogue_is_valid_and_every_fault_has_a_host():
    faults, _seen = catalogue.read(catalogue.FILE)
    assert [name for name, entry in faults.items() if not entry.hosts(all_hosts())] == []


def test_every_handler_of_the_schema_exists_and_is_used():
    faults, _seen = catalogue.read(catalogue.FILE)
    used = {way.handler for entry in faults.values() for way in entry.ways} | {"hardware"}
    assert used == set(actions.HANDLERS)


def test_defaults_of_parameters_match_their_patterns():
    faults, _seen = catalogue.read(catalogue.FILE)
    for entry in faults.values():
        assert all(re.fullmatch(each.pattern, each.default) for each in entry.parameters.values()), entry.name


def test_every_parameter_is_used():
    faults, _seen = catalogue.read(catalogue.FILE)
    programs = "".join(path.read_text() for path in (Path(catalogue.__file__).parent / "programs").iterdir())
    for entry in faults.values():
        texts = programs + "".join(text for way in entry.ways for text in way.settings.values())
        assert all(f"@{name}@" in texts for name in entry.parameters), entry.name


def test_a_catalogue_with_an_unknown_handler_is_refused(tmp_path):
    document = yaml.safe_load(catalogue.FILE.read_text())
    document["faults"]["host_down"]["ways"][0]["handler"] = "hammer"
    broken = tmp_path / "faults.yml"
    broken.write_text(yaml.safe_dump(document))
    with pytest.raises(FaultError, match=r"faults\.yml: faults\.host_down\.ways\.0\.handler: 'hammer'"):
        catalogue.read(broken)


SEEN = {
    "gpu_lost": {"gb10": "BG-GPU-014", "h100x8": "BG-GPU-001"},
    **dict.fromkeys(("row_remap_pending", "xid_79", "hca_down", "driver_mismatch", "nvlink_down"), "BG-HEALTH-001"),
}


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("gpu_lost", ["spark-01", "onyx-g1", "spark-02", "spark-03"]),
        ("row_remap_pending", ["onyx-g1"]),
        ("xid_79", ["spark-01", "onyx-g1", "spark-02", "spark-03"]),
    ],
)
def test_hardware_faults_are_on_the_hosts_with_that_hardware(tmp_path, name, hosts):
    file = tmp_path / "hardware.yml"
    file.write_text(HARDWARE)
    assert catalogue.hardware(file, SEEN)[name].hosts(all_hosts()) == hosts


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("gpu_lost", {"gpu"}), ("hca_down", {"hca"}), ("driver_mismatch", set()), ("nvlink_down", {"gpu", "link"})],
)
def test_hardware_faults_are_aimed_as_that_hardware_says(tmp_path, name, parameters):
    file = tmp_path / "hardware.yml"
    file.write_text(HARDWARE)
    assert set(catalogue.hardware(file, SEEN)[name].parameters) == parameters


def test_what_is_seen_of_a_hardware_fault_may_differ_by_profile(tmp_path):
    file = tmp_path / "hardware.yml"
    file.write_text(HARDWARE)
    lost = catalogue.hardware(file, SEEN)["gpu_lost"]
    assert lost.seen_as == "gb10: BG-GPU-014; h100x8: BG-GPU-001"
    assert {way.seen_as for way in lost.ways} == {"BG-GPU-014", "BG-GPU-001"}


@pytest.mark.parametrize("change", [{"gpu_lost": None}, {"ghost": "BG-GPU-001"}])
def test_a_hardware_fault_of_which_nothing_is_said_is_refused(tmp_path, change):
    file = tmp_path / "hardware.yml"
    file.write_text(HARDWARE)
    seen = {name: text for name, text in {**SEEN, **change}.items() if text is not None}
    with pytest.raises(FaultError, match=rf"hardware_seen_as differs from hardware\.yml in {next(iter(change))}"):
        catalogue.hardware(file, seen)


def test_no_two_catalogues_have_a_fault_of_one_name():
    faults, seen = catalogue.read(catalogue.FILE)
    hardware = catalogue.hardware(catalogue.HARDWARE, seen) if catalogue.HARDWARE.exists() else {}
    assert set(faults) & set(hardware) == set()


@given(st.text(max_size=12), st.lists(st.text(min_size=1, max_size=12), max_size=8))
def test_a_hint_never_invents_a_name(name: str, known: list[str]) -> None:
    hint = catalogue.or_these(name, known)
    assert hint == "" or any(other in hint for other in known)


@given(st.dictionaries(st.sampled_from(["rate", "delay"]), st.from_regex(r"[0-9a-z]{0,6}", fullmatch=True)))
def test_settings_take_every_chosen_value(chosen: Mapping[str, str]) -> None:
    settings = {key: f"<@{key}@>" for key in ("rate", "delay")}
    assert actions.filled(settings, chosen) == {
        key: f"<{chosen[key]}>" if key in chosen else f"<@{key}@>" for key in settings
    }


# ---- What keeps pods away ----


def test_policy_is_about_one_workload_on_one_node():
    rules, binding = cluster.policy("name", "nvidia-device-plugin", "spark-01", "plugin_down")
    (condition,) = rules["spec"]["matchConditions"]
    (validation,) = rules["spec"]["validations"]
    assert "== 'nvidia-device-plugin'" in condition["expression"]
    assert "'spark-01' in match.values" in validation["expression"]
    assert binding["spec"] == {"policyName": "name", "validationActions": ["Deny"]}


# ---- Hosts by name ----


def test_an_unknown_host_is_refused_with_near_names():
    with pytest.raises(RuntimeError, match=r"no lab host is called sprak-01: did you mean spark-01"):
        find_host("sprak-01")


def test_an_unknown_host_without_near_names_is_refused_with_all():
    with pytest.raises(RuntimeError, match=r"there are mirror, calypso, spark-01, onyx-m1, onyx-g1"):
        find_host("zzz")
