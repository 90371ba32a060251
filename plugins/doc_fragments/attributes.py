"""Documentation of module attributes that the collection's modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of every module: what each one supports stands in the module itself."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return what it would change, without changing it.
  diff_mode:
    description: Shows what changes, or in check mode what would change, when asked for a diff.
  idempotent:
    description: Run again in the same state, it reports no change and changes nothing.
"""

    READ_ONLY = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: The module only reads; check mode is the same run.
  diff_mode:
    support: N/A
    details: Nothing is changed, so there is no difference to show.
  idempotent:
    support: full
    details: It never changes anything.
"""

    CONTROLLER_ONLY = r"""
options: {}
attributes:
  action:
    description: Runs on the controller.
    support: full
"""

    ON_HOST = r"""
options: {}
attributes:
  platform:
    description: Target systems.
    platforms: posix
    support: full
  facts:
    description: Sets facts.
    support: none
"""

    FULL = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""
