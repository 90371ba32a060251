"""How a host's start came to its end."""

from __future__ import annotations

import json
import subprocess

import pytest

from lab import power


def answering(monkeypatch, *texts: str) -> None:
    """Podman says these one after the other."""
    left = list(texts)
    monkeypatch.setattr(power, "podman", lambda *_, **__: subprocess.CompletedProcess([], 0, left.pop(0), ""))


@pytest.fixture(autouse=True)
def named(monkeypatch):
    monkeypatch.setattr(power, "container", lambda host: f"bmg-0123-{host}")


def test_status_is_awaited_until_it_is_noted(monkeypatch):
    answering(monkeypatch, "running 0 4711", "stopped 129 0")
    assert power.exit_status("spark-01", 4711) == 129


def test_a_host_that_somebody_started_meanwhile_has_no_status(monkeypatch):
    answering(monkeypatch, "running 0 4999")
    assert power.exit_status("spark-01", 4711) is None


def test_a_host_that_was_removed_has_no_status(monkeypatch):
    answering(monkeypatch, "")
    assert power.exit_status("spark-01", 4711) is None


def test_states_are_this_lab_s_hosts_by_name(monkeypatch):
    listed = [{"Names": ["bmg-0123-mirror"], "State": "running"}, {"Names": ["bmg-0123-spark-01"], "State": "exited"}]
    answering(monkeypatch, json.dumps(listed))
    assert power.states() == {"mirror": "running", "spark-01": "exited"}
