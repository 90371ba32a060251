# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a node is emptied: options of a task of its own, or of the option ``drain`` of one that does more."""

from __future__ import annotations

from textwrap import indent

_NESTED = r"""
options:
  drain:
    description: How the node is emptied, as M(baremetal.gpu.node_drain) does it.
    type: dict
    default: {}
    suboptions:
"""


class ModuleDocFragment:
    """The options, in both places."""

    DOCUMENTATION = r"""
options:
  timeout_s:
    description: How long from the first eviction until the last pod has ended, in seconds. Reaching it is a failure.
    type: float
    default: 300
  grace_period_s:
    description: How long each pod may take to end, in seconds. When not given, what the pod itself says.
    type: int
  daemonset:
    description: What is done with pods of a DaemonSet, which its controller starts on cordoned nodes too.
    type: str
    choices: [skip, refuse]
    default: skip
  static:
    description: What is done with pods that the kubelet runs from files. The API cannot end them.
    type: str
    choices: [skip, refuse]
    default: skip
  emptydir:
    description: What is done with pods that have an emptyDir, whose content is lost.
    type: str
    choices: [evict, refuse]
    default: refuse
  bare:
    description: What is done with pods without a controller, which nothing starts again.
    type: str
    choices: [evict, refuse]
    default: refuse
  gpu_jobs:
    description:
      - What is done with pods that hold GPUs and run to an end of their own (their restart policy is not C(Always)). What they have not
        saved is lost.
    type: str
    choices: [evict, refuse]
    default: refuse
  gpu_jobs_wait_s:
    description:
      - How long such pods may go on after the cordon until they have ended, in seconds, before the evictions and their time begin. Then
        C(gpu_jobs) decides.
    type: float
    default: 0
"""

    # With its type, because ansible-test takes what has none for a text that stands here as it is.
    NESTED: str = _NESTED + indent(DOCUMENTATION.partition("options:\n")[2], "    ")
