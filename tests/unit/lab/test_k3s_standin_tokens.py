"""A join token names the server's CA, so that a node cannot be made to join a false server."""

from __future__ import annotations

import pytest

from lab.k3s_standin import server, tokens
from lab.k3s_standin.console import FatalError
from lab.k3s_standin.tokens import Token

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
HASH = tokens.ca_hash(CA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"K10{HASH}::server:s3cret\n", Token("s3cret", "server", HASH)),
        (f"K10{HASH}::node:with:colon", Token("with:colon", "node", HASH)),
        ("s3cret", Token("s3cret")),
        ("user:s3cret", Token("user:s3cret")),
    ],
)
def test_both_forms_are_read(text: str, expected: Token) -> None:
    assert tokens.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "  ", "K10", f"K10{HASH}", f"K10{HASH}::server:", f"K10{HASH}::server", "K10abc::server:s3cret"]
)
def test_an_incomplete_token_is_refused(text: str) -> None:
    with pytest.raises(FatalError):
        tokens.parse(text)


def test_a_token_survives_being_written_and_read() -> None:
    token = Token("s3cret", "server", HASH)
    assert tokens.parse(str(token)) == token


def test_another_ca_than_the_tokens_is_refused() -> None:
    with pytest.raises(FatalError, match=f"token CA hash does not match the Cluster CA certificate hash: {HASH} != "):
        Token("s3cret", "server", HASH).check(CA + "x")


@pytest.mark.parametrize("token", [Token("s3cret"), Token("s3cret", "server", HASH)])
def test_the_right_ca_and_a_token_without_hash_are_accepted(token: Token) -> None:
    token.check(CA)


def test_a_server_keeps_its_stored_secret_and_makes_one_when_there_is_none() -> None:
    assert server.choose_secret("", f"K10{HASH}::server:old") == "old"
    assert server.choose_secret("new", "") == "new"
    assert server.choose_secret(f"K10{HASH}::server:same", "same") == "same"
    assert len(server.choose_secret("", "")) == 32


def test_a_server_refuses_another_secret_than_its_data_has() -> None:
    with pytest.raises(FatalError, match="bootstrap data already found and encrypted with different token"):
        server.choose_secret("new", "old")


@pytest.mark.parametrize(("agent", "lines"), [("s1", 1), ("a1", 2)])
def test_who_shows_a_join_token_may_only_bootstrap(agent: str, lines: int) -> None:
    users = server.bootstrap_users(server.Secrets("s1", agent)).splitlines()
    assert len(users) == lines
    assert all(user.endswith('"system:bootstrappers"') for user in users)
