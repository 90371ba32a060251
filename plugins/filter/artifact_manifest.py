# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The manifest of artefacts that chosen hosts need, from ``data/versions.yml``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: artifact_manifest
short_description: Every artefact that chosen hosts need
version_added: "0.1.0"
description:
  - Lists packages, images, charts and files that hosts of these kinds need, with addresses, and with checksums and sizes where they are known.
  - What is not known is none, and C(unknown) says why, by field. Nothing is downloaded. C(docs/air-gap.md) describes what it is for.
options:
  _input:
    description: Kinds of hosts, as mappings of C(platform) and C(architecture).
    type: list
    elements: dict
    required: true
  systems:
    description: What the hosts belong to, any of V(spark), V(onyx) and V(controller).
    type: list
    elements: str
    required: true
  site:
    description: The site's own checksums by path; each a checksum, or a mapping of C(sha256) and C(size).
    type: dict
    default: {}
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Write down what the mirror of a Spark site must serve
  ansible.builtin.copy:
    content: "{{ [{'platform': 'dgx-os-7', 'architecture': 'arm64'}] | baremetal.gpu.artifact_manifest(['spark']) | to_nice_json }}"
    dest: manifest.json
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The manifest, a mapping of C(schema) and C(artefacts). Its JSON Schema is C(data/schemas/artifacts.schema.json).
  type: dict
"""

from typing import Any, Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.bundle import site_checksums
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.manifest import document, manifest, target


def artifact_manifest(
    kinds: Iterable[Mapping[str, Any]], systems: Iterable[str], site: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The filter. Raises ``AnsibleFilterError`` for kinds of hosts that are unknown."""
    try:
        known = data_files.load("data/compat.yml")["attributes"]
        targets = [target(known, str(each["platform"]), str(each["architecture"])) for each in kinds]
        return document(manifest(data_files.load("data/versions.yml"), targets, systems, site_checksums(site or {})))
    except (KeyError, TypeError, ValueError, GpuError) as error:
        raise AnsibleFilterError(f"artifact_manifest: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"artifact_manifest": artifact_manifest}
