"""Dates of certificates, and what is said about them."""

from __future__ import annotations

import base64
import datetime
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.certificate_dates import (
    RENEWALS,
    earliest_end,
    judge,
    validity,
)

NOW = "2026-06-01T00:00:00Z"


def element(tag: int, *values: bytes) -> bytes:
    """One DER element."""
    content = b"".join(values)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    octets = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def time_element(moment: datetime.datetime) -> bytes:
    if 1950 <= moment.year < 2050:
        return element(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return element(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode().rjust(15, b"0"))


def certificate(
    begin: datetime.datetime, end: datetime.datetime, *, version: bool = True, issuer: bytes = b""
) -> bytes:
    """A certificate's frame around two dates; nothing of it is signed."""
    fields = [element(0xA0, element(0x02, b"\x02"))] if version else []
    fields += [element(0x02, b"\x01"), element(0x30), element(0x30, issuer)]
    fields += [element(0x30, time_element(begin), time_element(end)), element(0x30), element(0x30)]
    return element(0x30, element(0x30, *fields), element(0x30), element(0x03, b"\x00"))


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def utc(year: int, month: int = 1, day: int = 1) -> datetime.datetime:
    return datetime.datetime(year, month, day, tzinfo=datetime.UTC)


_MOMENTS = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(9999, 12, 31)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=datetime.UTC)
)


@given(_MOMENTS, _MOMENTS, st.booleans(), st.binary(max_size=300))
def test_both_dates_of_any_certificate_are_read(
    begin: datetime.datetime, end: datetime.datetime, version: bool, issuer: bytes
) -> None:
    found = validity(certificate(begin, end, version=version, issuer=issuer))
    assert (found.not_before, found.not_after) == (begin, end)


@given(st.integers(min_value=0, max_value=400))
def test_a_certificate_that_is_cut_off_is_refused(length: int) -> None:
    whole = certificate(utc(2026), utc(2027), issuer=b"x" * 200)
    with pytest.raises(ValueError, match=r"cut off|no certificate"):
        validity(whole[: min(length, len(whole) - 1)])


@given(st.binary(max_size=200))
def test_no_bytes_end_in_anything_but_dates_or_a_value_error(data: bytes) -> None:
    try:
        validity(data)
    except ValueError:
        return
    pytest.fail(f"{data!r} is no certificate")


def test_a_certificate_of_openssl_is_read(tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=test", "-days", "30", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt")]
    subprocess.run([*command, *names], check=True, capture_output=True)
    left = earliest_end((tmp_path / "crt").read_bytes()) - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=29) < left <= datetime.timedelta(days=30)


def test_of_a_chain_the_first_that_ends_counts() -> None:
    chain = pem(certificate(utc(2026), utc(2036))) + pem(certificate(utc(2026), utc(2027)))
    assert earliest_end(chain) == utc(2027)


def test_a_key_beside_the_certificate_is_passed_over() -> None:
    key = b"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n"
    assert earliest_end(pem(certificate(utc(2026), utc(2027))) + key) == utc(2027)


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", pem(b"\x30\x00")]
)
def test_a_file_without_a_certificate_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no certificate|not base64"):
        earliest_end(content)


def reading(end: str = "", problem: str = "", path: str = "/a.crt") -> dict[str, str]:
    return {"path": path, "not_after": end, "problem": problem}


FAR = reading("2027-05-01T00:00:00Z")


@pytest.mark.parametrize(
    ("readings", "status"),
    [
        ([FAR], "ok"),
        ([FAR, reading("2026-08-29T00:00:00Z", path="/b.crt")], "warn"),
        ([FAR, reading(problem="no certificate in it")], "unknown"),
        ([], "unknown"),
        ([FAR, reading("2026-06-01T00:00:00Z")], "fail"),
        ([reading("2026-05-01T00:00:00Z"), reading(problem="Permission denied", path="/b.crt")], "fail"),
    ],
)
def test_the_worst_certificate_decides(readings: list[dict[str, str]], status: str) -> None:
    finding = judge("spark-01", readings, NOW, ["SPARK-12"], simulated=True)
    assert (finding.code, finding.subject, finding.status, finding.simulated) == (
        "BG-CERT-001",
        "spark-01",
        status,
        True,
    )
    assert finding.reason
    assert bool(finding.remedy) is (status != "ok")


@pytest.mark.parametrize("renewed_by", sorted(RENEWALS))
def test_the_limit_is_what_a_renewal_in_time_leaves(renewed_by: str) -> None:
    renewal = RENEWALS[renewed_by]
    limit = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=renewal.warn_days)
    text = limit.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert judge("h", [reading(text)], NOW, [], False, renewal).status == "ok"
    before = (limit - datetime.timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = judge("h", [reading(before)], NOW, [], False, renewal)
    assert (found.status, found.remedy) == ("warn", renewal.remedy)


def test_kubelet_that_is_yet_to_renew_its_certificate_is_no_warning() -> None:
    """It does so when at most 90 % of its year are over."""
    assert judge("h", [reading("2026-07-08T00:00:00Z")], NOW, [], False, RENEWALS["kubeadm"]).status == "ok"
