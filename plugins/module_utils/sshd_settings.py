"""sshd's settings: the drop-in file, what ``sshd -T`` says is in effect, and who could log in by it. Pure."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

DROP_IN = "/etc/ssh/sshd_config.d/00-baremetal-gpu.conf"
"""The first file: sshd takes the first value of a keyword, and cloud-init's file allows passwords."""

WEAK = {
    "KexAlgorithms": ("*-sha1",),
    "Ciphers": ("*-cbc", "arcfour*"),
    "MACs": ("*sha1*", "*md5*", "umac-64*"),
    "HostKeyAlgorithms": ("ssh-rsa*", "ssh-dss*"),
    "PubkeyAcceptedAlgorithms": ("ssh-rsa*", "ssh-dss*"),
}
"""What is taken out of sshd's own lists, whose order and newer entries stay: SHA-1, MD5, CBC, RC4, 64 bit tags and DSA (RFC 9142, RFC 8758,
OpenSSH's release notes of 8.8). Names of newer algorithms would be errors to an older sshd."""

_KEYS_ONLY = (
    ("PubkeyAuthentication", "yes"),
    ("PasswordAuthentication", "no"),
    ("KbdInteractiveAuthentication", "no"),
    ("PermitEmptyPasswords", "no"),
    ("HostbasedAuthentication", "no"),
)
_SYNONYMS = {"without-password": "prohibit-password"}
_KEYWORD = re.compile(r"^[A-Za-z][A-Za-z0-9]*$")
# Names under which sshd prints keywords that it has renamed.
_PRINTED = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
}

# Which algorithms a key of a type may be used with; every other type has its own name.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}
_KEY_TYPE = re.compile(
    r"(?:^|[\s])((?:ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-nistp\d+|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r"(?:-cert-v01@openssh\.com)?)\s+AAAA[A-Za-z0-9+/=]{16,}"
)

Effective = Mapping[str, Tuple[str, ...]]


@dataclass(frozen=True)
class Wanted:
    """What is declared: keyword and value in the order of the file; an empty ``groups`` lets every group in."""

    permit_root: str
    groups: Tuple[str, ...] = ()
    further: Tuple[Tuple[str, str], ...] = ()

    @property
    def settings(self) -> Tuple[Tuple[str, str], ...]:
        own = [*self.further]
        taken = {keyword.lower() for keyword, _value in self.further}
        base = [*_KEYS_ONLY, ("PermitRootLogin", self.permit_root)]
        base += [(keyword, "-" + ",".join(patterns)) for keyword, patterns in WEAK.items()]
        if self.groups:
            base.append(("AllowGroups", " ".join(self.groups)))
        return tuple([(keyword, value) for keyword, value in base if keyword.lower() not in taken] + own)


def wanted_from(permit_root: str, groups: Sequence[str], further: Mapping[str, object]) -> Wanted:
    """The declaration. Raises ``GpuError`` (BG-ACCESS-108) for what cannot be a line of sshd_config."""
    pairs = []
    for keyword, value in further.items():
        # YAML turns a bare yes into a truth value.
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        if (
            not _KEYWORD.match(str(keyword))
            or "\n" in text
            or not text.strip()
            or str(keyword).lower() in ("match", "include")
        ):
            raise _no_value("settings", "{0}: {1}".format(keyword, value))
        pairs.append((str(keyword), text.strip()))
    for group in groups:
        if not re.match(r"^[^\s\"'#]+$", str(group)):
            raise _no_value("allow_groups", group)
    return Wanted(permit_root, tuple(str(group) for group in groups), tuple(pairs))


def _no_value(where: str, value: object) -> GpuError:
    return GpuError(
        "BG-ACCESS-108",
        "{0!r} is no value of ssh_access's {1}".format(value, where),
        "sshd would not be set up as was meant",
        "write keywords of sshd_config(5) with one line as value, without Match and Include",
    )


def drop_in(wanted: Wanted) -> str:
    """The text of the drop-in file."""
    lines = ["# Written by baremetal.gpu (role ssh_access). Changes by hand are lost."]
    lines += ["{0} {1}".format(keyword, value) for keyword, value in wanted.settings]
    return "\n".join(lines) + "\n"


def parse_effective(text: str) -> Dict[str, Tuple[str, ...]]:
    """What ``sshd -T`` printed: values by keyword in small letters. Some keywords have one line per value."""
    found: Dict[str, List[str]] = {}
    for line in text.splitlines():
        keyword, _blank, value = line.strip().partition(" ")
        if keyword:
            found.setdefault(keyword.lower(), []).append(value.strip())
    return {keyword: tuple(values) for keyword, values in found.items()}


def overridden(effective: Effective, wanted: Wanted) -> Tuple[str, ...]:
    """Settings that are not in effect as declared, as ``keyword value``; a keyword that sshd does not print is not judged."""
    found = []
    for keyword, value in wanted.settings:
        printed = _PRINTED.get(keyword.lower(), keyword.lower())
        values = effective.get(printed)
        if values is not None and not _means(printed, values, value):
            found.append("{0} {1}".format(printed, " ".join(values)[:200]))
    return tuple(found)


def _means(keyword: str, values: Sequence[str], declared: str) -> bool:
    if declared.startswith("-"):
        patterns = declared[1:].split(",")
        names = ",".join(values).split(",")
        return not any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
    if keyword in ("allowgroups", "denygroups", "allowusers", "denyusers"):
        return set(" ".join(values).split()) == set(declared.split())
    if declared[:1] in "+^":
        return True
    return [_plain(word) for value in values for word in value.split()] == [_plain(word) for word in declared.split()]


def _plain(word: str) -> str:
    small = word.strip('"').lower()
    return _SYNONYMS.get(small, small)


@dataclass(frozen=True)
class User:
    """A user of the host. ``keys`` are the lines of the files where sshd looks for keys, with why a file does not count."""

    name: str
    groups: Tuple[str, ...] = ()
    exists: bool = True
    keys: Tuple[str, ...] = ()
    unsafe: Tuple[str, ...] = ()
    is_root: bool = False


def shut_out(effective: Effective, user: User) -> Optional[str]:
    """Why sshd would not let this user in, whatever key is shown; ``None`` when it would."""
    if not user.exists:
        return "there is no such user on the host"
    if _first(effective, "pubkeyauthentication", "yes") == "no":
        return "PubkeyAuthentication is no"
    root = _first(effective, "permitrootlogin", "prohibit-password")
    if user.is_root and root in ("no", "forced-commands-only"):
        return "PermitRootLogin is {0}".format(root)
    if _matches(effective.get("denyusers", ()), (user.name,)):
        return "DenyUsers names the user"
    if "allowusers" in effective and not _matches(effective["allowusers"], (user.name,)):
        return "AllowUsers does not name the user"
    if _matches(effective.get("denygroups", ()), user.groups):
        return "DenyGroups names a group of the user"
    if "allowgroups" in effective and not _matches(effective["allowgroups"], user.groups):
        return "the user is in none of AllowGroups ({0})".format(", ".join(effective["allowgroups"]))
    methods = " ".join(effective.get("authenticationmethods", ("any",))).split()
    if "any" not in methods and "publickey" not in methods:
        return "AuthenticationMethods asks for more than a key ({0})".format(" ".join(methods))
    return None


def without_key(effective: Effective, user: User) -> Optional[str]:
    """Why no key that the host knows would let this user in; ``None`` when one may, or when a program supplies the keys."""
    if _first(effective, "authorizedkeyscommand", "none") != "none":
        return None
    accepted = ",".join(effective.get("pubkeyacceptedalgorithms", ())).split(",")
    types = [found[1] for found in map(_KEY_TYPE.search, _lines(user.keys)) if found]
    if any(set(_ALGORITHMS.get(kind, (kind,))) & set(accepted) for kind in types) or (types and accepted == [""]):
        return None
    if types:
        return "sshd accepts none of the user's types of keys ({0})".format(", ".join(sorted(set(types))))
    if user.unsafe:
        return "sshd does not read the user's keys: {0}".format("; ".join(user.unsafe))
    return "{0} has no key".format(" ".join(effective.get("authorizedkeysfile", (".ssh/authorized_keys",))))


def key_files(effective: Effective, name: str, home: str) -> Tuple[str, ...]:
    """The files in which sshd looks for a user's keys."""
    found = []
    for pattern in " ".join(
        effective.get("authorizedkeysfile", (".ssh/authorized_keys", ".ssh/authorized_keys2"))
    ).split():
        if pattern != "none":
            path = pattern.replace("%%", "\0").replace("%h", home).replace("%u", name).replace("\0", "%")
            found.append(path if path.startswith("/") else "{0}/{1}".format(home.rstrip("/"), path))
    return tuple(found)


def keys_text(keys: Sequence[str]) -> str:
    """An authorized_keys file with these keys and no other. Raises ``GpuError`` (BG-ACCESS-108) for a line that is no key."""
    for key in keys:
        if "\n" in key.strip() or not _KEY_TYPE.search(key):
            # The beginning only: whoever pastes a private key here should not find it in a log.
            raise _no_value("authorized_keys", key[:20] + "...")
    return "".join(key.strip() + "\n" for key in keys)


def _lines(texts: Sequence[str]) -> List[str]:
    return [line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")]


def _first(effective: Effective, keyword: str, default: str) -> str:
    return _plain((effective.get(keyword) or (default,))[0])


def _matches(patterns: Sequence[str], names: Sequence[str]) -> bool:
    """sshd's patterns: a name may be excluded with ``!``; the part after ``@`` is about the client's host and is not judged here."""
    words = [word.rpartition("@")[0] or word for text in patterns for word in text.split()]
    excluded = [word[1:] for word in words if word.startswith("!")]
    if any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in excluded):
        return False
    return any(fnmatch.fnmatchcase(name, word) for name in names for word in words if not word.startswith("!"))
