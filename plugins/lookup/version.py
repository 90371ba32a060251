# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Versions of components from ``data/versions.yml``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: version
short_description: Version of a component from the collection's data file
version_added: "0.1.0"
description:
  - Returns what C(data/versions.yml) pins for a component, the one place where the collection keeps versions.
options:
  _terms:
    description: Names of components.
    required: true
    type: list
    elements: str
  field:
    description: Which of the component's fields to return.
    type: str
    default: version
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the pinned version of k3s
  ansible.builtin.debug:
    msg: "{{ lookup('baremetal.gpu.version', 'k3s') }}"
"""

RETURN = r"""
_raw:
  description: The version of each component.
  type: list
  elements: str
"""

from typing import Any, Mapping

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

DATA_FILE = "data/versions.yml"


def field_of(components: Mapping[str, Any], name: str, field: str) -> Any:
    """One field of a component. Raises ``GpuError`` BG-VERSION-001 when there is no such component or field."""
    known, what = components, f"component {name!r}"
    if name in components:
        known, what = components[name], f"field {field!r} of component {name!r}"
        if field in known:
            return known[field]
    raise GpuError(
        "BG-VERSION-001",
        f"{DATA_FILE} has no {what}",
        "a version that is not pinned would be whatever is newest",
        data_files.suggestion(field if name in components else name, known),
    )


def load_components() -> Mapping[str, Any]:
    """All components, read once per process. Raises ``GpuError`` BG-VERSION-002 when the file is not usable."""
    try:
        components = data_files.load(DATA_FILE)["components"]
        if not isinstance(components, Mapping) or not all(isinstance(item, Mapping) for item in components.values()):
            raise ValueError("components is not a map of maps")
        return components
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GpuError(
            "BG-VERSION-002",
            f"{DATA_FILE} is not usable ({error})",
            "no version is known without it",
            "restore the file from the collection",
        ) from error


class LookupModule(LookupBase):
    """``lookup('baremetal.gpu.version', 'k3s')``."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One value per name, in order."""
        self.set_options(var_options=variables, direct=kwargs)
        field = self.get_option("field")
        try:
            components = load_components()
            return [field_of(components, str(term), field) for term in terms]
        except GpuError as error:
            raise AnsibleLookupError(str(error)) from error
