"""The labels of GPU feature discovery against what a node offers and what is declared of it. Pure.

``gpu.count`` is the number of physical GPUs (under MIG strategy single: of MIG devices), ``gpu.replicas`` that of shares of *each* of them
(``internal/lm/resource.go`` of k8s-device-plugin). A label that is not there says nothing, so it disagrees with nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import List, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import (
    GPU,
    MPS,
    NO_SHARING,
    SHARED,
    Expectation,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import NodeReading
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import plain

_SHARED_PRODUCT = "-SHARED"
_MIG_PRODUCT = re.compile(r"-MIG-[0-9a-z.+]+\Z")
_REMEDY = "restart GPU feature discovery on the node; when the labels stay, one of the two is wrong"


@dataclass(frozen=True)
class Disagreement:
    """One thing that the labels say otherwise. It ``fails`` when GPUs are missing, or others than declared, behind right figures."""

    code: str
    fails: bool
    reason: str
    remedy: str = _REMEDY


def disagreements(expected: Expectation, node: NodeReading) -> List[Disagreement]:
    """What the labels of a node say otherwise than its figures, which are as declared, and the declaration."""
    return [each for each in (_count(expected, node), _model(expected, node)) if each] + _sharing(expected, node)


def _label(node: NodeReading, name: str) -> Optional[str]:
    return node.labels.get("nvidia.com/" + name)


def _number(text: Optional[str]) -> Optional[int]:
    return int(text) if text is not None and re.match(r"\A[0-9]{1,6}\Z", text) else None


def _is_shared_product(node: NodeReading) -> bool:
    return (_label(node, "gpu.product") or "").endswith(_SHARED_PRODUCT)


def _count(expected: Expectation, node: NodeReading) -> Optional[Disagreement]:
    """GPUs that are lost behind shares, or while the plugin runs: the figures stay, the count of GPUs does not."""
    count = _number(_label(node, "gpu.count"))
    # Of profiles that are offered under their own names the count says nothing.
    if count is None or any("/mig-" in name for name in node.capacity):
        return None
    declared = sum(expected.mig.values()) if expected.mig else expected.gpus
    if declared is None:
        declared_by_figures = _by_figures(node)
        if declared_by_figures is None:
            return None
        if declared_by_figures != declared_by_figures.to_integral_value() or count > declared_by_figures:
            reason = "labels say {0} GPUs in {1} shares each, and the node offers {2}".format(
                count, _label(node, "gpu.replicas") or 1, plain(_offered(node))
            )
            return Disagreement("BG-CAP-011", False, reason)
        declared = int(declared_by_figures)
    if count == declared:
        return None
    reason = "GPU feature discovery counts {0} GPUs and the node offers those of {1}".format(count, declared)
    return Disagreement("BG-CAP-012", True, reason, "compare with gpu_info of the host; then restart the device plugin")


def _offered(node: NodeReading) -> Decimal:
    """All GPUs or shares, under whichever name: the one that offers something."""
    return max(node.allocatable.get(GPU, Decimal(0)), node.allocatable.get(GPU + SHARED, Decimal(0)))


def _by_figures(node: NodeReading) -> Optional[Decimal]:
    """How many GPUs the figures stand for, or None when no label says how many shares each has."""
    replicas = _number(_label(node, "gpu.replicas"))
    if replicas is None:
        strategy = _label(node, "gpu.sharing-strategy")
        if _is_shared_product(node) or strategy not in (None, NO_SHARING):
            return None
        replicas = 1
    return _offered(node) / replicas if replicas and _offered(node) else None


def _model(expected: Expectation, node: NodeReading) -> Optional[Disagreement]:
    product = _label(node, "gpu.product")
    if expected.product is None or product is None:
        return None
    model = product[: -len(_SHARED_PRODUCT)] if product.endswith(_SHARED_PRODUCT) else product
    model = _MIG_PRODUCT.sub("", model)
    if model == expected.product:
        return None
    reason = "the GPUs are {0}, and {1} is declared".format(model, expected.product)
    return Disagreement("BG-CAP-016", True, reason, "correct the inventory, or look which machine this is")


def _sharing(expected: Expectation, node: NodeReading) -> List[Disagreement]:
    """How GPUs are shared, by the labels against the declaration and among themselves."""
    said: List[str] = []
    strategy, replicas = _label(node, "gpu.sharing-strategy"), _number(_label(node, "gpu.replicas"))
    capable = _label(node, "mps.capable")
    if expected.sharing is not None and strategy is not None and strategy != expected.sharing:
        said.append("sharing-strategy is {0}, declared is {1}".format(strategy, expected.sharing))
    if expected.replicas is not None and replicas is not None and replicas != expected.replicas:
        said.append("gpu.replicas is {0}, declared are {1}".format(replicas, expected.replicas))
    sharing = expected.sharing or strategy
    if capable is not None and sharing is not None and (capable == "true") != (sharing == MPS):
        said.append("mps.capable is {0} where sharing is {1}".format(capable, sharing))
    if strategy == NO_SHARING and _is_shared_product(node):
        said.append("gpu.product ends in {0} where nothing is shared".format(_SHARED_PRODUCT))
    if not said:
        return []
    return [Disagreement("BG-CAP-011", False, "labels disagree: {0}".format("; ".join(said)))]
