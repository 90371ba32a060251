"""The compatibility library with this collection's table and hardware profiles."""

from __future__ import annotations

import functools
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import Judge
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.table import GpuFacts, Table, parse_table
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import bound
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import DIRECTORY, load_profile

DATA_FILE = "data/compat.yml"


@functools.cache
def load_judge() -> Judge:
    """Read once per process. Raises ``GpuError`` BG-COMPAT-101 when the table is not usable."""
    try:
        return Judge(load_table())
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise GpuError(
            "BG-COMPAT-101",
            f"{DATA_FILE} is not usable ({detail})",
            "without it nobody knows which versions may meet",
            "restore the file from the collection",
        ) from error


def load_table() -> Table:
    """The table of this collection. Raises what reading and parsing raise."""
    return parse_table(data_files.load(DATA_FILE), {name: _facts(name) for name in data_files.names(DIRECTORY)})


def _facts(name: str) -> GpuFacts:
    profile = load_profile(name)
    sources: dict[str, Any] = data_files.load(f"{DIRECTORY}/{name}.yml").get("sources", {})
    return GpuFacts(
        branches=frozenset(map(int, profile.driver_branches)),
        compute_capability=bound(profile.compute_capability),
        fabric_manager=profile.health.fabric_manager if profile.health else None,
        source=" ".join(str(sources.get("driver.branches", f"{DIRECTORY}/{name}.yml")).split()),
        requirements=profile.requirements,
    )
