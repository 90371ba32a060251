"""Validity of X.509 certificates in PEM files, and what to say about it. Pure, with nothing but the standard library.

Only as much of DER (ITU-T X.690) is read as leads to a certificate's two dates (RFC 5280, section 4.1).
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN, Finding


@dataclass(frozen=True)
class Renewal:
    """How somebody's certificates are renewed: with how many days left that should have happened, and what to do when it did not."""

    warn_days: int
    remedy: str


RENEWALS: Mapping[str, Renewal] = {
    # k3s renews what ends within 120 days when it starts (since its releases of 2025; k3s-io/k3s#12171), before that 90 days. A certificate
    # that is nearer to its end than this was not renewed at a start, or there was no start for a month.
    "k3s": Renewal(90, "restart the service: k3s renews its certificates when it starts"),
    # kubeadm renews at an upgrade only. A kubelet renews its own when 70 to 90 % of their year are over (client-go's certificate manager), so
    # that at least 36 days are left.
    "kubeadm": Renewal(
        30,
        "on the control plane run kubeadm certs renew all and restart its static pods; a kubelet that did not renew its own says why in its log",
    ),
}

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)

_SEQUENCE = 0x30
_INTEGER = 0x02
_VERSION = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18

Element = Tuple[int, bytes]


@dataclass(frozen=True)
class Validity:
    """From when until when a certificate is good, in UTC."""

    not_before: datetime.datetime
    not_after: datetime.datetime


def earliest_end(content: bytes) -> datetime.datetime:
    """When the first certificate of a PEM file ends. Raises ValueError when the file has none, or one that cannot be read."""
    blocks = _PEM.findall(content)
    if not blocks:
        raise ValueError("no certificate in it")
    return min(validity(_decoded(block)).not_after for block in blocks)


def validity(certificate: bytes) -> Validity:
    """The dates of a certificate in DER. Raises ValueError for anything else."""
    body = _children(_only(certificate, _SEQUENCE))
    if not body or body[0][0] != _SEQUENCE:
        raise ValueError("no certificate")
    fields = _children(body[0][1])
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    # Serial number, signature algorithm, issuer, validity.
    if len(fields) < 4 or [tag for tag, _value in fields[:4]] != [_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE]:
        raise ValueError("no certificate")
    dates = _children(fields[3][1])
    if len(dates) != 2:
        raise ValueError("no validity")
    return Validity(_time(dates[0]), _time(dates[1]))


def judge(
    subject: str,
    readings: Sequence[Mapping[str, Any]],
    now: str,
    requirements: Sequence[str],
    simulated: bool,
    renewal: Renewal = RENEWALS["k3s"],
) -> Finding:
    """One finding over all certificates of a host. A file that cannot be read is unknown, and so is no file at all."""
    moment = parse(now)
    ends: List[Tuple[datetime.datetime, str]] = sorted(
        (parse(reading["not_after"]), reading["path"]) for reading in readings if reading.get("not_after")
    )
    unread = ["{0} ({1})".format(reading["path"], reading["problem"]) for reading in readings if reading.get("problem")]
    expired = [path for end, path in ends if end <= moment]
    soon = [path for end, path in ends if moment < end < moment + datetime.timedelta(days=renewal.warn_days)]
    evidence: Dict[str, Any] = {
        "what": "validity of certificates",
        "where": subject,
        "when": now,
        "files": len(readings),
    }
    remedy = renewal.remedy
    if ends:
        evidence["first"] = {"path": ends[0][1], "not_after": _text(ends[0][0])}
    if expired:
        status, reason = FAIL, "expired: {0}".format(", ".join(expired))
    elif unread:
        status, reason = UNKNOWN, "cannot be read: {0}".format(", ".join(unread))
        remedy = "look at the files"
    elif not readings:
        status, reason = UNKNOWN, "no certificate was found"
        remedy = "the service was never started here, or keeps its certificates elsewhere"
    elif soon:
        status, reason = WARN, "less than {0} days left: {1}".format(renewal.warn_days, ", ".join(soon))
    else:
        status, reason, remedy = OK, "{0} certificates, the first ends {1}".format(len(ends), _text(ends[0][0])), ""
    return Finding(
        code="BG-CERT-001",
        subject=subject,
        status=status,
        reason=reason,
        remedy=remedy,
        evidence=evidence,
        requirements=tuple(requirements),
        simulated=simulated,
    )


def parse(text: str) -> datetime.datetime:
    """A moment from ``2026-01-01T00:00:00Z``."""
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)


def _text(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _decoded(block: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(block.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _only(data: bytes, tag: int) -> bytes:
    elements = _children(data)
    if len(elements) != 1 or elements[0][0] != tag:
        raise ValueError("no certificate")
    return elements[0][1]


def _children(data: bytes) -> List[Element]:
    """The elements that a value consists of, each with its tag. Raises ValueError when they do not fill it exactly."""
    found = []
    position = 0
    while position < len(data):
        tag = data[position]
        length, start = _length(data, position + 1)
        end = start + length
        if tag & 0x1F == 0x1F or end > len(data):
            raise ValueError("cut off or not DER")
        found.append((tag, data[start:end]))
        position = end
    return found


def _length(data: bytes, position: int) -> Tuple[int, int]:
    """An element's length and where its value starts."""
    if position >= len(data):
        raise ValueError("cut off")
    first = data[position]
    if first < 0x80:
        return first, position + 1
    count = first & 0x7F
    octets = data[position + 1 : position + 1 + count]
    # No certificate needs more than four octets; none at all is the indefinite form, which DER does not have.
    if not 1 <= count <= 4 or len(octets) < count:
        raise ValueError("cut off or not DER")
    return int.from_bytes(octets, "big"), position + 1 + count


def _time(element: Element) -> datetime.datetime:
    """UTCTime or GeneralizedTime in the one form that RFC 5280 allows; two-digit years mean 1950 to 2049."""
    tag, value = element
    text = value.decode("ascii", "replace")
    if tag == _UTC_TIME and re.fullmatch(r"\d{12}Z", text):
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif not (tag == _GENERALIZED_TIME and re.fullmatch(r"\d{14}Z", text)):
        raise ValueError("no date")
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
