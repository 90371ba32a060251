"""Tries whether addresses can be connected to. All at once, and bounded also where names are resolved."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def host_and_port(target: str) -> Optional[Tuple[str, int]]:
    """Where an address leads; ``None`` for one without host or port."""
    try:
        parts = urlsplit(target)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def try_all(targets: Sequence[str], timeout_s: float) -> List[Dict[str, Any]]:
    """``{target, reached, reason}`` for each address, within ``timeout_s`` seconds altogether.

    ``reached`` is ``None`` for an address that cannot be tried. Resolving a name cannot be interrupted, so each address has
    a thread of its own that is left behind when it does not end in time.
    """
    results: Dict[str, Dict[str, Any]] = {}
    threads = []
    for target in dict.fromkeys(targets):
        place = host_and_port(target)
        if place is None:
            results[target] = {"target": target, "reached": None, "reason": "it names no host with a port"}
            continue
        results[target] = {"target": target, "reached": False, "reason": "no answer within {0:g} s".format(timeout_s)}
        thread = threading.Thread(target=_try, args=(place, timeout_s, results, target), daemon=True)
        thread.start()
        threads.append(thread)
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    # A thread that ends later must not change what was already said.
    return [dict(result) for result in results.values()]


def _try(place: Tuple[str, int], timeout_s: float, results: Dict[str, Dict[str, Any]], target: str) -> None:
    try:
        socket.create_connection(place, timeout=timeout_s).close()
        outcome: Dict[str, Any] = {"target": target, "reached": True, "reason": ""}
    except socket.timeout:
        return
    except OSError as error:
        reason = error.strerror or str(error)
        outcome = {"target": target, "reached": False, "reason": "{0}:{1}: {2}".format(place[0], place[1], reason)}
    results[target] = outcome
