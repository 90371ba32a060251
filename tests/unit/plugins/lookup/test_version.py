"""The lookup of versions; that templates reach it is tested with the plays of the actions."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.lookup.version import field_of, load_components
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

COMPONENTS = {"k3s": {"version": "v1.34.4+k3s1", "url": "somewhere"}, "etcd": {"version": "3.6.5"}}


def test_a_component_has_its_version_and_other_fields() -> None:
    assert field_of(COMPONENTS, "k3s", "version") == "v1.34.4+k3s1"
    assert field_of(COMPONENTS, "k3s", "url") == "somewhere"


def test_an_unknown_name_is_an_error_that_names_the_near_one() -> None:
    with pytest.raises(GpuError, match=r"BG-VERSION-001: .*'k3'.*did you mean k3s\? Known are etcd, k3s"):
        field_of(COMPONENTS, "k3", "version")


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(GpuError, match=r"field 'sha256' of component 'etcd'.*known are version"):
        field_of(COMPONENTS, "etcd", "sha256")


@pytest.mark.parametrize("data", [None, [], {}, {"components": None}, {"components": {"k3s": "1"}}])
def test_a_data_file_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch, data: Any) -> None:
    monkeypatch.setattr(data_files, "load", lambda path: data)
    with pytest.raises(GpuError, match=r"^BG-VERSION-002"):
        load_components()


def test_the_collections_own_file_is_usable() -> None:
    assert field_of(load_components(), "k3s", "version").startswith("v")
