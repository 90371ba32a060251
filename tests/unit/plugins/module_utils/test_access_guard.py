"""Whatever dies at whatever step, the way back puts back what was, or the change was confirmed as a whole."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import access_guard as guard
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard import Change, File
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard_host import Guard
from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed, run
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

SETTINGS, NEW, GONE, LASTING = "/etc/settings", "/etc/folder/new", "/etc/gone", "/etc/lasting"
IDENTIFIER = "0123abcd"

# Stands for systemctl where the test has none: every call is kept, and a timer that was started is active.
SYSTEMCTL = '#!/bin/sh\necho "$*" >> "$CALLS"\n[ "$1" != show ] || echo "${TIMER_STATE-active}"\n'


class Killed(BaseException):
    """The process died here: nothing of it runs any more, not even what would tidy up."""


class Host:
    """A host below a folder, with what a change may touch, and a record of what was loaded."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        (root / "run/systemd/system").mkdir(parents=True)
        (root / "bin").mkdir()
        (root / "bin/systemctl").write_text(SYSTEMCTL, encoding="utf-8")
        (root / "bin/systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{root / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("CALLS", str(root / "calls"))
        self.write(SETTINGS, "before\n", 0o640)
        self.write(GONE, "was here\n")
        self.write("/loaded", "before")
        self.change = Change(
            name="a test's settings",
            files=(File(SETTINGS, "after\n", 0o600), File(NEW, "new\n"), File(GONE)),
            activate=(("cp", "{armed}/wanted", str(root / "loaded")),),
            lasting=(File(LASTING, "lasting\n"), File("/etc/link", link="/etc/lasting")),
            persist=(("systemctl", "daemon-reload"),),
            restore=(("cp", "{armed}/former", str(root / "loaded")),),
            materials={"wanted": "after", "former": "before"},
        )

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        full = self.root / path.lstrip("/")
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text, encoding="utf-8")
        full.chmod(mode)

    def state(self) -> dict[str, object]:
        """Everything that a change may have touched."""
        seen: dict[str, object] = {}
        for folder in ("etc", "loaded"):
            for path in sorted([self.root / folder, *(self.root / folder).rglob("*")]):
                if path.is_symlink():
                    seen[str(path)] = str(path.readlink())
                elif path.is_file():
                    seen[str(path)] = (path.read_text(encoding="utf-8"), path.stat().st_mode)
        return seen

    def guard(self, before: Callable[[list[str]], None] = lambda words: None) -> Guard:
        def bounded(words: list[str], timeout_s: float) -> Completed:
            before(words)
            return run(words, timeout_s)

        return Guard(bounded, str(self.root))

    def timer_fires(self) -> int:
        """What systemd does when the time has come, or at boot: nothing without the script."""
        path = self.root / guard.SCRIPT.lstrip("/")
        return subprocess.run(["/bin/sh", str(path)], check=False, timeout=30).returncode if path.exists() else 0

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_confirmed_change_stays_and_leaves_no_timer(host: Host) -> None:
    host.guard().arm_and_apply(host.change, IDENTIFIER, 60)
    assert (host.root / "etc/settings").read_text(encoding="utf-8") == "after\n"
    assert not (host.root / "etc/lasting").exists(), "nothing lasts before it is confirmed"
    host.guard().confirm(IDENTIFIER)
    assert (host.root / "etc/lasting").read_text(encoding="utf-8") == "lasting\n"
    assert not (host.root / "etc/gone").exists()
    assert list((host.root / "etc/systemd").rglob("*rollback*")) == []
    assert host.guard().pending() is None
    assert host.timer_fires() == 0
    assert (host.root / "loaded").read_text(encoding="utf-8") == "after"


def test_timers_are_enabled_and_started_before_anything_is_applied(host: Host) -> None:
    seen: list[str] = []

    def look(words: list[str]) -> None:
        if words[0] == "cp" and words[1].endswith("/wanted"):
            seen.extend(host.calls())
            for name in (guard.TIMER, guard.BOOT_TIMER):
                assert (host.root / f"etc/systemd/system/timers.target.wants/{name}").is_symlink()

    host.guard(look).arm_and_apply(host.change, IDENTIFIER, 60)
    assert f"restart {guard.TIMER}" in seen
    assert not any(guard.BOOT_TIMER in call for call in seen), "it would elapse at once"


def test_timers_count_on_the_monotonic_clock_only() -> None:
    for unit in (guard.timer_unit(60), guard.boot_timer_unit()):
        assert "OnCalendar" not in unit
    assert "OnActiveSec=60\n" in guard.timer_unit(60)
    assert "OnBootSec=1\n" in guard.boot_timer_unit()


@pytest.mark.parametrize("confirms", [False, True])
def test_whoever_dies_at_any_step_leaves_the_former_state_or_the_whole_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confirms: bool
) -> None:
    """Steps are the calls of programs, and the changes of files between them."""
    outcomes = set()
    for step in range(60):
        host = Host(tmp_path / str(step), monkeypatch)
        before = host.state()
        left = [step]
        with monkeypatch.context() as patched:
            _dies_after(patched, left)

            def countdown(words: list[str], left: list[int] = left) -> None:
                _count(left)

            try:
                host.guard(countdown).arm_and_apply(host.change, IDENTIFIER, 60)
                applied = host.state()
                if confirms:
                    host.guard(countdown).confirm(IDENTIFIER)
            except Killed:
                died = True
            else:
                died = False
        confirmed = confirms and not (host.root / guard.ARMED.lstrip("/")).is_dir() and "after" in str(host.state())
        assert host.timer_fires() == 0
        own = {path: value for path, value in host.state().items() if "baremetal-gpu-access" not in path}
        if confirmed:
            assert own[str(host.root / "etc/lasting")][0] == "lasting\n"  # type: ignore[index]
            assert own[str(host.root / "etc/settings")] == applied[str(host.root / "etc/settings")]
        else:
            assert {path: value for path, value in own.items() if not path.endswith((".draft", ".put-back"))} == before
        # Nobody is kept out for ever: the next run can arm, or the change that was confirmed is there.
        host.guard().arm_and_apply(host.change, "next", 60)
        outcomes.add((died, confirmed))
        if not died:
            break
    else:
        pytest.fail("the change never came to its end")
    assert (True, False) in outcomes
    assert (False, confirms) in outcomes


def _count(left: list[int]) -> None:
    if left[0] == 0:
        raise Killed
    left[0] -= 1


def _dies_after(patched: pytest.MonkeyPatch, left: list[int]) -> None:
    """Every replacement, removal and renaming of files is a step, too."""
    for name in ("replace", "unlink", "rename", "symlink"):
        real = getattr(os, name)

        def counted(*arguments: object, real: Callable[..., None] = real, **options: object) -> None:
            _count(left)
            real(*arguments, **options)

        patched.setattr(os, name, counted)


def test_way_back_that_was_cut_short_goes_on_when_it_is_run_again(host: Host) -> None:
    before = host.state()
    host.guard().arm_and_apply(host.change, IDENTIFIER, 60)
    script = host.root / guard.SCRIPT.lstrip("/")
    whole = script.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith("    put_back"))
    last = next(number for number, line in enumerate(lines) if line == "fi\n")
    for number in range(first, last + 1):
        script.write_text("".join([*lines[:number], "fi\nexit 9\n"]), encoding="utf-8")
        assert host.timer_fires() == 9
    script.write_text(whole, encoding="utf-8")
    assert host.timer_fires() == 0
    assert {path: value for path, value in host.state().items() if "baremetal" not in path} == before


def test_change_that_fails_in_the_middle_is_taken_back_at_once(host: Host) -> None:
    before = host.state()
    broken = Change(
        name=host.change.name,
        files=host.change.files,
        activate=(*host.change.activate, ("false",)),
        restore=host.change.restore,
        materials=host.change.materials,
    )
    with pytest.raises(GpuError) as refused:
        host.guard().arm_and_apply(broken, IDENTIFIER, 60)
    assert refused.value.code == "BG-ACCESS-121"
    assert host.state() == before
    assert host.guard().last_rolled_back() == host.change.name
    assert host.guard().pending() is None


def test_second_controller_is_refused_and_changes_nothing(host: Host) -> None:
    host.guard().arm_and_apply(host.change, IDENTIFIER, 60)
    applied = host.state()
    with pytest.raises(GpuError) as refused:
        host.guard().arm_and_apply(host.change, "another", 60)
    assert refused.value.code == "BG-ACCESS-105"
    with pytest.raises(GpuError):
        host.guard().confirm("another")
    assert host.guard().roll_back("another") is False
    assert host.state() == applied
    host.guard().confirm(IDENTIFIER)


def test_confirmation_after_the_host_took_the_change_back_is_refused(host: Host) -> None:
    before = host.state()
    host.guard().arm_and_apply(host.change, IDENTIFIER, 60)
    assert host.timer_fires() == 0
    with pytest.raises(GpuError) as refused:
        host.guard().confirm(IDENTIFIER)
    assert refused.value.code == "BG-ACCESS-122"
    assert host.state() == before


def test_nothing_is_changed_where_the_timer_does_not_start(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.state()
    monkeypatch.setenv("TIMER_STATE", "failed")
    with pytest.raises(GpuError) as refused:
        host.guard().arm_and_apply(host.change, IDENTIFIER, 60)
    assert refused.value.code == "BG-ACCESS-110"
    assert host.state() == before
    assert host.guard().pending() is None


def test_host_without_systemd_is_refused(host: Host) -> None:
    (host.root / "run/systemd/system").rmdir()
    with pytest.raises(GpuError) as refused:
        host.guard().arm_and_apply(host.change, IDENTIFIER, 60)
    assert refused.value.code == "BG-ACCESS-110"


def test_way_back_that_cannot_load_what_was_is_told_and_stays_armed(host: Host) -> None:
    change = Change(name="x", files=host.change.files, restore=(("false",),))
    host.guard().arm_and_apply(change, IDENTIFIER, 60)
    with pytest.raises(GpuError) as refused:
        host.guard().roll_back(IDENTIFIER)
    assert refused.value.code == "BG-ACCESS-123"
    assert host.guard().pending() is not None
    assert (host.root / "etc/settings").read_text(encoding="utf-8") == "before\n"


def test_folders_that_commands_write_come_back_as_they_were(host: Host) -> None:
    host.write("/etc/zones/public.xml", "before")
    change = Change(name="x", touches=("/etc/zones",), activate=(("touch", str(host.root / "etc/zones/more.xml")),))
    host.guard().arm_and_apply(change, IDENTIFIER, 60)
    (host.root / "etc/zones/public.xml").write_text("after", encoding="utf-8")
    assert host.timer_fires() == 0
    assert [path.name for path in (host.root / "etc/zones").iterdir()] == ["public.xml"]
    assert (host.root / "etc/zones/public.xml").read_text(encoding="utf-8") == "before"


def test_time_that_is_left_is_known_in_this_boot_only(host: Host) -> None:
    host.write("/proc/sys/kernel/random/boot_id", "one")
    host.guard().arm_and_apply(host.change, IDENTIFIER, 60)
    pending = host.guard().pending()
    assert pending is not None
    assert pending.left_s is not None
    assert 50 < pending.left_s <= 60
    host.write("/proc/sys/kernel/random/boot_id", "two")
    after = host.guard().pending()
    assert after is not None
    assert after.left_s is None


EVENTS = (guard.ARM, guard.APPLY, guard.CONFIRM, guard.ROLL_BACK)


@given(st.lists(st.sampled_from(EVENTS)))
def test_states_know_one_change_at_a_time_and_every_one_can_be_taken_back(events: list[str]) -> None:
    state = guard.FREE
    for event in events:
        allowed = {guard.FREE: [guard.ARM], guard.ARMED_STATE: [guard.APPLY], guard.APPLIED: [guard.CONFIRM]}[state]
        if event in (*allowed, guard.ROLL_BACK):
            state = guard.step(state, event)
        else:
            with pytest.raises(GpuError, match="BG-ACCESS-105" if event == guard.ARM else "BG-ACCESS-122"):
                guard.step(state, event)
        assert guard.step(state, guard.ROLL_BACK) == guard.FREE


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        File,
        path=texts,
        text=st.none() | texts,
        link=st.none() | texts,
        owner=st.none() | st.tuples(st.integers(), st.integers()),
    )
)
def test_what_lasts_is_the_same_after_it_lay_on_the_disk(file: File) -> None:
    lasting = guard.Lasting("x", (file,), (("systemctl", "daemon-reload"),))
    assert guard.Lasting.from_dict(lasting.as_dict()) == lasting


@given(st.lists(texts.filter(lambda text: text not in ("", ".", "..") and "/" not in text), max_size=3))
def test_no_path_of_a_change_is_read_as_shell(names: list[str]) -> None:
    change = Change(name="x", files=tuple(File("/etc/" + name, "") for name in names))
    done = subprocess.run(["sh", "-n"], input=guard.script(change, {}).encode(), check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
