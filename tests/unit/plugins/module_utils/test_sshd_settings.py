"""What sshd has in effect is read from itself, and whoever it would shut out is named before anything changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sshd_settings import (
    User,
    drop_in,
    key_files,
    keys_text,
    overridden,
    parse_effective,
    shut_out,
    wanted_from,
    without_key,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJpZ2JpZ2JpZ2JpZ2JpZ2JpZ2JpZ2JpZ2JpZ2I= operator"
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 old"
EFFECTIVE = """
port 22
pubkeyauthentication yes
passwordauthentication no
kbdinteractiveauthentication no
permitemptypasswords no
hostbasedauthentication no
permitrootlogin without-password
strictmodes yes
authenticationmethods any
ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com
macs hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com
kexalgorithms sntrup761x25519-sha512,curve25519-sha256
hostkeyalgorithms ssh-ed25519,rsa-sha2-512
pubkeyacceptedalgorithms ssh-ed25519,rsa-sha2-512,rsa-sha2-256
authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2
authorizedkeyscommand none
"""


def effective(**changes: str) -> dict[str, tuple[str, ...]]:
    found = parse_effective(EFFECTIVE)
    found.update({keyword: tuple(value.split("|")) for keyword, value in changes.items()})
    return found


def user(name: str = "ada", *groups: str, **changes: Any) -> User:
    return User(name, groups or ("ada", "ops"), **{"keys": (KEY,), **changes})


def test_nothing_is_overridden_where_sshd_does_as_declared() -> None:
    assert overridden(effective(), wanted_from("prohibit-password", [], {})) == ()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("passwordauthentication", "yes"),
        ("permitrootlogin", "yes"),
        ("kbdinteractiveauthentication", "yes"),
        ("ciphers", "aes256-gcm@openssh.com,aes128-cbc"),
        ("macs", "hmac-sha1"),
        ("macs", "umac-64-etm@openssh.com"),
        ("kexalgorithms", "curve25519-sha256,diffie-hellman-group14-sha1"),
        ("hostkeyalgorithms", "ssh-rsa"),
        ("pubkeyacceptedalgorithms", "ssh-rsa-cert-v01@openssh.com"),
    ],
)
def test_a_setting_that_stays_in_effect_is_named(keyword: str, value: str) -> None:
    found = overridden(effective(**{keyword: value}), wanted_from("prohibit-password", [], {}))
    assert [text.split(" ")[0] for text in found] == [keyword]


def test_modern_names_that_look_like_weak_ones_are_left() -> None:
    names = {"hostkeyalgorithms": "rsa-sha2-512-cert-v01@openssh.com", "macs": "umac-128@openssh.com"}
    assert overridden(effective(**names), wanted_from("prohibit-password", [], {})) == ()


def test_groups_are_compared_without_their_order() -> None:
    wanted = wanted_from("no", ["ops", "ada"], {})
    assert overridden(effective(permitrootlogin="no", allowgroups="ada|ops"), wanted) == ()
    assert overridden(effective(permitrootlogin="no", allowgroups="ada"), wanted) == ("allowgroups ada",)


def test_further_settings_replace_own_ones_and_stand_once_in_the_file() -> None:
    text = drop_in(wanted_from("no", [], {"ciphers": "aes256-gcm@openssh.com", "X11Forwarding": False}))
    keywords = [line.split()[0].lower() for line in text.splitlines() if not line.startswith("#")]
    assert len(keywords) == len(set(keywords))
    assert "X11Forwarding no" in text.splitlines()
    assert "ciphers aes256-gcm@openssh.com" in text.splitlines()


@pytest.mark.parametrize(
    "further",
    [{"Match": "all"}, {"include": "/x"}, {"A B": "c"}, {"Banner": "x\nPasswordAuthentication yes"}, {"Banner": " "}],
)
def test_what_is_no_line_of_settings_is_refused(further: dict[str, str]) -> None:
    with pytest.raises(GpuError) as refused:
        wanted_from("no", [], further)
    assert refused.value.code == "BG-ACCESS-108"


@pytest.mark.parametrize("group", ["", "a b", 'a"', "a#b"])
def test_what_is_no_group_is_refused(group: str) -> None:
    with pytest.raises(GpuError):
        wanted_from("no", [group], {})


@pytest.mark.parametrize(
    "changes",
    [
        {"allowgroups": "wheel"},
        {"allowgroups": "!ops|*"},
        {"allowusers": "grace"},
        {"denyusers": "*"},
        {"denyusers": "a?a"},
        {"denygroups": "ops"},
        {"pubkeyauthentication": "no"},
        {"authenticationmethods": "publickey,password"},
    ],
)
def test_an_operator_who_would_be_shut_out_is_told_why(changes: dict[str, str]) -> None:
    assert shut_out(effective(**changes), user())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"allowgroups": "wheel|ops"},
        {"allowgroups": "o*"},
        {"allowusers": "ada@10.0.0.*"},
        {"denyusers": "grace"},
        {"authenticationmethods": "publickey,password publickey"},
    ],
)
def test_an_operator_who_may_come_in_is_not_refused(changes: dict[str, str]) -> None:
    assert shut_out(effective(**changes), user()) is None


def test_root_is_shut_out_by_its_own_setting() -> None:
    root = user("root", "root", is_root=True)
    assert shut_out(effective(), root) is None
    assert shut_out(effective(permitrootlogin="no"), root)
    assert shut_out(effective(permitrootlogin="no"), user()) is None


def test_a_user_that_is_not_there_is_told() -> None:
    assert shut_out(effective(), user(exists=False)) == "there is no such user on the host"


@pytest.mark.parametrize(
    ("changes", "keys", "reason"),
    [
        ({}, (), "has no key"),
        ({}, ("# " + KEY,), "has no key"),
        ({}, ("ssh-ed25519 short",), "has no key"),
        ({"pubkeyacceptedalgorithms": "ecdsa-sha2-nistp256"}, (KEY,), "accepts none of the user's types"),
        ({"authorizedkeysfile": "none"}, (), "none has no key"),
    ],
)
def test_an_operator_without_a_key_that_counts_is_told_why(changes: Any, keys: tuple[str, ...], reason: str) -> None:
    assert reason in str(without_key(effective(**changes), user(keys=keys)))


def test_a_key_counts_with_options_and_under_its_newer_algorithms() -> None:
    assert without_key(effective(), user(keys=('from="10.0.0.0/8",no-pty ' + KEY,))) is None
    assert without_key(effective(), user(keys=(RSA,))) is None
    assert without_key(effective(pubkeyacceptedalgorithms="ssh-ed25519"), user(keys=(RSA,)))


def test_a_program_that_supplies_keys_is_not_second_guessed() -> None:
    assert without_key(effective(authorizedkeyscommand="/usr/bin/sss_ssh_authorizedkeys"), user(keys=())) is None


def test_files_that_others_may_write_are_named() -> None:
    assert "others may write" in str(without_key(effective(), user(keys=(), unsafe=("others may write /home/ada",))))


def test_key_files_are_those_that_sshd_looks_at() -> None:
    found = key_files(effective(authorizedkeysfile="%h/k /etc/keys/%u %%h none"), "ada", "/home/ada")
    assert found == ("/home/ada/k", "/etc/keys/ada", "/home/ada/%h")


@pytest.mark.parametrize("key", ["", "hello", "-----BEGIN OPENSSH PRIVATE KEY-----", KEY + "\n" + KEY])
def test_what_is_no_public_key_is_refused_and_not_told_in_full(key: str) -> None:
    with pytest.raises(GpuError) as refused:
        keys_text([key])
    assert refused.value.code == "BG-ACCESS-108"
    assert len(str(refused.value)) < 300


@given(st.text())
def test_whatever_sshd_prints_can_be_read(text: str) -> None:
    assert all(keyword == keyword.lower() for keyword in parse_effective(text))


@given(st.lists(st.sampled_from(["ada", "ops", "wheel"]), min_size=1, max_size=3, unique=True))
def test_the_file_of_declared_groups_reads_back_as_them(groups: list[str]) -> None:
    wanted = wanted_from("prohibit-password", groups, {})
    printed = "\n".join(line for line in drop_in(wanted).splitlines() if not line.startswith("#"))
    lists = [line for line in printed.splitlines() if " -" in line]
    read_back = {**parse_effective(EFFECTIVE), **parse_effective(printed)}
    # Of the lists sshd prints what is left, not what was taken away.
    read_back.update({line.split()[0].lower(): parse_effective(EFFECTIVE)[line.split()[0].lower()] for line in lists})
    assert overridden(read_back, wanted) == ()
