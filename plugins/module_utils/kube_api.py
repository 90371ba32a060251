"""Requests to the Kubernetes API as JSON, over the connection that the official client's kubeconfig loader set up.

The loader knows every kind of credentials. The client's typed classes are passed by: importing those of the core API alone takes
longer than all requests of a verification.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple
from urllib.parse import urlencode

try:
    # Its first major release, which older clients bring, has it only there.
    from urllib3._collections import HTTPHeaderDict
    from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
    from urllib3.util import Timeout
except ImportError:  # the client brings it; without the client there is no connection to ask over
    HTTPError = MaxRetryError = SSLError = OSError  # type: ignore[misc,assignment]

# One object of a watch; the API server refuses objects over some 1.5 MB, and etcd keeps none of them.
_LONGEST_EVENT = 16 * 1024 * 1024


class NoAnswerError(Exception):
    """The API gave no answer, or one that is not its own. Whether it did what was asked is not known."""


class TlsError(NoAnswerError):
    """Server and client do not accept each other's certificates. Waiting does not change that."""


class ForeignAnswerError(NoAnswerError):
    """Something answers that is no Kubernetes API."""


@dataclass(frozen=True)
class Answer:
    """One answer of the API. ``date`` is the server's clock (UTC), ``retry_after_s`` what it asks for when it is overloaded."""

    status: int
    body: Dict[str, Any]
    date: Optional[datetime.datetime] = None
    retry_after_s: Optional[float] = None


class KubeApi:
    """A cluster's API. ``client`` is a ``kubernetes.client.ApiClient``; ``timeout_s`` bounds each request, in seconds."""

    def __init__(self, client: Any, timeout_s: float) -> None:
        configuration = client.configuration
        self.host = str(configuration.host).rstrip("/")
        self._pool = client.rest_client.pool_manager
        self._timeout_s = timeout_s
        token = configuration.auth_settings().get("BearerToken") or {}
        # What was set on the client for every request: impersonation, basic authentication.
        self._headers: Dict[str, Any] = {"Accept": "application/json", **getattr(client, "default_headers", {})}
        if token.get("value"):
            self._headers["Authorization"] = str(token["value"])

    def request(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        query: Optional[Mapping[str, Any]] = None,
        content_type: str = "application/json",
    ) -> Tuple[int, Dict[str, Any]]:
        """The HTTP status and the answer's JSON. Raises ``NoAnswerError``; nothing is asked twice."""
        answer = self.ask(method, path, body, query, content_type)
        return answer.status, answer.body

    def ask(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        query: Optional[Mapping[str, Any]] = None,
        content_type: str = "application/json",
    ) -> Answer:
        """The same with what the answer's headers say."""
        headers = self._sent(None if body is None else content_type)
        try:
            response = self._pool.request(
                method,
                self._url(path, query),
                body=None if body is None else json.dumps(body).encode("utf-8"),
                headers=headers,
                timeout=self._timeout_s,
                # Whoever asks knows whether asking again is safe.
                retries=False,
                redirect=False,
            )
            data = response.data
        except HTTPError as error:
            raise self._no_answer(error) from error
        return Answer(
            int(response.status), self._json(int(response.status), data), _date(response), _retry_after(response)
        )

    def events(self, path: str, query: Mapping[str, Any], seconds: float) -> Iterator[Tuple[int, Dict[str, Any]]]:
        """The events of a watch as they come, for at most ``seconds``: status 200 and the event.

        An answer that refuses the watch is given as its status and its body. A connection that is lost after it was made ends the
        events, as the server's own time limit does: the caller knows from where to go on. Raises ``NoAnswerError``.
        """
        limits = {**query, "watch": "1", "timeoutSeconds": max(1, int(seconds) + 1)}
        try:
            response = self._pool.request(
                "GET",
                self._url(path, limits),
                headers=self._sent(None),
                timeout=Timeout(connect=min(self._timeout_s, max(1.0, seconds)), read=max(0.1, seconds)),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except HTTPError as error:
            if _is_slow(error):
                return
            raise self._no_answer(error) from error
        try:
            if response.status != 200:
                yield int(response.status), self._json(int(response.status), response.data)
                return
            for line in _lines(response):
                yield 200, self._json(200, line)
        except (HTTPError, OSError):
            return
        finally:
            # The rest of a watch never comes, so its connection serves no other request.
            response.close()

    def pieces(self, path: str, query: Mapping[str, Any]) -> Iterator[bytes]:
        """An answer that is no JSON, as it comes; nothing where it is a refusal. It ends where the connection breaks."""
        headers = self._sent(None)
        headers["Accept"] = "*/*"
        try:
            response = self._pool.request(
                "GET",
                self._url(path, query),
                headers=headers,
                timeout=self._timeout_s,
                retries=False,
                preload_content=False,
            )
            try:
                if response.status == 200:
                    yield from response.stream(262144)
            finally:
                response.close()
        except HTTPError:
            return

    def _sent(self, content_type: Optional[str]) -> Any:
        """The headers of a request; a list stands for several headers of one name."""
        headers: Any = HTTPHeaderDict()
        for name, value in self._headers.items():
            for each in value if isinstance(value, list) else (value,):
                headers.add(name, each)
        if content_type:
            headers["Content-Type"] = content_type
        return headers

    def _url(self, path: str, query: Optional[Mapping[str, Any]]) -> str:
        return "{0}{1}{2}".format(self.host, path, "?" + urlencode(query) if query else "")

    def _json(self, status: int, data: bytes) -> Dict[str, Any]:
        try:
            answer = json.loads(data)
        except ValueError as error:
            if status >= 400:  # what limits requests, or stands before the API server, refuses in plain text
                return {"message": data[:300].decode("utf-8", "replace").strip()}
            raise ForeignAnswerError("{0}: an answer that is not JSON".format(self.host)) from error
        if not isinstance(answer, dict):
            raise ForeignAnswerError("{0}: an answer that is no object".format(self.host))
        return answer

    def _no_answer(self, error: Exception) -> NoAnswerError:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
        kind = TlsError if isinstance(cause, SSLError) else NoAnswerError
        return kind("{0}: {1}".format(self.host, str(error)[:300]))


def _is_slow(error: Exception) -> bool:
    """Whether the server was silent for as long as the watch was to last: some send no headers before the first event."""
    return type(error).__name__ == "ReadTimeoutError"


def _lines(response: Any) -> Iterator[bytes]:
    """Lines of a streamed answer, each as soon as it is complete."""
    pending = b""
    for piece in response.stream(65536):
        pending += piece
        while b"\n" in pending:
            line, _newline, pending = pending.partition(b"\n")
            if line.strip():
                yield line
        if len(pending) > _LONGEST_EVENT:
            raise ForeignAnswerError("a line of a watch is longer than any object")


def _date(response: Any) -> Optional[datetime.datetime]:
    try:
        found = parsedate_to_datetime(response.headers.get("Date") or "")
    except (TypeError, ValueError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


def _retry_after(response: Any) -> Optional[float]:
    text = response.headers.get("Retry-After") or ""
    return float(text) if text.isdigit() and len(text) < 6 else None
