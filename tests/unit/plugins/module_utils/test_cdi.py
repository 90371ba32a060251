"""The scan of CDI specifications."""

from __future__ import annotations

import contextlib
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.cdi import CdiFormatError, parse
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import CDI_YAML


def test_a_generated_specification_names_devices_and_driver() -> None:
    found = parse(CDI_YAML)
    assert (found.version, found.kind, found.devices) == ("0.5.0", "nvidia.com/gpu", ("0", "1", "all"))
    assert found.driver_versions == ("550.90.07",)


def test_yaml_and_json_of_one_specification_are_read_alike() -> None:
    assert parse(json.dumps(yaml.safe_load(CDI_YAML))) == parse(CDI_YAML)


def test_a_stale_mix_of_libraries_shows_both_versions() -> None:
    mixed = CDI_YAML.replace("libcuda.so.550.90.07", "libcuda.so.580.95.05")
    assert parse(mixed).driver_versions == ("550.90.07", "580.95.05")


@pytest.mark.parametrize(
    "text", ["", "kind: x\n", "{", "{}", "[]", '{"devices": 1, "kind": "a/b"}', "devices:\n- name: a\n"]
)
def test_what_is_no_specification_is_refused(text: str) -> None:
    with pytest.raises(CdiFormatError):
        parse(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(CdiFormatError):
        parse(text)


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,10}", fullmatch=True), min_size=1, max_size=5),
    st.sampled_from([0, 2]),
)
def test_every_device_name_of_block_style_is_found(names: list[str], indent: int) -> None:
    class Indented(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, indentless and indent == 0)

    devices = [
        {"containerEdits": {"deviceNodes": [{"path": "/dev/x", "name": "inner"}]}, "name": name} for name in names
    ]
    text = yaml.dump({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices}, Dumper=Indented)
    assert parse(text).devices == tuple(names)
