"""Groups, readiness, waivers, placeholders, secrets and kubeconfigs."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import FileFacts, Inventory
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.placeholders import kind_of
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.plaintext import secrets_in
from ansible_collections.baremetal.gpu.plugins.plugin_utils import kubeconfigs

READY = dict.fromkeys(("rack_units", "power_feeds", "cooling", "cabling", "ip_and_dns_plan", "tailnet_acl"), True)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def codes(inventory: Inventory) -> list[str]:
    return [refusal.code for refusal in refusals(inventory)]


def grouped(good: Inventory, **groups: set[str]) -> Inventory:
    return replace(good, groups={**good.groups, **{name: frozenset(hosts) for name, hosts in groups.items()}})


def test_group_without_hosts_is_refused(good: Inventory) -> None:
    (refusal,) = refusals(grouped(good, k3s_server=set()))
    assert (refusal.code, refusal.subject) == ("BG-INV-024", "spark")
    assert "group k3s_server" in refusal.what


def test_missing_group_is_answered_with_the_near_one(good: Inventory) -> None:
    groups = {**{name: hosts for name, hosts in good.groups.items() if name != "spark"}, "sparks": frozenset({"x"})}
    (refusal,) = refusals(replace(good, groups=groups))
    assert refusal.code == "BG-INV-024"
    assert "did you mean sparks" in refusal.hint


def test_host_outside_the_group_that_is_verified_is_refused(good: Inventory) -> None:
    assert codes(grouped(good, spark_system={"calypso"})) == ["BG-INV-025"]


@pytest.mark.parametrize(
    "groups",
    [{"k3s_server": {"calypso", "spark-01"}}, {"onyx": {"onyx-m1", "onyx-g1", "spark-01"}}],
)
def test_host_in_groups_that_exclude_each_other_is_refused(good: Inventory, groups: dict[str, set[str]]) -> None:
    (refusal,) = refusals(grouped(good, **groups))
    assert (refusal.code, refusal.subject) == ("BG-INV-025", "spark-01")


@pytest.mark.requirement("SPARK-01")
@pytest.mark.parametrize("answer", [None, False, "yes", 1, {}, {"waived": ""}, {"waived": True}, {"waved": "no"}])
def test_readiness_item_that_is_neither_true_nor_waived_with_a_reason_is_refused(spoil: Any, answer: Any) -> None:
    spoilt = spoil("spark-01", site_readiness={**READY, "cooling": answer})
    (refusal,) = refusals(spoilt)
    assert refusal.code == "BG-INV-050"
    assert "cooling" in refusal.what


@pytest.mark.requirement("SPARK-01")
def test_missing_checklist_is_refused_item_by_item(spoil: Any) -> None:
    assert codes(spoil("spark-01", site_readiness=None)) == ["BG-INV-050"] * len(READY)
    assert codes(spoil("spark-01", site_readiness="all done")) == ["BG-INV-050"]


def test_waived_item_needs_a_reason_only(spoil: Any) -> None:
    assert codes(spoil("spark-01", site_readiness={**READY, "cooling": {"waived": "a shelf in an office"}})) == []


def test_unknown_readiness_item_is_answered_with_the_near_one(spoil: Any) -> None:
    (refusal,) = refusals(spoil("spark-01", site_readiness={**READY, "colling": True}))
    assert (refusal.code, refusal.hint) == ("BG-INV-051", "did you mean cooling?")


@pytest.mark.parametrize(
    ("code", "refused"),
    [("BG-GPU-009", False), ("BG-GPU-999", True), ("BG-INV-001", True), ("BG-IMG-001", True), ("", True)],
)
def test_only_findings_can_be_waived(spoil: Any, code: str, refused: bool) -> None:
    spoilt = spoil("spark-01", gpu_verify_waivers=[{"code": code, "reason": "shared kernel"}])
    assert ("BG-INV-052" in codes(spoilt)) is refused


@pytest.mark.parametrize(
    ("text", "placeholder"),
    [
        ("FILL-IN", True),
        ("please CHANGEME", True),
        ("0" * 64, True),
        ("0" * 40, True),
        ("192.0.2.20", True),
        ("https://198.51.100.7:6443", True),
        ("2001:db8::7", True),
        ("https://mirror.example.com/k3s", True),
        ("mirror.example", True),
        ("filling in", False),
        ("0" * 63 + "1", False),
        ("10.192.0.2", False),
        ("192.0.20.2", False),
        ("2001:db9::7", False),
        ("https://example-site.com/k3s", False),
        ("https://myexample.com/k3s", False),
        ("v1.34.4+k3s1", False),
    ],
)
def test_placeholders_are_told_from_values(text: str, placeholder: bool) -> None:
    assert bool(kind_of(text)) is placeholder


def test_placeholder_is_told_once_and_as_that_only(spoil: Any) -> None:
    (refusal,) = refusals(spoil("spark-01", k3s_agent_binary_sha256="FILL-IN"))
    assert (refusal.code, refusal.variable) == ("BG-INV-049", "k3s_agent_binary_sha256")


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("ansible_become_password", "hunter2", ["ansible_become_password"]),
        ("vault_k3s_token", "abc", ["vault_k3s_token"]),
        ("notes", "the token is K10" + "b" * 64 + "::server:abc", ["notes"]),
        ("keys", [{"data": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc"}], ["keys[0].data"]),
        ("site", {"tailscale": {"auth_key": "abc"}}, ["site.tailscale.auth_key"]),
        ("ansible_become_password", "{{ vault_become_password }}", []),
        ("k3s_agent_token_file", "/secrets/token", []),
        ("k3s_agent_token", "/secrets/token", []),
        ("k3s_token", "", []),
        ("password_policy", "strict", []),
        ("site_secrets", "~/.config/site", []),
        ("tokens_per_second", "20", []),
    ],
)
def test_secrets_in_plain_text_are_told_from_what_leads_to_them(name: str, value: Any, found: list[str]) -> None:
    assert [where for where, _kind, _text in secrets_in(name, value)] == found


def test_exposed_secret_is_refused_without_being_shown(good: Inventory) -> None:
    spark = next(host for host in good.hosts if host.name == "spark-01")
    exposed = replace(spark, exposed={"site.token": "a k3s token"})
    (refusal,) = refusals(replace(good, hosts=tuple(exposed if host is spark else host for host in good.hosts)))
    assert refusal.code == "BG-INV-037"
    assert "site.token holds a k3s token in plain text" in refusal.what


def certificate(days: int) -> str:
    """A client certificate that ends so many days after NOW, as kubeconfigs hold it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "system:admin")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def kubeconfig(server: str = "https://10.0.0.20:6443", **changes: Any) -> str:
    cluster = {"server": server, "certificate-authority-data": "eA==", **changes.get("cluster", {})}
    return yaml.safe_dump(
        {
            "current-context": "default",
            "clusters": [
                {"name": "other", "cluster": {"server": "https://127.0.0.1:1"}},
                {"name": "default", "cluster": cluster},
            ],
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
            "users": [{"name": "default", "user": changes.get("user", {"token": "abc"})}],
        }
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{ not yaml", "BG-INV-006"),
        ("just text", "BG-INV-006"),
        ("clusters: []", "BG-INV-006"),
        (kubeconfig(server=""), "BG-INV-006"),
        (kubeconfig(user={"client-certificate-data": "bm8gY2VydA=="}), "BG-INV-006"),
        (kubeconfig(cluster={"insecure-skip-tls-verify": True}), "BG-INV-034"),
        (kubeconfig(user={"client-certificate-data": certificate(-1)}), "BG-INV-035"),
        (kubeconfig(server="https://127.0.0.1:6443"), "BG-INV-036"),
        (kubeconfig(server="https://localhost:6443"), "BG-INV-036"),
        (kubeconfig(), None),
        (kubeconfig(user={"client-certificate-data": certificate(1)}), None),
    ],
    # The certificates are new each time, and several processes must know the tests by the same names.
    ids=[
        "no YAML",
        "no mapping",
        "no cluster",
        "no server",
        "no certificate",
        "no TLS",
        "ended certificate",
        "loopback address",
        "loopback name",
        "token",
        "good certificate",
    ],
)
def test_kubeconfig_with_which_nobody_can_watch_the_cluster(good: Inventory, text: str, code: str | None) -> None:
    facts = FileFacts(exists=True, regular=True, mode=0o600, text=text)
    spoilt = replace(
        good,
        read=lambda path: facts if path == "/secrets/kubeconfig" else good.read(path),
        kubeconfig=lambda _path: kubeconfigs.parse(text),
        now=NOW,
    )
    # Three roles name the same file, which is told once.
    assert codes(spoilt) == ([code] if code else [])


def test_fault_of_a_kubeconfig_never_quotes_it() -> None:
    assert "secret" not in kubeconfigs.parse("users: [ secret-key: {").fault
