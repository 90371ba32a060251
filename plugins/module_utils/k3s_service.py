"""What k3s needs on a host as a service: files, unit and downloads, and what differs from what is there. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple, Union

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

BINARY = "/usr/local/bin/k3s"
PREVIOUS_BINARY = BINARY + ".previous"
CONFIGURATION = "/etc/rancher/k3s/config.yaml"
IMAGES = "/var/lib/rancher/k3s/agent/images"

HEADER = "# Managed by Ansible (collection baremetal.gpu); changes made here are lost.\n"

# They count only when the node registers. A registered node's labels and taints are corrected through the API.
ONLY_AT_REGISTRATION: FrozenSet[str] = frozenset({"node-label", "node-taint"})

# Parts of an installation, in the order in which they are written.
PARTS = ("binary", "images", "configuration", "token", "unit")
# The agent watches the folder of image archives; everything else is read when the service starts.
READ_AT_START: FrozenSet[str] = frozenset({"binary", "configuration", "token", "unit"})

RUNNING: FrozenSet[str] = frozenset({"active", "activating", "reloading"})
"""systemd's states of a service that runs, or is tried again and again; a restart makes it read its files anew."""

_UNIT = """\
[Unit]
Description={description}
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Service]
Type={type}
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/systemd/system/%N.service.env
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart={binary} {command}
# Pods outlive the service: only its own process is stopped.
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s

[Install]
WantedBy=multi-user.target
"""

TAILNET_WAIT_S = 120
"""How long a start waits for the tailnet's address. A daemon that logs in needs seconds; systemd tries again when it was in vain."""

# Wants, not Requires: a node whose tailscaled restarts goes on. tailscaled's unit is up before its address is there, so that is waited for.
# Nothing here may have a dollar or percent sign, which systemd would replace.
_AFTER_TAILNET = """\
[Unit]
Wants=tailscaled.service
After=tailscaled.service

[Service]
ExecStartPre=/bin/sh -c '{wait} || {{ echo "{problem}" >&2; exit 1; }}'
"""
_WAIT = 'timeout {0} sh -c "until ip -oneline address show dev {1} 2>/dev/null | grep -qwF {2}; do sleep 1; done"'


@dataclass(frozen=True)
class Service:
    """One way to run k3s. ``unit_type`` is how systemd learns that it is up: only a server says so."""

    command: str
    name: str
    description: str
    unit_type: str
    token_file: str

    @property
    def unit_file(self) -> str:
        return "/etc/systemd/system/{0}.service".format(self.name)

    @property
    def tailnet_file(self) -> str:
        """Where the unit is told to come after the tailnet. The unit itself is the same with and without one."""
        return "{0}.d/baremetal-gpu-tailnet.conf".format(self.unit_file)

    def unit(self) -> str:
        """The text of the unit. All settings are in the configuration file, so that no other installer's run loses them."""
        return HEADER + _UNIT.format(
            description=self.description, type=self.unit_type, binary=BINARY, command=self.command
        )


SERVICES: Mapping[str, Service] = {
    "agent": Service("agent", "k3s-agent", "Lightweight Kubernetes agent", "exec", "/etc/rancher/k3s/agent-token"),
    "server": Service("server", "k3s", "Lightweight Kubernetes", "notify", "/etc/rancher/k3s/server-token"),
}


@dataclass(frozen=True)
class Download:
    """A file that comes from an address and is known by its SHA-256."""

    part: str
    path: str
    url: str
    sha256: str
    mode: int


@dataclass(frozen=True)
class TextFile:
    """A file with this content."""

    part: str
    path: str
    text: str
    mode: int
    secret: bool = False
    at_start: bool = True
    """Whether a running service would be another one if it started again with it."""


@dataclass(frozen=True)
class Absence:
    """A file that must not be there."""

    part: str
    path: str


@dataclass(frozen=True)
class Tailnet:
    """The tailnet that carries a node: its network device, and the host's address in it."""

    interface: str
    address: str


@dataclass(frozen=True)
class Found:
    """What is at a path now. ``text`` is read for small files only; it is None for downloads and absent files."""

    sha256: Optional[str] = None
    mode: Optional[int] = None
    owner: Tuple[int, int] = (0, 0)
    text: Optional[str] = None


@dataclass(frozen=True)
class Change:
    """One difference. ``content`` is False where only mode or owner differ, which no running service notices."""

    part: str
    path: str
    content: bool
    at_start: bool


@dataclass(frozen=True)
class Plan:
    """What must be written."""

    downloads: Tuple[Download, ...]
    files: Tuple[TextFile, ...]
    changes: Tuple[Change, ...]
    removals: Tuple[Absence, ...] = ()

    @property
    def concerns_what_runs(self) -> bool:
        """Whether a service that runs would read something else if it started again."""
        return any(change.at_start for change in self.changes)

    def changes_content_of(self, part: str) -> bool:
        return any(change.part == part and change.content for change in self.changes)


def wanted_downloads(binary_url: str, binary_sha256: str, archives: Sequence[Mapping[str, str]]) -> List[Download]:
    """The binary and the image archives; an archive keeps the name that the last part of its address has."""
    found = [Download("binary", BINARY, binary_url, binary_sha256.lower(), 0o755)]
    for archive in archives:
        path = "{0}/{1}".format(IMAGES, _file_name(archive["url"]))
        found.append(Download("images", path, archive["url"], archive["sha256"].lower(), 0o644))
    return found


def wanted_files(
    service: Service, settings: Mapping[str, Any], token: Optional[str], tailnet: Optional[Tailnet] = None
) -> List[TextFile]:
    """Configuration, token and unit. Raises ``GpuError`` BG-K3S-004 for a setting that has no place in the file.

    With a tailnet the node has its address, flannel its device, and the unit its order.
    """
    given = dict(settings)
    files = []
    if tailnet is not None:
        given.update({"node-ip": tailnet.address, "flannel-iface": tailnet.interface})
        wait = _WAIT.format(TAILNET_WAIT_S, tailnet.interface, tailnet.address)
        problem = "{0} has no address {1} after {2} s: this host is not in its tailnet".format(
            tailnet.interface, tailnet.address, TAILNET_WAIT_S
        )
        text = HEADER + _AFTER_TAILNET.format(wait=wait, problem=problem)
        # An order counts at the next start; what runs now came after the tailnet, or it would have no such address.
        files.append(TextFile("unit", service.tailnet_file, text, 0o644, at_start=False))
    if token is not None:
        given["token-file"] = service.token_file
        files.append(TextFile("token", service.token_file, token.strip() + "\n", 0o600, secret=True))
    return [
        TextFile("configuration", CONFIGURATION, render(given), 0o600),
        *files,
        TextFile("unit", service.unit_file, service.unit(), 0o644),
    ]


def unwanted_files(service: Service, tailnet: Optional[Tailnet]) -> List[Absence]:
    """What a node over the tailnet has, and another one has not."""
    return [] if tailnet is not None else [Absence("unit", service.tailnet_file)]


def node_ip_in(text: str) -> str:
    """The node address that a ``config.yaml`` of this collection has; empty when it has none."""
    value = blocks(text).get("node-ip", "").partition(":")[2].strip()
    return value.strip("\"'")


def render(settings: Mapping[str, Any]) -> str:
    """``config.yaml`` with one block per key; empty values are left out. JSON texts are YAML texts, so nothing needs quoting rules.

    Raises ``GpuError`` BG-K3S-004 for a value that is no text, number, truth value or list of those.
    """
    blocks = []
    for key, value in settings.items():
        if value is None or value == "" or value == []:
            continue
        if isinstance(value, (list, tuple)):
            items = "".join("  - {0}\n".format(_scalar(key, item)) for item in value)
            blocks.append("{0}:\n{1}".format(key, items))
        else:
            blocks.append("{0}: {1}\n".format(key, _scalar(key, value)))
    return HEADER + "".join(blocks)


def blocks(text: str) -> Dict[str, str]:
    """The lines of a ``config.yaml`` that belong to each key; comments and empty lines are left out."""
    found: Dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace() and not line.startswith("-"):
            key = line.partition(":")[0].strip("\"'")
            found[key] = ""
        found[key] = "{0}{1}\n".format(found.get(key, ""), line.rstrip())
    return found


def counts_at_start(before: Optional[str], after: str) -> bool:
    """Whether two texts of ``config.yaml`` differ in anything that a registered node reads when it starts."""
    old, new = blocks(before or ""), blocks(after)
    keys = (set(old) | set(new)) - ONLY_AT_REGISTRATION
    return any(old.get(key) != new.get(key) for key in keys)


def compare(wanted: Sequence[Any], found: Mapping[str, Found]) -> Plan:
    """What of the wanted downloads, files and absences differs from what was found; paths that were not found are absent."""
    downloads: List[Download] = []
    files: List[TextFile] = []
    changes: List[Change] = []
    removals: List[Absence] = []
    for item in wanted:
        if isinstance(item, Absence):
            if item.path in found:
                changes.append(Change(item.part, item.path, content=True, at_start=False))
                removals.append(item)
            continue
        now = found.get(item.path, Found())
        if isinstance(item, Download):
            content = now.sha256 != item.sha256
            at_start = content and item.part in READ_AT_START
        else:
            content = now.text != item.text
            at_start = (
                counts_at_start(now.text, item.text) if item.part == "configuration" else content and item.at_start
            )
        if not content and now.mode == item.mode and now.owner == (0, 0):
            continue
        changes.append(Change(item.part, item.path, content, at_start))
        if isinstance(item, Download):
            downloads.append(item)
        else:
            files.append(item)
    return Plan(tuple(downloads), tuple(files), tuple(changes), tuple(removals))


def difference(plan: Plan, found: Mapping[str, Found]) -> List[Dict[str, str]]:
    """The plan for ``--diff``. A secret's content is not shown."""
    shown = []
    items: List[Union[Download, TextFile]] = [*plan.downloads, *plan.files]
    for item in items:
        now = found.get(item.path, Found())
        if isinstance(item, Download):
            before, after = _digest(now.sha256), _digest(item.sha256)
        elif item.secret:
            before, after = _hidden(now.text, "former"), _hidden(item.text, "wanted")
        else:
            before, after = now.text or "", item.text
        shown.append(
            {
                "before_header": _with_mode(item.path, now.mode),
                "after_header": _with_mode(item.path, item.mode),
                "before": before,
                "after": after,
            }
        )
    for removal in plan.removals:
        now = found[removal.path]
        shown.append(
            {
                "before_header": _with_mode(removal.path, now.mode),
                "after_header": "{0} (absent)".format(removal.path),
                "before": now.text or "",
                "after": "",
            }
        )
    return shown


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def release_in(text: str) -> str:
    """The release that ``k3s --version`` names, for example ``vX.Y.Z+k3s1``; empty when it names none."""
    words = text.split()
    return words[2] if words[:2] == ["k3s", "version"] and len(words) > 2 else ""


def _scalar(key: str, value: Any) -> str:
    if isinstance(value, (str, bool, int, float)):
        text = json.dumps(str(value) if isinstance(value, str) else value, ensure_ascii=False)
        # YAML takes some characters only as escapes, and reads JSON's pairs of surrogates as two characters.
        return re.sub(r"[^ -~]", lambda match: "\\U{0:08x}".format(ord(match.group())), text)
    raise GpuError(
        "BG-K3S-004",
        "the k3s setting {0} has a value of type {1}".format(key, type(value).__name__),
        "its file has texts, numbers, truth values and lists of them",
        "write the value as one of these",
    )


def _file_name(url: str) -> str:
    """The last part of an address, with its escapes as they are: a plus sign stays %2B, which is a fine file name."""
    return url.split("?")[0].rstrip("/").rpartition("/")[2]


def _digest(sha256: Optional[str]) -> str:
    return "" if sha256 is None else "sha256:{0}\n".format(sha256)


def _hidden(text: Optional[str], which: str) -> str:
    return "" if text is None else "({0} secret)\n".format(which)


def _with_mode(path: str, mode: Optional[int]) -> str:
    return path if mode is None else "{0} (mode {1:04o})".format(path, mode)
