# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of changes that could cut the operator's line."""

from __future__ import annotations


class ModuleDocFragment:
    """How a change is guarded, and what only judging returns."""

    DOCUMENTATION = r"""
options:
  way_back:
    description: Address or name under which the controller reaches the host after the change. Without one that of the present connection.
    type: str
  rollback_after_s:
    description: After how many seconds without confirmation the host puts back what was.
    type: int
    default: 60
  connect_timeout_s:
    description: How long one attempt to connect may take, in seconds.
    type: int
    default: 10
  verify:
    description: Only judge; returns findings, also about the guard (BG-ACCESS-004), and changes nothing.
    type: bool
    default: false
  requirements:
    description: Ids of the requirements that the findings prove.
    type: list
    elements: str
    default: []
attributes:
  action:
    description: Connects anew on the controller.
    support: full
  platform:
    description: Target systems.
    platforms: linux
    support: full
"""
