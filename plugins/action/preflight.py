"""Looks at the whole inventory on the controller and refuses a broken one before any host is touched."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, RESULT_KEY, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import (
    SITE_VARIABLES,
    FileFacts,
    Host,
    Inventory,
    Profile,
    Refusal,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile

COLLECTION = "baremetal.gpu."

ARGUMENTS: dict[str, Any] = {
    "system": {"type": "str"},
    "hosts": {"type": "list", "elements": "str"},
}
REFUSED = "BG-INV-099"
# A secret or a kubeconfig is smaller; a larger file is a mistake and is not read whole.
MAXIMUM_BYTES = 1024 * 1024


class ActionModule(ActionBase):
    """Runs on the controller only; no host is contacted."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The refusals as findings; failed when there is one."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        options = {role: _options(role) for role in _role_names()}
        composition = Composition.of(arguments["system"], variables["groups"]) if arguments["system"] else None
        judged = _judged(arguments["hosts"], composition, variables)
        hosts = tuple(
            self._host(name, variables, name in judged, composition, options) for name in sorted(variables["hostvars"])
        )
        refused = refusals(Inventory(hosts=hosts, profiles=_profiles(), options=options, read=_read))
        return {**result, **_result(refused, len(judged))}

    def _host(
        self,
        name: str,
        task_vars: Mapping[str, Any],
        judged: bool,
        composition: Composition | None,
        options: Mapping[str, Mapping[str, Any]],
    ) -> Host:
        raw = dict(task_vars["hostvars"].raw_get(name))
        if composition is None:
            # Without a playbook to compare with, a host runs the roles whose required variables it has all.
            roles = frozenset(role for role, known in options.items() if _is_configured(known, raw))
        else:
            roles = composition.roles_of(name)
        variables = {**{key: value for role in sorted(roles) for key, value in self._defaults(role).items()}, **raw}
        templar = Templar(
            self._loader, variables={**variables, "hostvars": task_vars["hostvars"], "groups": task_vars["groups"]}
        )
        values: dict[str, Any] = {}
        broken: dict[str, str] = {}
        # Only what checks look at is evaluated: another variable may have a meaning only inside its role.
        for variable in sorted(SITE_VARIABLES.union(*(options[role] for role in roles)) & variables.keys()):
            try:
                values[variable] = _plain(templar.template(variables[variable]))
            except (AnsibleError, KeyError) as error:
                broken[variable] = " ".join(str(error).split())[:200]
        return Host(name=name, variables=values, roles=roles, broken=broken, names=frozenset(raw), judged=judged)

    def _defaults(self, role: str) -> Mapping[str, Any]:
        path = data_files.COLLECTION_ROOT / "roles" / role / "defaults" / "main.yml"
        if not path.exists():
            return {}
        try:
            return self._loader.load_from_file(str(path), trusted_as_template=True) or {}
        except TypeError:  # before ansible-core 2.19 every text is a template
            return self._loader.load_from_file(str(path)) or {}


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
        for play in _plays(playbook):
            hosts = _hosts_of(str(play.get("hosts", "")), groups)
            for role in play.get("roles") or ():
                name = role if isinstance(role, str) else str(role.get("role") or role.get("name"))
                found.setdefault(name.removeprefix(COLLECTION), set()).update(hosts)
        return cls({role: frozenset(hosts) for role, hosts in found.items()})

    def hosts(self) -> set[str]:
        """Every host that gets a role."""
        return {host for hosts in self.hosts_by_role.values() for host in hosts}

    def roles_of(self, host: str) -> frozenset[str]:
        return frozenset(role for role, hosts in self.hosts_by_role.items() if host in hosts)


def _plays(playbook: Path) -> Iterator[Mapping[str, Any]]:
    for play in data_files.load(str(playbook.relative_to(data_files.COLLECTION_ROOT))):
        imported = play.get("ansible.builtin.import_playbook")
        if imported:
            yield from _plays(playbook.parent / imported)
        else:
            yield play


def _hosts_of(pattern: str, groups: Mapping[str, list[str]]) -> set[str]:
    """Hosts of a play. This collection's playbooks name groups; anything else names one host."""
    parts = [part for part in re.split(r"[,:]", pattern) if part]
    return {host for part in parts for host in groups.get(part, [part])}


def _judged(hosts: list[str] | None, composition: Composition | None, task_vars: Mapping[str, Any]) -> set[str]:
    """The hosts that this run is about: those asked for, else those of the playbook within the run's limit."""
    if hosts:
        return set(hosts)
    play_hosts = set(task_vars.get("ansible_play_hosts_all") or task_vars["hostvars"])
    if composition is None or task_vars.get("ansible_limit"):
        return play_hosts
    return composition.hosts()


def _plain(value: Any) -> Any:
    """A copy in plain containers. Parts of a value may be evaluated only when they are reached, which is here."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _is_configured(options: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any]) -> bool:
    required = [name for name, option in options.items() if option.get("required")]
    return bool(required) and all(name in variables for name in required)


def _role_names() -> list[str]:
    return sorted(path.parents[1].name for path in data_files.COLLECTION_ROOT.glob("roles/*/meta/argument_specs.yml"))


def _options(role: str) -> dict[str, Mapping[str, Any]]:
    """The options of a role's argument specs, over all of its entry points."""
    specs = data_files.load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}


def _profiles() -> dict[str, Profile]:
    loaded = [load_profile(name) for name in data_files.names("data/hardware")]
    return {profile.name: Profile(profile.name, mig_capable=profile.mig_mode is not None) for profile in loaded}


def _read(path: str) -> FileFacts:
    """Facts of a file on the controller; what cannot be looked at counts as not readable."""
    file = Path(path).expanduser()
    try:
        status = file.stat()
    except OSError:
        return FileFacts(exists=False)
    regular = stat.S_ISREG(status.st_mode)
    text = None
    if regular and status.st_size <= MAXIMUM_BYTES:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = None
    return FileFacts(exists=True, regular=regular, mode=stat.S_IMODE(status.st_mode), text=text)


def _finding(refusal: Refusal, registry: Mapping[str, Mapping[str, Any]]) -> Finding:
    entry = registry[refusal.code]
    return Finding(
        code=refusal.code,
        subject=refusal.subject,
        status=FAIL,
        reason=f"{refusal.what}; {entry['reason']}",
        remedy=refusal.hint or str(entry["remedy"]),
        requirements=tuple(entry["requirements"]),
        evidence={"what": refusal.what, "where": "inventory"},
    )


def _lines(findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"  {finding.code} {finding.subject}: {finding.reason}; {finding.remedy}"


def _result(refused: list[Refusal], hosts: int) -> dict[str, Any]:
    if not refused:
        return {"changed": False, "msg": f"inventory of {hosts} hosts: nothing refused", RESULT_KEY: []}
    registry = data_files.load("data/codes.yml")["codes"]
    findings = [_finding(refusal, registry) for refusal in refused]
    lines = [f"{REFUSED}: {len(findings)} things are wrong with the inventory; no host was touched", *_lines(findings)]
    return {
        "changed": False,
        "failed": True,
        "msg": "\n".join(lines),
        "code": REFUSED,
        "remedy": registry[REFUSED]["remedy"],
        RESULT_KEY: [finding.as_dict() for finding in findings],
    }
