"""What GPUs of a model must show, and what Xid events mean: ``data/thresholds.yml`` and ``data/xid.yml``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files


@dataclass(frozen=True)
class Model:
    """A model's limits by name, and why it lacks groups of values."""

    name: str
    limits: Mapping[str, Any]
    absent: Mapping[str, str]


@dataclass(frozen=True)
class Xid:
    """What one Xid means."""

    number: int
    kind: str
    severity: str
    action: str
    note: str


def models() -> dict[str, Model]:
    """Models by product name. Raises ``GpuError`` BG-HEALTH-101 when the data file is not usable."""
    try:
        entries = data_files.load("data/thresholds.yml")["health"]
        return {
            str(product): Model(
                name=str(entry["model"]),
                limits={str(name): limit["value"] for name, limit in entry["limits"].items()},
                absent={str(name): str(reason) for name, reason in entry["absent"].items()},
            )
            for entry in entries
            for product in entry["product_names"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable("data/thresholds.yml", error) from error


def xids() -> dict[int, Xid]:
    """Xids by number. Raises ``GpuError`` BG-HEALTH-101 when the data file is not usable."""
    try:
        return {
            int(entry["xid"]): Xid(
                int(entry["xid"]),
                str(entry["class"]),
                str(entry["severity"]),
                str(entry["action"]),
                str(entry["note"]),
            )
            for entry in data_files.load("data/xid.yml")["xids"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable("data/xid.yml", error) from error


def _unusable(path: str, error: Exception) -> GpuError:
    return GpuError(
        "BG-HEALTH-101",
        f"{path} is not usable ({type(error).__name__}: {error})",
        "without it nothing can be called healthy",
        "correct it against its schema in data/schemas",
    )
