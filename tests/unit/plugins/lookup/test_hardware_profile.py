"""Roles read a hardware profile as a whole, or are told what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleLookupError

from ansible_collections.baremetal.gpu.plugins.lookup.hardware_profile import LookupModule


def profiles(*names: str) -> list[Any]:
    return LookupModule().run(list(names))


def test_profiles_come_in_the_order_of_their_names():
    assert [profile["gpu"]["count"] for profile in profiles("h100-sxm-8", "gb10")] == [8, 1]


def test_an_unknown_profile_is_refused_with_the_near_one():
    with pytest.raises(AnsibleLookupError, match=r"BG-GPU-101.*did you mean gb10"):
        profiles("gb1O")
