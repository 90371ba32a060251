"""The action plugin gpu_health, by one real play on localhost."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.unit.plugins.action.test_plays import play
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import h100_xml, write


def health(**arguments: Any) -> dict[str, Any]:
    return {"name": "Judge", "baremetal.gpu.gpu_health": arguments, "ignore_errors": True}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("play")
    sick = h100_xml().replace("<remapped_row_failure>No", "<remapped_row_failure>Yes", 1)
    files = [str(write(folder / "sick.xml", sick)), str(write(folder / "notes", "nothing\n"))]
    options = {"state_file": str(folder / "state.json"), "minimum_window_s": 0, "timeout_s": 5}
    return play(
        folder,
        health(profile="h100-sxm-8", **options),
        health(profile="h100-sxm-8", captures=files),
        health(captures=files, on_unknown="warn"),
        health(profile="gb-10"),
        health(profile="gb10", sharing="mig", **options),
        health(since="yesterday", **options),
    )


def statuses(result: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {
        (item["code"], item["subject"].rpartition("/")[2]): item["status"] for item in result["baremetal_gpu_findings"]
    }


def test_a_machine_without_gpu_is_not_healthy(results: list[dict[str, Any]]) -> None:
    found = statuses(results[0])
    assert found[("BG-HEALTH-001", "localhost")] == "unknown"
    assert found[("BG-GPU-014", "localhost")] in ("fail", "unknown")
    assert "ok" not in {status for (code, _), status in found.items() if code < "BG-HEALTH-025" and "HEALTH" in code}


def test_captures_are_judged_each_by_itself(results: list[dict[str, Any]]) -> None:
    found = statuses(results[1])
    assert found[("BG-HEALTH-016", "sick.xml")] == "fail"
    assert found[("BG-GPU-001", "sick.xml")] == "ok"
    assert found[("BG-HEALTH-067", "notes")] == "unknown"
    assert results[1]["changed"] is False


def test_unknowns_become_warnings_when_asked(results: list[dict[str, Any]]) -> None:
    assert statuses(results[2])[("BG-HEALTH-067", "notes")] == "warn"


def test_bad_input_has_its_code(results: list[dict[str, Any]]) -> None:
    assert [item["code"] for item in results[3:]] == ["BG-GPU-101", "BG-HEALTH-104", "BG-HEALTH-102"]
    assert all(item["failed"] for item in results[3:])
