"""What podman leaves mounted is let go only when nothing uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.podman import is_released

OVERLAY = Path("/cache/podman/storage/overlay")
MOUNT = "60 29 254:0 /cache {path} rw,relatime - ext4 /dev/vda rw"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/", "/cache/podman/storage/overlay"], True),
        (["/", "/cache/podman/storage/overlay", "/cache/podman/storage/overlay/71d7/merged"], False),
        (["/", "/cache/podman/storage/overlay-containers/e96f/userdata/shm", "/cache/podman/storage/overlay"], True),
        (["/"], False),
    ],
    ids=["left alone", "a container's file system", "a neighbour of a like name", "not mounted"],
)
def test_store_is_let_go_when_no_container_is_mounted(paths, expected):
    assert is_released("\n".join(MOUNT.format(path=path) for path in paths), OVERLAY) is expected
