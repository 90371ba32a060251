"""The list of requirements is the one of the specifications; skipped where these are not beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

SPECIFIED = Path(__file__).resolve().parents[2].parent / "shared" / "requirements"


@pytest.mark.skipif(not SPECIFIED.is_dir(), reason="the specifications' requirements are not beside this checkout")
def test_every_requirement_of_the_specifications_is_listed_and_no_other(root: Path) -> None:
    files = sorted(SPECIFIED.glob("*.yml"))
    specified = [entry["id"] for path in files for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]
    assert len(specified) == len(set(specified)) == 210
    listed = yaml.safe_load((root / "data/requirements.yml").read_text(encoding="utf-8"))["requirements"]
    assert set(listed) == set(specified)
