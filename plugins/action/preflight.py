"""Looks at the whole inventory on the controller and refuses a broken one before any host is touched."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, RESULT_KEY, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import (
    FileFacts,
    Inventory,
    Kubeconfig,
    Refusal,
    System,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files, kubeconfigs, preflight_rules
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction
from ansible_collections.baremetal.gpu.plugins.plugin_utils.inventory_hosts import HostReader, is_encrypted_file

COLLECTION = "baremetal.gpu."

ARGUMENTS: dict[str, Any] = {
    "system": {"type": "str"},
    "hosts": {"type": "list", "elements": "str"},
    "optional": {"type": "bool", "default": False},
}
REFUSED = "BG-INV-099"
# A secret or a kubeconfig is smaller; a larger file is a mistake and is not read whole.
MAXIMUM_BYTES = 1024 * 1024
_CHOSEN = re.compile(r"\{\{ (\w+) \| default\('([^']*)'\) \}\}")
# So many hosts are named where many share one fault.
NAMED_HOSTS = 5


class ActionModule(ControllerAction):
    """Runs on the controller only; no host is contacted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The refusals as findings; failed when there is one."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        name, groups = arguments["system"], variables["groups"]
        system = preflight_rules.load_system(name) if name else None
        if arguments["optional"] and system is not None and _belongs_to_others_only(system, groups):
            return {**result, "changed": False, "msg": f"no host of system {name}: not judged", RESULT_KEY: []}
        composition = Composition.of(name, groups) if name else None
        judged = _judged(arguments["hosts"], composition, variables)
        rules = preflight_rules.load_rules()
        files = Files(self._loader)
        reader = HostReader(self._loader, variables, rules.options)
        inventory = Inventory(
            hosts=tuple(
                reader.host(each, composition.roles_of(each) if composition else None, each in judged)
                for each in sorted(variables["hostvars"])
            ),
            rules=rules,
            system=system,
            groups={group: frozenset(members) for group, members in groups.items()},
            read=files.read,
            kubeconfig=files.kubeconfig,
            now=datetime.now(timezone.utc),
        )
        return {**result, **_result(refusals(inventory), len(judged & set(variables["hostvars"])))}


@dataclass(frozen=True)
class Composition:
    """Which hosts a playbook of this collection brings which roles to."""

    hosts_by_role: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, system: str, groups: Mapping[str, list[str]]) -> Composition:
        """Read ``playbooks/<system>.yml`` with what it imports. Raises ``AnsibleActionFail`` when there is none."""
        playbook = data_files.COLLECTION_ROOT / "playbooks" / f"{system}.yml"
        if not playbook.exists():
            raise AnsibleActionFail(f"there is no playbook {playbook.name}; system must be the name of one")
        found: dict[str, set[str]] = {}
        for play, variables in _plays(playbook, {}):
            hosts = _hosts_of(_pattern(str(play.get("hosts", "")), variables), groups)
            for role in play.get("roles") or ():
                name = role if isinstance(role, str) else str(role.get("role") or role.get("name"))
                found.setdefault(name.removeprefix(COLLECTION), set()).update(hosts)
        return cls({role: frozenset(hosts) for role, hosts in found.items()})

    def hosts(self) -> set[str]:
        """Every host that gets a role."""
        return {host for hosts in self.hosts_by_role.values() for host in hosts}

    def roles_of(self, host: str) -> frozenset[str]:
        return frozenset(role for role, hosts in self.hosts_by_role.items() if host in hosts)


def _plays(playbook: Path, variables: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The plays of a playbook, each with what was said where its playbook was imported."""
    for play in data_files.load(str(playbook.relative_to(data_files.COLLECTION_ROOT))):
        imported = play.get("ansible.builtin.import_playbook")
        if imported:
            yield from _plays(playbook.parent / imported, {**variables, **(play.get("vars") or {})})
        else:
            yield play, variables


def _pattern(text: str, variables: Mapping[str, Any]) -> str:
    """The hosts of a play as a pattern; a part of a playbook lets whoever imports it choose them."""
    chosen = _CHOSEN.fullmatch(text)
    return str(variables.get(chosen[1], chosen[2])) if chosen else text


def _hosts_of(pattern: str, groups: Mapping[str, list[str]]) -> set[str]:
    """Hosts of a play. This collection's playbooks name groups, and hosts that are in two of them; anything else names one host."""
    parts = [part for part in re.split(r"[,:]", pattern) if part]
    both = [set(groups.get(part[1:], ())) for part in parts if part.startswith("&")]
    found = {host for part in parts if not part.startswith("&") for host in groups.get(part, [part])}
    return found.intersection(*both)


def _belongs_to_others_only(system: System, groups: Mapping[str, list[str]]) -> bool:
    """Whether an inventory has hosts of another system and none of this one."""

    def has_hosts(name: str) -> bool:
        other = preflight_rules.load_system(name)
        return other is not None and any(groups.get(group) for group in other.required)

    others = [name for name in preflight_rules.system_names() if name != system.name]
    return not has_hosts(system.name) and any(map(has_hosts, others))


def _judged(hosts: list[str] | None, composition: Composition | None, task_vars: Mapping[str, Any]) -> set[str]:
    """The hosts that this run is about: those asked for, else those of the playbook within the run's limit."""
    if hosts:
        return set(hosts)
    play_hosts = set(task_vars.get("ansible_play_hosts_all") or task_vars["hostvars"])
    if composition is None or task_vars.get("ansible_limit"):
        return play_hosts
    return composition.hosts()


class Files:
    """Files on the controller, each looked at once. What ansible-vault encrypted is decrypted, as it is for the roles."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._known: dict[str, FileFacts] = {}
        self._kubeconfigs: dict[str, Kubeconfig] = {}

    def read(self, path: str) -> FileFacts:
        """Facts of a file; what cannot be looked at counts as not readable."""
        if path not in self._known:
            self._known[path] = self._look_at(Path(path).expanduser())
        return self._known[path]

    def kubeconfig(self, path: str) -> Kubeconfig:
        """What a file says as a kubeconfig."""
        if path not in self._kubeconfigs:
            self._kubeconfigs[path] = kubeconfigs.parse(self.read(path).text or "")
        return self._kubeconfigs[path]

    def _decrypted(self, file: Path) -> str:
        # The loader has no public way that every supported ansible-core knows.
        content, _shown = self._loader._get_file_contents(str(file))
        return bytes(content).decode("utf-8")

    def _look_at(self, file: Path) -> FileFacts:
        try:
            status = file.stat()
        except OSError:
            return FileFacts(exists=False)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAXIMUM_BYTES:
            return FileFacts(exists=True, regular=stat.S_ISREG(status.st_mode), mode=stat.S_IMODE(status.st_mode))
        try:
            encrypted = is_encrypted_file(str(file))
            text = self._decrypted(file) if encrypted else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, AnsibleError):
            encrypted, text = False, None
        # Others may read a file that is encrypted.
        mode = stat.S_IRUSR | stat.S_IWUSR if encrypted else stat.S_IMODE(status.st_mode)
        return FileFacts(exists=True, regular=True, mode=mode, text=text)


def _finding(refusal: Refusal, registry: Mapping[str, Mapping[str, Any]]) -> Finding:
    entry = registry[refusal.code]
    return Finding(
        code=refusal.code,
        subject=refusal.subject,
        status=FAIL,
        reason=f"{refusal.what}; {entry['reason']}",
        remedy=refusal.hint or str(entry["remedy"]),
        requirements=tuple(entry["requirements"]),
        evidence={"what": refusal.what, "where": "inventory", "variable": refusal.variable or None},
    )


def _lines(findings: list[Finding]) -> Iterator[str]:
    """One line per fault; hosts that share it are named together."""
    shared: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        shared.setdefault((finding.code, finding.reason, finding.remedy), []).append(finding.subject)
    for (code, reason, remedy), subjects in shared.items():
        more = len(subjects) - NAMED_HOSTS
        named = ", ".join(subjects[:NAMED_HOSTS]) + (f" and {more} more" if more > 0 else "")
        yield f"  {code} {named}: {reason}; {remedy}"


def _result(refused: list[Refusal], hosts: int) -> dict[str, Any]:
    if not refused:
        return {"changed": False, "msg": f"inventory of {hosts} hosts: nothing refused", RESULT_KEY: []}
    registry = data_files.codes()
    findings = [_finding(refusal, registry) for refusal in refused]
    lines = list(_lines(findings))
    return {
        "changed": False,
        "failed": True,
        "msg": "\n".join([f"{REFUSED}: {len(lines)} things are wrong with the inventory; no host was touched", *lines]),
        "code": REFUSED,
        "remedy": registry[REFUSED]["remedy"],
        RESULT_KEY: [finding.as_dict() for finding in findings],
    }
