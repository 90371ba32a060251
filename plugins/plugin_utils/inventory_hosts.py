"""Evaluates the variables of inventory hosts that the preflight looks at. Nothing is asked of any host."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import Templar

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import SITE_VARIABLES, Host
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.plaintext import secrets_in
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.shared_values import SharedValues

VAULT_HEADER = b"$ANSIBLE_VAULT;"
# Where a host is and as whom it is entered, which an example inventory leaves to be filled in.
CONNECTION_VARIABLES = frozenset({"ansible_host", "ansible_user"})
# Whether they can be evaluated matters, for without them no host is reached; what they hold is nobody's business.
CONNECTION_SECRETS = frozenset({"ansible_become_password", "ansible_password"})
SECRETIVE = ("pass", "password", "passphrase")
# Ansible's own variable with the names of all hosts.
EVERY_HOST = "groups"
Options = Mapping[str, Mapping[str, Mapping[str, Any]]]


class HostReader:
    """Reads hosts of one inventory. Hosts share most of their variables, so what does not depend on the host is evaluated once."""

    def __init__(self, loader: Any, task_vars: Mapping[str, Any], options: Options) -> None:
        self._loader = loader
        self._hostvars = task_vars["hostvars"]
        self._groups = task_vars["groups"]
        self._options = options
        self._defaults_of: dict[str, Mapping[str, Any]] = {}
        self._values = SharedValues()
        # With the value itself, whose identity is the key.
        self._secrets: dict[tuple[str, int], tuple[Any, list[tuple[str, str, str]]]] = {}
        self._encrypted: dict[str, bool] = {}

    def host(self, name: str, roles: frozenset[str] | None, judged: bool) -> Host:
        """One host. ``roles`` None means: the roles whose required variables it has all."""
        raw = dict(self._hostvars.raw_get(name))
        if roles is None:
            roles = frozenset(role for role, known in self._options.items() if _is_configured(known, raw))
        variables = {**{key: value for role in sorted(roles) for key, value in self._defaults(role).items()}, **raw}

        @functools.cache
        def templar() -> Templar:
            everything = {**variables, "hostvars": self._hostvars, "groups": self._groups}
            return Templar(self._loader, variables=everything)

        values: dict[str, Any] = {}
        broken: dict[str, str] = {}
        # Only what checks look at is evaluated: another variable may have a meaning only inside its role.
        looked_at = SITE_VARIABLES | CONNECTION_VARIABLES | (CONNECTION_SECRETS if roles and judged else frozenset())
        for variable in sorted(looked_at.union(*(self._options.get(role, {}) for role in roles)) & variables.keys()):
            try:
                value = self._values.evaluate(variables[variable], variables, templar)
                if variable not in CONNECTION_SECRETS:
                    values[variable] = value
            except (AnsibleError, KeyError) as error:
                broken[variable] = " ".join(str(error).split())[:200]
        exposed = self._exposed(raw) if judged else {}
        return Host(name, values, roles, broken, frozenset(raw), exposed, judged)

    def _defaults(self, role: str) -> Mapping[str, Any]:
        if role not in self._defaults_of:
            path = data_files.COLLECTION_ROOT / "roles" / role / "defaults" / "main.yml"
            self._defaults_of[role] = self._load(str(path)) if path.exists() else {}
        return self._defaults_of[role]

    def _load(self, path: str) -> Mapping[str, Any]:
        try:
            return self._loader.load_from_file(path, trusted_as_template=True) or {}
        except TypeError:  # before ansible-core 2.19 every text is a template
            return self._loader.load_from_file(path) or {}

    def _exposed(self, raw: Mapping[str, Any]) -> dict[str, str]:
        """Which variables hold a secret in plain text. Hosts share what their groups set, which is looked at once."""
        found: dict[str, str] = {}
        for name, value in raw.items():
            if name == EVERY_HOST or (name.startswith("ansible_") and not name.endswith(SECRETIVE)):
                continue
            key = (name, id(value))
            if key not in self._secrets:
                self._secrets[key] = (value, [*secrets_in(name, value)])
            for where, kind, text in self._secrets[key][1]:
                path = _origin(text)
                if path and not self._is_encrypted(path):
                    found[where] = kind
        return found

    def _is_encrypted(self, path: str) -> bool:
        if path not in self._encrypted:
            self._encrypted[path] = is_encrypted_file(path)
        return self._encrypted[path]


def is_encrypted_file(path: str) -> bool:
    """Whether ansible-vault encrypted a file as a whole; false for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(VAULT_HEADER)) == VAULT_HEADER
    except OSError:
        return False


def _origin(text: str) -> str:
    """The file that a text was read from; empty where it came another way, as on the command line, or nobody knows."""
    position = getattr(text, "ansible_pos", None)
    if isinstance(position, tuple):  # before ansible-core 2.19
        return str(position[0] or "")
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return ""
    origin = Origin.get_tag(text)
    return str(origin.path or "") if origin is not None else ""


def _is_configured(options: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any]) -> bool:
    required = [name for name, option in options.items() if option.get("required")]
    return bool(required) and all(name in variables for name in required)
