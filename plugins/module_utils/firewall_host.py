"""The firewall of a host: what is loaded, what a declared ruleset would be there, and the change between. Input and output."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import nft_table, other_firewalls
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard import Change, Command, File
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard_host import Guard
from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.firewall_policy import TABLE, removal

RULES = "/etc/baremetal-gpu/firewall.nft"
UNIT = "baremetal-gpu-firewall.service"
_UNIT_PATH = "/etc/systemd/system/" + UNIT
_WANTED_BY = "/etc/systemd/system/sysinit.target.wants/" + UNIT

NFTABLES = "nftables"
UFW = "ufw"
FIREWALLD = "firewalld"


@dataclass(frozen=True)
class _Other:
    """How another firewall's settings last, come back, and where they lie."""

    persist: Tuple[Command, ...] = ()
    restore: Tuple[Command, ...] = ()
    files: Tuple[str, ...] = ()


_OTHERS = {
    NFTABLES: _Other(),
    UFW: _Other(restore=(("ufw", "reload"),), files=other_firewalls.UFW_FILES),
    FIREWALLD: _Other(
        persist=(("firewall-cmd", "--runtime-to-permanent"),),
        restore=(("firewall-cmd", "--reload"),),
        files=other_firewalls.FIREWALLD_FILES,
    ),
}

_SEPARATOR = "=====\n"
# In a network of its own the kernel says what it makes of a ruleset, in the words in which it lists the loaded one.
_SCRATCH = (
    'nft -f "$1" >&2 && nft --json list table inet {0} && printf %s "$2" && nft --stateless list table inet {0}'.format(
        TABLE
    )
)


@dataclass(frozen=True)
class Listing:
    """A table as it is listed: parsed, and as text for people and for ``nft -f``."""

    table: nft_table.Table
    text: str


@dataclass(frozen=True)
class Observation:
    """What differs from what is declared, and both texts. ``nft`` is empty on a host without it."""

    backend: str
    nft: str
    loaded: Optional[Listing]
    wanted: Optional[Listing]
    differences: Tuple[str, ...]
    commands: Tuple[Command, ...] = ()

    @property
    def before(self) -> str:
        return self.loaded.text if self.loaded else ""

    @property
    def after(self) -> str:
        return self.wanted.text if self.wanted else ""


@dataclass(frozen=True)
class Declared:
    """A policy in the words of every firewall: our whole table, its part for a host with another firewall, and that one's rules."""

    ruleset: str
    published: str
    interface: str
    ufw: Tuple[str, ...] = ()
    trusted: other_firewalls.Zone = other_firewalls.EMPTY
    others: other_firewalls.Zone = other_firewalls.EMPTY

    def table(self, backend: str) -> str:
        return self.ruleset if backend == NFTABLES else self.published


def declared_from(plain: Mapping[str, Any]) -> Declared:
    """What the controller rendered, as it comes over the line."""
    return Declared(
        plain["ruleset"],
        plain["published"],
        plain["interface"],
        tuple(plain["ufw"]),
        other_firewalls.Zone(interfaces=tuple(plain["trusted_interfaces"])),
        other_firewalls.Zone(ports=tuple(plain["ports"]), rich_rules=tuple(plain["rich_rules"])),
    )


class Firewall:
    """``which`` finds a program of the host."""

    def __init__(self, guard: Guard, which: Callable[[str], Optional[str]] = shutil.which) -> None:
        self._guard = guard
        self._which = which

    def backend(self) -> str:
        """Who guards this host's input now."""
        if self._which("ufw") and self._guard.command(["ufw", "status"]).output.startswith("Status: active"):
            return UFW
        if self._which("firewall-cmd") and self._guard.command(["firewall-cmd", "--state"]).return_code == 0:
            return FIREWALLD
        return NFTABLES

    def observe(self, declared: Declared, scratch: str, backend: str = NFTABLES) -> Observation:
        """Hold what is declared against what is loaded. ``scratch`` is a file that may be written.

        Raises ``GpuError``: BG-ACCESS-106 when nft refuses the ruleset, BG-ACCESS-123 when the loaded one cannot be read.
        """
        nft = self._which("nft") or ""
        if not nft:
            return Observation(backend, "", None, None, ("nft is not installed",))
        ruleset = declared.table(backend)
        steps = self._steps(declared, backend)
        loaded, wanted = self._loaded(), self._made_of(ruleset, scratch)
        found = (
            list(nft_table.differences(loaded.table, wanted.table))
            if loaded
            else ["the table inet {0} is not loaded".format(TABLE)]
        )
        found += [
            "{0} is not as it would be at the next boot".format(file.path)
            for file in self.lasting(ruleset, nft)
            if not self._guard.is_as_wanted(file)
        ]
        return Observation(backend, nft, loaded, wanted, (*steps.differences, *found), steps.commands)

    def change(self, observation: Observation, declared: Declared) -> Change:
        """What makes the policy effective, lasting, and undone."""
        ruleset, other = declared.table(observation.backend), _OTHERS[observation.backend]
        former = removal() + observation.before
        return Change(
            name="the firewall",
            activate=(*observation.commands, ("nft", "-f", "{armed}/wanted.nft")),
            lasting=self.lasting(ruleset, observation.nft),
            persist=(("systemctl", "daemon-reload"), ("systemctl", "restart", UNIT), *other.persist),
            restore=(
                *other.restore,
                ("systemctl", "daemon-reload"),
                # Of a unit that the change brought, only the memory is left.
                ("sh", "-c", "systemctl try-restart {0} || systemctl stop {0} || true".format(UNIT)),
                ("nft", "-f", "{armed}/former.nft"),
            ),
            materials={"wanted.nft": ruleset, "former.nft": former},
            touches=tuple(path for path in other.files if os.path.lexists(self._guard.path(path))),
        )

    def lasting(self, ruleset: str, nft: str) -> Tuple[File, ...]:
        """What loads the ruleset at boot."""
        return (
            File(RULES, ruleset, 0o600),
            File(_UNIT_PATH, unit(nft)),
            File(_WANTED_BY, link=_UNIT_PATH),
        )

    def _steps(self, declared: Declared, backend: str) -> other_firewalls.Steps:
        if backend == UFW:
            added = other_firewalls.parse_ufw(self._asked("ufw", "show", "added"))
            defaults = other_firewalls.parse_ufw_defaults(self._guard.read(other_firewalls.UFW_DEFAULTS) or "")
            return other_firewalls.ufw_steps(declared.ufw, added, defaults)
        if backend == FIREWALLD:
            default = self._asked("firewall-cmd", "--get-default-zone").strip()
            running, lasting = (
                other_firewalls.firewalld_steps(
                    declared.trusted,
                    declared.others,
                    other_firewalls.parse_zones(self._asked("firewall-cmd", *permanent, "--list-all-zones")),
                    default,
                )
                for permanent in ((), ("--permanent",))
            )
            # What runs is made lasting as a whole, so it is enough to change that.
            later = tuple("at the next boot: {0}".format(text) for text in lasting.differences)
            return other_firewalls.Steps((*running.differences, *later), running.commands)
        return other_firewalls.Steps()

    def _asked(self, *words: str) -> str:
        said = self._guard.command(words)
        if said.return_code != 0:
            raise _unreadable(said)
        return said.output

    def _loaded(self) -> Optional[Listing]:
        listed = self._guard.command(["nft", "--json", "list", "table", "inet", TABLE])
        if listed.return_code != 0:
            if "No such file or directory" in listed.errors:
                return None
            raise _unreadable(listed)
        text = self._guard.command(["nft", "--stateless", "list", "table", "inet", TABLE])
        if text.return_code != 0:
            raise _unreadable(text)
        return _listing(listed.output, text.output)

    def _made_of(self, ruleset: str, scratch: str) -> Listing:
        with open(scratch, "w", encoding="ascii") as file:
            file.write(ruleset)
        try:
            made = self._guard.command(["unshare", "--net", "--", "sh", "-c", _SCRATCH, "sh", scratch, _SEPARATOR])
        finally:
            os.unlink(scratch)
        if made.return_code != 0:
            raise GpuError(
                "BG-ACCESS-106",
                "nft does not accept the declared rules: {0}".format(
                    " ".join((made.errors or made.output).split())[:400]
                ),
                "nothing was changed",
                "correct the role's variables, or install an nft that knows these rules",
            )
        listed, _separator, text = made.output.partition(_SEPARATOR)
        return _listing(listed, text)


def _listing(listed: str, text: str) -> Listing:
    try:
        return Listing(nft_table.parse(listed), text)
    except ValueError as error:
        raise _no_listing(str(error)) from error


def _unreadable(done: Completed) -> GpuError:
    return _no_listing(" ".join((done.errors or done.output).split())[:400] or "status {0}".format(done.return_code))


def _no_listing(what: str) -> GpuError:
    return GpuError(
        "BG-ACCESS-123",
        "the loaded rules cannot be read: {0}".format(what),
        "nothing can be compared with what is not known",
        "run as root, and look whether nft list ruleset works on the host",
    )


def unit(nft: str) -> str:
    """Loads our table before the network is up, and again whenever nftables.service has flushed everybody's."""
    return (
        "# Written by baremetal.gpu (role tailnet_firewall).\n"
        "[Unit]\n"
        "Description=Firewall of this GPU host\n"
        "DefaultDependencies=no\n"
        "Wants=network-pre.target\n"
        "Before=network-pre.target shutdown.target\n"
        "After=local-fs.target systemd-modules-load.service nftables.service\n"
        "Conflicts=shutdown.target\n"
        "PartOf=nftables.service\n"
        "ReloadPropagatedFrom=nftables.service\n"
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        "RemainAfterExit=yes\n"
        "ExecStart={0} -f {1}\n"
        "ExecReload={0} -f {1}\n"
        "\n"
        "[Install]\n"
        "WantedBy=sysinit.target\n"
    ).format(nft, RULES)


def addresses_of(interface: str, command: Callable[[Sequence[str]], Completed]) -> Optional[List[str]]:
    """The addresses of a network device; ``None`` when there is no such device."""
    said = command(["ip", "-o", "address", "show", "dev", interface])
    if said.return_code != 0:
        return None
    words = [line.split() for line in said.output.splitlines()]
    return [parts[3].partition("/")[0] for parts in words if len(parts) > 3 and parts[2] in ("inet", "inet6")]
