# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether versions may meet, and why not, from ``data/compat.yml``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: compatible
short_description: Whether versions of a GPU stack may meet
version_added: "0.1.0"
description:
  - Answers whether driver, CUDA, cuDNN, NCCL, Triton, container toolkit, device plugin, GPU operator and Kubernetes of the given versions
    may meet on a GPU model and a platform, by the collection's compatibility table. Nothing is asked of any host.
  - What is left out is not judged. C(docs/compat.md) lists the names; a single number is a branch and stands for its newest release.
options:
  _input:
    description:
      - A mapping, for example of C(gpu), C(platform), C(driver), C(cuda) and C(triton_vllm). Versions are text in quotes.
      - C(features) is a list.
    type: dict
    required: true
  accepted:
    description: Ids of rows that do not hold here.
    type: list
    elements: str
    default: []
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show whether a driver, a CUDA toolkit and a Triton release may meet on a DGX Spark
  ansible.builtin.debug:
    msg: "{{ {'gpu': 'gb10', 'driver': '580', 'cuda': '13.0', 'triton_vllm': '25.11'} | baremetal.gpu.compatible }}"

- name: Refuse a stack that cannot work
  ansible.builtin.assert:
    that: answer.allowed
    fail_msg: "{{ answer.refused | map(attribute='what') | join('; ') }}; {{ answer.remedy }}"
  vars:
    answer: "{{ site_gpu_stack | baremetal.gpu.compatible }}"
"""

RETURN = r"""
_value:
  description:
    - C(allowed), a truth value, and C(status), one of V(allowed), V(refused) and V(unknown). Unknown means that no row covers a version.
    - C(refused), C(unknown) and C(advice) are lists of mappings with C(code), C(row), C(what), C(because), C(source) and C(requirements).
      Advice says what should be known of a combination that runs.
    - C(nearest) is the nearest allowed combination, with the same GPU, and C(remedy) how to come to it. Both are there when the
      combination is not allowed; C(nearest) is none where none is known.
  type: dict
"""

from typing import Any, Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import ALLOWED
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.nearest import differences, nearest
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.question import parse_question
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.compat_rules import load_judge


def compatible(asked: Any, accepted: Iterable[str] = ()) -> dict[str, Any]:
    """The filter. Raises ``AnsibleFilterError`` for a question that cannot be used."""
    try:
        judge = load_judge()
    except GpuError as error:
        raise AnsibleFilterError(f"compatible: {error}") from error
    if not isinstance(asked, Mapping):
        raise AnsibleFilterError(f"compatible: BG-COMPAT-004: asked about {asked!r}, which is no mapping")
    combination, faults = parse_question(judge.table, asked)
    if faults:
        told = "; ".join(f"{fault.what} ({fault.hint})" for fault in faults)
        raise AnsibleFilterError(f"compatible: BG-COMPAT-004: {told}")
    rows = frozenset(accepted)
    unknown = sorted(rows - judge.table.row_ids())
    if unknown:
        raise AnsibleFilterError(f"compatible: BG-COMPAT-004: there is no row {', '.join(unknown)}")
    answer = judge.answer(combination, rows)
    found = None if answer.status == ALLOWED else nearest(judge, combination, rows)
    return {
        "allowed": answer.status == ALLOWED,
        "status": answer.status,
        "refused": [each.as_dict() for each in answer.objections],
        "unknown": [each.as_dict() for each in answer.unknown],
        "advice": [each.as_dict() for each in answer.advice],
        "nearest": found.as_dict() if found else None,
        "remedy": differences(judge, combination, found) if found else "",
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"compatible": compatible}
