"""Sheets of lab hosts: written once, the same the second time, and without anything that names one device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

WRITE = ("spark-01", "baremetal.gpu.node_sheet : Write the sheet")


@pytest.mark.requirement("SPARK-14", part="sheets of lab hosts, which are in no tailnet there")
def test_sheets_are_predicted_written_once_and_name_no_device(spark: Any, tmp_path: Path) -> None:
    options = f"--extra-vars={json.dumps({'node_sheet_directory': str(tmp_path), 'node_sheet_hosts': 'spark'})}"
    predicted = spark.lab.play("node_sheets.yml", "--check", options)
    assert (predicted.returncode, predicted.changed(), list(tmp_path.iterdir())) == (0, {WRITE}, [])
    written = spark.lab.play("node_sheets.yml", options)
    assert (written.returncode, written.changed()) == (0, {WRITE}), "\n".join(written.failures())
    text = (tmp_path / "spark-01.md").read_text(encoding="utf-8")
    for said in (
        "simulated",
        "| Hostname | spark-01 |",
        spark.lab.address("spark-01"),
        "1 x NVIDIA GB10",
        "| GPU sharing | MPS |",
        "+k3s1 |",
    ):
        assert said in text, text
    uuid = spark.lab.ssh("spark-01", "nvidia-smi --query-gpu=uuid --format=csv,noheader").stdout.strip()
    hardware_address = spark.lab.ssh("spark-01", "cat /sys/class/net/eth0/address").stdout.strip()
    assert [secret for secret in (uuid, hardware_address) if not secret or secret in text] == []
    again = spark.lab.play("node_sheets.yml", options)
    assert (again.returncode, again.changed()) == (0, set())


def test_a_folder_that_cannot_be_written_to_is_told(spark: Any) -> None:
    options = f"--extra-vars={json.dumps({'node_sheet_directory': '/proc/nodes', 'node_sheet_hosts': 'spark'})}"
    refused = spark.lab.play("node_sheets.yml", options)
    assert refused.returncode != 0
    assert "BG-SHEET-102" in refused.failures()[0]
