"""The objects of a list, kept as they are now by a watch. Runs on the controller."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Generic, Mapping, TypeVar

from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import as_map
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster, ExpiredError, TransientError

T = TypeVar("T")

# A server that ends watches at once, or does not answer, is not asked without pause.
_PAUSE_S = 0.5


class Followed(Generic[T]):
    """Objects by uid, each as ``parse`` makes it. ``read`` lists them, ``follow`` keeps them."""

    def __init__(
        self,
        cluster: Cluster,
        path: str,
        selector: Mapping[str, Any],
        parse: Callable[[Mapping[str, Any]], T],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster, self._path, self._selector, self._parse = cluster, path, dict(selector), parse
        self._clock, self._sleep = clock, sleep
        self._version = ""
        self.objects: Dict[str, T] = {}

    def read(self) -> None:
        """List anew. Raises as ``Cluster`` does."""
        found: Dict[str, T] = {}

        def take(item: Mapping[str, Any]) -> None:
            found[_uid(item)] = self._parse(item)

        self._version = self._cluster.objects(self._path, take, found.clear, self._selector).resource_version
        self.objects = found

    def follow(self, until: float, enough: Callable[[], bool]) -> None:
        """Apply what happens until then, or until ``enough`` says so; an API that does not answer meanwhile is asked again.

        Raises ``GpuError`` when it refuses.
        """
        while not enough() and self._clock() < until:
            begun = self._clock()
            try:
                if not self._version:
                    self.read()
                    continue
                for event in self._cluster.events(self._path, self._version, until - begun, self._selector):
                    self._apply(event)
                    if enough() or self._clock() >= until:
                        return
            except ExpiredError:
                self._version = ""
            except TransientError as error:
                self._version = ""
                self._sleep(max(0.0, min(error.retry_after_s or _PAUSE_S, until - self._clock())))
            if self._clock() - begun < _PAUSE_S:
                self._sleep(max(0.0, min(_PAUSE_S, until - self._clock())))

    def _apply(self, event: Mapping[str, Any]) -> None:
        item = as_map(event.get("object"))
        self._version = str(as_map(item.get("metadata")).get("resourceVersion") or self._version)
        if event.get("type") == "DELETED":
            self.objects.pop(_uid(item), None)
        elif event.get("type") in ("ADDED", "MODIFIED"):
            self.objects[_uid(item)] = self._parse(item)


def _uid(item: Mapping[str, Any]) -> str:
    metadata = as_map(item.get("metadata"))
    return str(metadata.get("uid") or metadata.get("name") or "")
