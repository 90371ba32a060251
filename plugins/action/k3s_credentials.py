"""Brings a k3s server's kubeconfig and join token to files of the controller, and shows them to nobody."""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"
NODE_TOKEN = "/var/lib/rancher/k3s/server/node-token"

ARGUMENTS: dict[str, Any] = {
    "server": {"type": "str", "required": True},
    "kubeconfig": {"type": "path", "required": True},
    "token_file": {"type": "path", "default": ""},
}

# k3s names the server by the loopback address, of either family.
_SERVER = re.compile(r"^(\s*server:\s*)https://(?:127\.0\.0\.1|\[::1\]|localhost):\d+\s*$", re.MULTILINE)


class ActionModule(ActionBase):
    """Reads on the server, writes on the controller."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Which files were written."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        check_mode = bool(self._task.check_mode)
        try:
            wanted = {arguments["kubeconfig"]: self._kubeconfig(arguments["server"], task_vars or {}, check_mode)}
            if arguments["token_file"]:
                wanted[arguments["token_file"]] = self._read(NODE_TOKEN, task_vars or {}, check_mode)
            written = [path for path, text in wanted.items() if differs(Path(path), text)]
            if not check_mode:
                for path in written:
                    write(Path(path), wanted[path] or "")
        except GpuError as error:
            return {**result, "failed": True, "changed": False, **error.as_result()}
        except OSError as error:
            failure = _failure(f"{error.filename} cannot be written on the controller ({error.strerror})")
            return {**result, "failed": True, "changed": False, **failure.as_result()}
        diff = [{"after_header": path, "before_header": path, "before": "", "after": "(secret)\n"} for path in written]
        return {**result, "changed": bool(written), "written": written, "diff": diff}

    def _kubeconfig(self, server: str, task_vars: dict[str, Any], check_mode: bool) -> str | None:
        text = self._read(KUBECONFIG, task_vars, check_mode)
        return None if text is None else with_server(text, server)

    def _read(self, path: str, task_vars: dict[str, Any], check_mode: bool) -> str | None:
        """A file of the server; None in check mode when it is only predicted. Raises ``GpuError`` BG-K3S-016."""
        with self._silence():
            answer = self._execute_module(
                module_name="ansible.builtin.slurp", module_args={"src": path}, task_vars=task_vars
            )
        if answer.get("failed"):
            if check_mode:
                return None
            raise _failure(f"{path} cannot be read on the server ({answer.get('msg', 'no message')})")
        return base64.b64decode(answer["content"]).decode("utf-8")

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """A connection plugin shows what a module prints when asked to be very verbose, but not under no_log."""
        contexts = [self._play_context, getattr(self._connection, "_play_context", self._play_context)]
        saved = [context.no_log for context in contexts]
        for context in contexts:
            context.no_log = True
        try:
            yield
        finally:
            for context, value in zip(contexts, saved, strict=True):
                context.no_log = value


def with_server(kubeconfig: str, server: str) -> str:
    """The kubeconfig with another address of its server. Raises ``GpuError`` BG-K3S-016 when it does not name one as k3s does."""
    text, count = _SERVER.subn(lambda match: match.group(1) + server, kubeconfig)
    if count != 1:
        raise _failure(f"{KUBECONFIG} does not name one server at the loopback address")
    return text


def differs(path: Path, text: str | None) -> bool:
    """Whether a file of the controller has another content or is open to others. A text that is not known yet differs."""
    try:
        status = path.stat()
        return path.read_text(encoding="utf-8") != text or bool(stat.S_IMODE(status.st_mode) & 0o077)
    except (OSError, UnicodeDecodeError):
        return True


def write(path: Path, text: str) -> None:
    """Replace a file as a whole, without a moment in which others may read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _failure(what: str) -> GpuError:
    return GpuError(
        "BG-K3S-016",
        what,
        "agents cannot join and the cluster cannot be verified without it",
        "read the service's journal on the server, then run again",
    )
