"""Logging in to a tailnet: whether the login server can be logged in to, and what it meant by refusing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Callable, Optional, Pattern, Sequence, Tuple
from urllib.error import HTTPError

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_plan import tags_refused

Open = Callable[..., Any]
Clock = Callable[[], float]

OAUTH_PREFIX = "tskey-client-"

_KEY_PATH = "/key?v=106"
"""Where every control server shows its public key; any capability version from 39 on gets the one that is used now."""
_MOST_BYTES = 65536
_PROBE_TIMEOUT_S = 15.0
_HIDDEN = "***"
_ANY_KEY = re.compile(r"tskey-[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Secret:
    """What the node logs in with: an auth key, or an OAuth client's secret. ``problem`` says why there is none."""

    value: str = ""
    problem: str = ""
    is_oauth: bool = False

    def __repr__(self) -> str:
        return "Secret({0})".format("set" if self.value else self.problem or "none")


def secret_from(
    auth_key: Optional[str], oauth_secret: Optional[str], problem: str, is_ephemeral: bool, is_approved: bool
) -> Secret:
    """The secret in the form in which ``tailscale up`` reads it: properties of the key that an OAuth client makes stand behind it."""
    if oauth_secret:
        properties = "?ephemeral={0}&preauthorized={1}".format(str(is_ephemeral).lower(), str(is_approved).lower())
        return Secret(oauth_secret.strip().partition("?")[0] + properties, is_oauth=True)
    return Secret((auth_key or "").strip(), problem)


def require_secret(secret: Secret, tags: Sequence[str], why: str) -> None:
    """Raises ``GpuError`` for a secret that is missing (BG-TAILNET-010) or that no node can log in with (BG-TAILNET-015)."""
    if not secret.value:
        raise GpuError(
            "BG-TAILNET-010",
            "this node has to log in ({0}), and {1}".format(
                why, secret.problem or "neither auth key nor OAuth secret is declared"
            ),
            "nothing was changed",
            "make an auth key on the login server and put it into that file on the controller, mode 0600",
        )
    if secret.is_oauth and not secret.value.startswith(OAUTH_PREFIX):
        raise _unusable("the OAuth secret does not begin with {0}".format(OAUTH_PREFIX))
    if secret.is_oauth and not tags:
        raise _unusable("an OAuth client is used and no tag is declared, but it makes keys of tagged nodes only")


def hidden(text: str, secret: Secret) -> str:
    """The text without the secret, and without any key that was made from it."""
    bare = secret.value.partition("?")[0]
    for value in (secret.value, bare):
        if value:
            text = text.replace(value, _HIDDEN)
    return _ANY_KEY.sub(_HIDDEN, text)


def require_server(url: str, open_url: Open, clock: Clock, most_skew_s: float) -> None:
    """Ask the login server for its public key. Raises ``GpuError`` when it is none (BG-TAILNET-005) or its clock differs (BG-TAILNET-007)."""
    try:
        body, date = _get(open_url, url, True)
    except HTTPError as error:
        raise _no_server(url, "answers {0}".format(error.code)) from None
    except Exception as error:
        # A certificate is also refused by a clock that is wrong, which only the answer can tell.
        if "certificate" in str(error).lower():
            _require_clock(url, _date_without_trust(open_url, url), clock(), most_skew_s)
        raise _no_server(url, str(error).strip() or type(error).__name__) from None
    if not is_control_server(body):
        raise _no_server(url, "has no control server's key at /key")
    _require_clock(url, date, clock(), most_skew_s)


def is_control_server(body: bytes) -> bool:
    """Whether this is what a control server says of its keys."""
    try:
        document = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and str(document.get("publicKey", "")).startswith("mkey:")


def _get(open_url: Open, url: str, validates: bool) -> Tuple[bytes, str]:
    response = open_url(
        url + _KEY_PATH, timeout=_PROBE_TIMEOUT_S, validate_certs=validates, http_agent="ansible-baremetal-gpu"
    )
    return response.read(_MOST_BYTES), str(response.headers.get("Date") or "")


def _date_without_trust(open_url: Open, url: str) -> str:
    """The date that a server says whose certificate is refused; nothing is sent to it, and nothing else of it is believed."""
    try:
        return _get(open_url, url, False)[1]
    except HTTPError as error:
        return str(error.headers.get("Date") or "")
    except Exception:
        return ""


def _require_clock(url: str, date: str, now_s: float, most_skew_s: float) -> None:
    try:
        skew_s = now_s - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return
    if abs(skew_s) > most_skew_s:
        raise GpuError(
            "BG-TAILNET-007",
            "this host's clock is {0:.0f} s {1} of {2}'s".format(abs(skew_s), "ahead" if skew_s > 0 else "behind", url),
            "certificates and keys are valid for a time, and peers refuse handshakes that seem to be from the past",
            "let the host synchronise its clock, then run again",
        )


def _no_server(url: str, how: str) -> GpuError:
    return GpuError(
        "BG-TAILNET-005",
        "{0} cannot be logged in to: {1}".format(url, how),
        "nothing was changed",
        "correct the login server's address; it must be reachable from this host, with a certificate that this host trusts",
    )


def _unusable(what: str) -> GpuError:
    return GpuError("BG-TAILNET-015", what, "nothing was changed", "correct the declaration")


_REFUSALS: Tuple[Tuple[Pattern[str], str, str, str], ...] = (
    (
        re.compile(r"(?i)requested tags|\btags?\b[^.]*\b(invalid|not permitted|not allowed|unauthorized)"),
        "BG-TAILNET-006",
        "",
        "",
    ),
    (
        re.compile(r"(?i)\bkey\b[^.]{0,60}\bexpired|\bexpired\b[^.]{0,20}\bkey\b|\bauthkey expired"),
        "BG-TAILNET-001",
        "the login server refuses the auth key as expired",
        "make a new auth key and put it into the key's file",
    ),
    (
        re.compile(r"(?i)\balready (been )?used\b|\bnot reusable\b"),
        "BG-TAILNET-002",
        "the login server refuses the auth key as used already",
        "make one key per node, or one that is reusable",
    ),
    (
        re.compile(
            r"(?i)\binvalid (pre ?auth |auth)? ?-?key\b|key (does not exist|not found|not valid)|\bunable to validate\b"
            r"|\bAPI key\b|\binvalid_client\b|\boauth2: cannot fetch token"
        ),
        "BG-TAILNET-003",
        "the login server does not know the auth key or OAuth client",
        "see that the key was made on this login server, and was copied whole",
    ),
)


def refusal(text: str) -> Optional[GpuError]:
    """What the login server's word means, when it will not change by waiting; None when it may, or is not known."""
    for pattern, code, what, remedy in _REFUSALS:
        if pattern.search(text):
            if code == "BG-TAILNET-006":
                return tags_refused("the declared tags: {0}".format(text.strip()))
            return GpuError(code, "{0}: {1}".format(what, text.strip()), "the node is not in the tailnet", remedy)
    return None
