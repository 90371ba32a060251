"""The journal of a node's changes on the controller's disk, and the driver that carries a change out with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import Do, Entry, Outcome, Result, Settings
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import drive, opened

ENTRY = Entry("a", machine.CHANGE, machine.DONE, {"boot_id": "b1"})


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    for count in (0, 1, 2):
        with opened(tmp_path / "journals", "n1") as journal:
            assert journal.entries == [ENTRY] * count
            journal.append(ENTRY)


@pytest.mark.parametrize("cut", [b"{", b'{"holder": "a", "step": "lo', b'{"data": {}, "holder": "b"}'])
def test_a_line_that_a_crash_cut_short_is_dropped_and_not_joined_with_the_next(tmp_path: Path, cut: bytes) -> None:
    with opened(tmp_path, "n1") as journal:
        journal.append(ENTRY)
    with (tmp_path / "n1.jsonl").open("ab") as file:
        file.write(cut)
    with opened(tmp_path, "n1") as journal:
        assert journal.entries == [ENTRY]
        journal.append(ENTRY)
    with opened(tmp_path, "n1") as journal:
        assert journal.entries == [ENTRY, ENTRY]


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b'{"holder": "a"}\n', b"\xff\n"])
def test_a_whole_line_that_is_no_entry_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "n1.jsonl").write_bytes(line)
    with pytest.raises(GpuError, match="BG-CHANGE-114"), opened(tmp_path, "n1"):
        pass


def test_a_journal_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path, "n1"):
        with pytest.raises(GpuError, match="BG-CHANGE-115"), opened(tmp_path, "n1"):
            pass
        with opened(tmp_path, "n2") as other:
            assert other.entries == []


class Memory:
    """What a cluster answers, kept in memory."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {machine.SLOT: {}, machine.CLAIM: machine.Node(), machine.LOCK: None}

    def answer(self, request: Any) -> Any:
        if isinstance(request, machine.Now):
            return 0.0
        if isinstance(request, machine.Read):
            return machine.Versioned(self.values[request.what], "1")
        self.values[request.what] = request.value
        return True


def run(directory: Path, cluster: Memory, elsewhere: str = "") -> Result | Do:
    """One run of a change of n1, which is left off at the step that is done elsewhere."""
    with opened(directory, "n1") as journal:
        holder = machine.holder_of(journal.entries) or "a"
        change = machine.NodeChange("n1", holder, journal.entries, Settings()).run()
        return drive(change, journal, cluster.answer, lambda step: None if step.step == elsewhere else Outcome())


def test_a_change_is_carried_out_and_its_journal_ends_it(tmp_path: Path) -> None:
    assert run(tmp_path, Memory()) == Result(machine.STEPS, out=False)
    with opened(tmp_path, "n1") as journal:
        assert machine.unfinished(journal.entries) == ()


def test_a_change_that_is_left_off_for_a_step_elsewhere_goes_on_from_there(tmp_path: Path) -> None:
    cluster = Memory()
    assert run(tmp_path, cluster, elsewhere=machine.CHANGE) == Do(machine.CHANGE)
    assert cluster.values[machine.CLAIM].claim == machine.Claim("a", False)
    result = run(tmp_path, cluster)
    assert isinstance(result, Result)
    assert (result.error, cluster.values[machine.CLAIM]) == (None, machine.Node())
