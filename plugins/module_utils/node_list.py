"""Reads nodes from the Kubernetes API with the official client. Runs on the controller.

One list of nodes in pages; answers are read as JSON and each page is reduced at once, so that memory does not grow
with the size of node objects.
"""

from __future__ import annotations

import json
import traceback
from typing import Any, Callable, Dict, Iterator, List, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import NodeReading, Quantity, parse_node

IMPORT_ERROR: Optional[str] = None
try:
    import kubernetes
    import urllib3
    from kubernetes.utils import parse_quantity
except ImportError:
    IMPORT_ERROR = traceback.format_exc()

PAGE_SIZE = 500  # the API's own default for chunked lists in kubectl


class TransientError(GpuError):
    """An error that may pass: the API server does not answer or is overloaded."""


class ExpiredPageError(Exception):
    """The list changed too much while it was paged; it must be read from the start."""


def require_client() -> None:
    """Raise ``GpuError`` BG-CAP-105 when the Python package ``kubernetes`` is not there."""
    if IMPORT_ERROR is not None:
        raise GpuError(
            "BG-CAP-105",
            "the Python package kubernetes cannot be imported ({0})".format(IMPORT_ERROR.strip().splitlines()[-1]),
            "the Kubernetes API is read with it",
            "install the collection's Python requirements where this task runs",
        )


def quantity_parser() -> Quantity:
    """The client's own parser of quantities."""
    parse: Quantity = parse_quantity
    return parse


def connect(kubeconfig: Optional[str], context: Optional[str]) -> Any:
    """An API client from a kubeconfig. Raises ``GpuError`` BG-CAP-103."""
    try:
        configuration = kubernetes.client.Configuration()
        load: Any = kubernetes.config.load_kube_config
        load(config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False)
    except Exception as error:  # the loader raises many kinds: missing file, no context, bad YAML, bad base64
        raise GpuError(
            "BG-CAP-103",
            "the kubeconfig {0} is not usable ({1})".format(kubeconfig or "(default)", _first_line(error)),
            "the cluster cannot be asked without it",
            "give the path of a readable kubeconfig and an existing context",
        ) from error
    configuration.retries = False  # the module waits and retries itself, within its deadline
    return kubernetes.client.ApiClient(configuration)


def read_nodes(client: Any, timeout_s: float, page_size: int = PAGE_SIZE) -> List[NodeReading]:
    """All nodes of the cluster. ``timeout_s`` bounds each request.

    Raises ``GpuError`` (credentials, answers that make no sense) or ``TransientError`` (no answer, 429, 5xx).
    """
    for _attempt in range(3):
        try:
            quantity = quantity_parser()
            return [
                parse_node(item, quantity) for page in _pages(client, timeout_s, page_size) for item in page["items"]
            ]
        except ExpiredPageError:
            continue
    raise TransientError(
        "BG-CAP-106",
        "the list of nodes expired three times while it was read",
        "nothing is known about the nodes",
        "run again; read the API server's log if it happens again",
    )


def _pages(client: Any, timeout_s: float, page_size: int) -> Iterator[Dict[str, Any]]:
    token = ""
    while True:
        page = _page(client, timeout_s, {"limit": page_size, "_continue": token} if token else {"limit": page_size})
        yield page
        token = (page.get("metadata") or {}).get("continue") or ""
        if not token:
            return


def _page(client: Any, timeout_s: float, query: Dict[str, Any]) -> Dict[str, Any]:
    api: Any = kubernetes.client.CoreV1Api(client)
    try:
        response = api.list_node(_preload_content=False, _request_timeout=timeout_s, **query)
        page: Any = json.loads(response.data)
    except kubernetes.client.exceptions.ApiException as error:
        # The client turns failures of TLS into an answer without status.
        if not error.status:
            raise _tls_failed(client, error.reason) from error
        raise _from_status(error, "_continue" in query) from error
    except urllib3.exceptions.HTTPError as error:
        raise _from_transport(client, error) from error
    except ValueError as error:
        raise _no_list("an answer that is not JSON") from error
    if not isinstance(page, dict) or not isinstance(page.get("items"), list) or not _are_maps(page["items"]):
        raise _no_list("an answer without items")
    return page


def _are_maps(items: List[Any]) -> bool:
    return all(isinstance(item, dict) for item in items)


def _no_list(what: str) -> GpuError:
    return GpuError(
        "BG-CAP-106",
        "the server gives {0} for its list of nodes".format(what),
        "this is not a Kubernetes API",
        "check the server's address in the kubeconfig",
    )


def _from_status(error: Any, continued: bool) -> Exception:
    status = int(error.status)
    if status == 410 and continued:
        return ExpiredPageError()
    if status in (401, 403):
        return GpuError(
            "BG-CAP-102",
            "the Kubernetes API refused to list nodes (HTTP {0} {1})".format(status, error.reason),
            "capacity cannot be read",
            "renew the credentials" if status == 401 else "the user of the kubeconfig needs list on nodes",
        )
    kind: Callable[..., GpuError] = TransientError if status == 429 or status >= 500 else GpuError
    return kind(
        "BG-CAP-106",
        "the Kubernetes API answered HTTP {0} {1}".format(status, error.reason),
        "capacity cannot be read",
        "read the API server's log, then run again",
    )


def _from_transport(client: Any, error: Exception) -> GpuError:
    if isinstance(error, urllib3.exceptions.SSLError):
        return _tls_failed(client, error)
    return TransientError(
        "BG-CAP-101",
        "the Kubernetes API at {0} does not answer ({1})".format(client.configuration.host, _first_line(error)),
        "capacity cannot be read",
        "check the server's address in the kubeconfig and that the API server runs",
    )


def _tls_failed(client: Any, reason: Any) -> GpuError:
    """A certificate that is not accepted does not get better by waiting."""
    return GpuError(
        "BG-CAP-102",
        "TLS with {0} failed ({1})".format(client.configuration.host, _first_line(reason)),
        "the server or this client is not who the other expects",
        "compare the kubeconfig's certificates with the cluster's and their dates with the clock",
    )


def _first_line(said: Any) -> str:
    lines = str(said).strip().splitlines()
    return (lines[0] if lines else type(said).__name__)[:300]
