"""Options of actions that ask a cluster's API over the controller's own connection."""

from __future__ import annotations


class ModuleDocFragment:
    """How the cluster is reached."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description: Path of the kubeconfig on the controller.
    type: path
    required: true
  context:
    description: Context of the kubeconfig. When not given, the current one.
    type: str
  request_timeout_s:
    description: How long one request may take, in seconds.
    type: float
    default: 30
requirements:
  - Python package kubernetes
attributes:
  platform:
    description: Target systems.
    platforms: posix
    support: full
"""
