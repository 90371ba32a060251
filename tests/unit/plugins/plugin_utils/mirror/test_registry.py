"""Images come out of a registry as archives that name them, and only when everything has the digest that names it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.image_archive import read_archive
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.registry import pull
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.mirror.conftest import Upstream

LAYERS = [b"base" * 1000, b"program"]


def image(upstream: Upstream, tag: str = "v1") -> str:
    return f"{upstream.host}/nvidia/plugin:{tag}"


def refused(upstream: Upstream, folder: Path, architecture: str = "arm64") -> str:
    """The code of the refusal, which leaves nothing behind."""
    with pytest.raises(GpuError) as error:
        pull(image(upstream), architecture, folder / "x/image.tar", None)
    assert [path for path in folder.rglob("*") if path.is_file() and "upstream" not in path.parts] == []
    return error.value.code


def place(upstream: Upstream, pattern: str) -> Path:
    """The first served file of a pattern, in a stable order."""
    return sorted((upstream.root / "v2/nvidia/plugin").glob(pattern))[0]


@pytest.mark.parametrize("guarded", ["", "/v2/", "/v2/nvidia/plugin/blobs/"])
def test_the_archive_is_one_that_containerd_imports_by_its_name(
    upstream: Upstream, tmp_path: Path, guarded: str
) -> None:
    upstream.image("nvidia/plugin", "v1", LAYERS)
    upstream.put("token", b'{"token": "of-everybody"}')
    upstream.guarded = guarded
    path = tmp_path / "image.tar"
    pull(image(upstream), "arm64", path, None)
    (found,) = read_archive(str(path))
    assert found.reference == image(upstream)
    with tarfile.open(path) as archive:
        config = archive.extractfile("blobs/" + found.config_digest.replace(":", "/"))
        assert config is not None
        assert json.load(config)["architecture"] == "arm64"
        assert sum(member.size for member in archive.getmembers()) > sum(map(len, LAYERS))


def test_the_same_image_gives_the_same_archive(upstream: Upstream, tmp_path: Path) -> None:
    upstream.image("nvidia/plugin", "v1", LAYERS)
    one, other = (pull(image(upstream), "arm64", tmp_path / name, None) for name in ("a.tar", "b.tar"))
    assert one == other
    assert pull(image(upstream), "amd64", tmp_path / "c.tar", None) != one
    assert pull(image(upstream), "arm64", tmp_path / "d.tar", one[0]) == one


def test_an_image_of_one_processor_only_needs_no_index(upstream: Upstream, tmp_path: Path) -> None:
    upstream.image("nvidia/plugin", "index", LAYERS, ("arm64",))
    manifest = place(upstream, "manifests/sha256:*").read_bytes()
    upstream.put("v2/nvidia/plugin/manifests/v1", manifest)
    pull(image(upstream), "arm64", tmp_path / "image.tar", None)
    assert len(read_archive(str(tmp_path / "image.tar"))) == 1


def test_a_processor_that_the_image_is_not_for(upstream: Upstream, tmp_path: Path) -> None:
    upstream.image("nvidia/plugin", "v1", LAYERS, ("amd64",))
    assert refused(upstream, tmp_path) == "BG-MIRROR-010"


def test_a_layer_that_was_changed_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    upstream.image("nvidia/plugin", "v1", LAYERS)
    digest = upstream.blob("nvidia/plugin", LAYERS[1])
    upstream.put(f"v2/nvidia/plugin/blobs/{digest}", b"changed")
    assert refused(upstream, tmp_path) == "BG-MIRROR-002"


def test_a_manifest_that_was_changed_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    upstream.image("nvidia/plugin", "v1", LAYERS, ("arm64",))
    manifest = place(upstream, "manifests/sha256:*")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert refused(upstream, tmp_path) == "BG-MIRROR-010"


@pytest.mark.parametrize(
    "data", [b"no json", b"[]", b'{"layers": []}', b'{"mediaType": "text/plain"}', b'{"manifests": [1]}']
)
def test_what_is_no_manifest_is_refused(upstream: Upstream, tmp_path: Path, data: bytes) -> None:
    upstream.put("v2/nvidia/plugin/manifests/v1", data)
    assert refused(upstream, tmp_path) == "BG-MIRROR-010"


@pytest.mark.parametrize("token", [b"", b"[]", b'{"answer": 1}'])
def test_a_registry_that_wants_an_account_is_told(upstream: Upstream, tmp_path: Path, token: bytes) -> None:
    upstream.image("nvidia/plugin", "v1", LAYERS)
    upstream.put("token", token)
    upstream.guarded = "/v2/"
    assert refused(upstream, tmp_path) == "BG-MIRROR-010"


def test_a_token_that_is_not_taken_ends_the_try(upstream: Upstream, tmp_path: Path) -> None:
    upstream.image("nvidia/plugin", "v1", LAYERS)
    upstream.put("token", b'{"access_token": "of-somebody"}')
    upstream.guarded = "/v2/"
    assert refused(upstream, tmp_path) == "BG-MIRROR-001"


def test_an_image_that_is_not_there(upstream: Upstream, tmp_path: Path) -> None:
    assert refused(upstream, tmp_path) == "BG-MIRROR-001"


def test_a_redirection_does_not_take_the_token_along(upstream: Upstream, tmp_path: Path) -> None:
    """Registries keep layers elsewhere; whoever serves them must not learn the token."""
    upstream.image("nvidia/plugin", "v1", LAYERS)
    upstream.put("token", b'{"token": "of-everybody"}')
    upstream.guarded = "/v2/"
    digest = upstream.blob("nvidia/plugin", LAYERS[0])
    upstream.put("elsewhere", LAYERS[0])
    upstream.moved[f"/v2/nvidia/plugin/blobs/{digest}"] = "/elsewhere"
    pull(image(upstream), "arm64", tmp_path / "image.tar", None)
    assert "/elsewhere" in upstream.asked
    assert all(path.startswith("/v2/") for path, _token in upstream.tokens)
    assert upstream.tokens
