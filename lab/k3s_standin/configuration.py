"""What one start of k3s was asked to do: configuration files, environment and command line, in k3s's order of precedence.

k3s turns its files into arguments that it puts before the command line's. Therefore a single value on the command line replaces the
files' one, values of a list flag are added to the files' ones, and the environment counts only where neither says anything.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .console import FatalError, log
from .options import ALIASES, ENVIRONMENT, HONOURED, Kind, known

DEFAULT_FILE = Path("/etc/rancher/k3s/config.yaml")

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_TOKEN_FILE_TIMEOUT_S = 240.0
"""k3s waits this long for a token file that another program has yet to write."""


class UsageError(FatalError):
    """The command line, or an agent's file, has something that k3s does not accept."""


def undefined(flag: str) -> UsageError:
    """The refusal of an unknown flag, worded as k3s does."""
    return UsageError(f"flag provided but not defined: -{flag}")


@dataclass(frozen=True)
class Configuration:
    """All flags that were given, by full name: text, list of texts, or truth value according to the flag's kind."""

    values: Mapping[str, Any]

    def text(self, flag: str, default: str = "") -> str:
        """A text flag's value; an empty one counts as not given."""
        return str(self.values.get(flag) or default)

    def items(self, flag: str) -> list[str]:
        """A list flag's values, in the order they were given."""
        return list(self.values.get(flag) or [])

    def first(self, flag: str, default: str = "") -> str:
        """The first value of a list flag, which may hold several separated by commas (an address per family)."""
        items = ",".join(self.items(flag)).split(",")
        return items[0] or default

    def enabled(self, flag: str) -> bool:
        """A truth value; false when not given."""
        return bool(self.values.get(flag, False))

    @property
    def without_effect(self) -> list[str]:
        """Flags that were given, are accepted and change nothing in the stand-in."""
        return sorted(flag for flag, value in self.values.items() if value and flag not in HONOURED)


def load(
    command: str, arguments: Sequence[str], environment: Mapping[str, str], default_file: Path = DEFAULT_FILE
) -> Configuration:
    """Gather the configuration of `server` or `agent`.

    Raises UsageError for what k3s refuses and FatalError for a file that cannot be read.
    """
    given = parse_arguments(command, arguments)
    explicit = environment.get("K3S_CONFIG_FILE", "")
    for flag, value in given:
        if flag == "config":
            explicit = value
    if explicit and not Path(explicit).exists():
        raise FatalError(f"open {explicit}: no such file or directory")
    documents = [_read(path) for path in configuration_files(Path(explicit) if explicit else default_file)]
    from_files = accepted(command, merge(documents))
    return Configuration(evaluate(command, [*from_files, *given], environment))


def parse_arguments(command: str, arguments: Sequence[str]) -> list[tuple[str, str]]:
    """The command line as (full flag name, value) pairs. Raises UsageError."""
    flags, pairs = known(command), []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-"):
            raise UsageError(f"unexpected argument {argument}")
        name, equals, value = argument.lstrip("-").partition("=")
        flag = ALIASES.get(name, name)
        if flag not in flags:
            raise undefined(name)
        if not equals:
            if flags[flag] is Kind.BOOLEAN:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: -{name}")
        pairs.append((flag, value))
    return pairs


def configuration_files(main: Path) -> list[Path]:
    """The main file, if it is there, and the `*.yaml` and `*.yml` files of the folder beside it, in the order of their names."""
    folder = main.with_name(main.name + ".d")
    parts = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")) if folder.is_dir() else []
    return [*([main] if main.exists() else []), *parts]


def merge(documents: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """Join files: a later file's value replaces an earlier one's; with `key+` it is added, and both become a list."""
    merged: dict[str, Any] = {}
    for document in documents:
        for raw, value in document.items():
            key = str(raw)
            name = key[:-1] if key.endswith("+") else key
            if name in merged and key != name:
                merged[name] = _as_list(merged[name]) + _as_list(value)
            else:
                merged[name] = value
    return merged


def accepted(command: str, merged: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The files' values as (full flag name, value) pairs. A server skips an unknown key with a warning; an agent refuses it."""
    pairs = []
    for name, value in merged.items():
        flag = ALIASES.get(name, name)
        if flag not in known(command):
            if command != "server":
                raise undefined(name)
            log("warning", f"Unknown flag --{name} found in config.yaml, skipping\n")
            continue
        pairs += [(flag, _as_text(item)) for item in (value if isinstance(value, list) else [value])]
    return pairs


def evaluate(command: str, pairs: Sequence[tuple[str, str]], environment: Mapping[str, str]) -> dict[str, Any]:
    """Turn pairs into typed values; the last value of a single flag wins. Raises UsageError for a bad truth value."""
    flags = known(command)
    given = {flag for flag, _ in pairs}
    from_environment = [
        (flag, environment[variable])
        for variable, flag in ENVIRONMENT.items()
        if environment.get(variable) and flag in flags and flag not in given
    ]
    values: dict[str, Any] = {}
    for flag, value in [*from_environment, *pairs]:
        if flags[flag] is Kind.LIST:
            values.setdefault(flag, []).append(value)
        elif flags[flag] is Kind.BOOLEAN:
            values[flag] = _truth(flag, value)
        else:
            values[flag] = value
    return values


def secret(configuration: Configuration, flag: str) -> str:
    """The token that `<flag>` or the file `<flag>-file` gives; the file wins, as in k3s, and is waited for. Empty when neither does."""
    path = configuration.text(f"{flag}-file")
    if not path:
        return configuration.text(flag)
    deadline = time.monotonic() + _TOKEN_FILE_TIMEOUT_S
    while True:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise FatalError("Timeout while trying to read the file") from None
            log("info", f"Waiting for {path} to be available")
            time.sleep(2)
        except OSError as error:
            raise FatalError(f"open {path}: {error.strerror}") from None


def _read(path: Path) -> Mapping[Any, Any]:
    import yaml  # here, because `k3s --version` and `k3s kubectl` must work on a host that has no PyYAML

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise FatalError(f"{path}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise FatalError(f"{path}: not a mapping of flags to values")
    return document


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _truth(flag: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(f'invalid boolean value "{value}" for -{flag}: parse error')
