"""Looking for secrets where none may be: in output, on command lines, in journals and in files."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import yaml

from ansible_collections.baremetal.gpu.tests.support.killing import processes
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab


def secrets_of(lab: Lab) -> dict[str, str]:
    """Every secret of a Spark lab by name; each is random and long enough to be found only where it leaked."""
    token = (lab.state / "secrets/k3s-token").read_text(encoding="utf-8").strip()
    found = {"join token": token.rpartition(":")[2]}
    for path in sorted((lab.state / "kubeconfig").glob("*.yaml")):
        for user in yaml.safe_load(path.read_text(encoding="utf-8"))["users"]:
            encoded = user["user"]["client-key-data"]
            # The part in the middle is the same however the text around it is wrapped or quoted.
            found[f"client key of {path.name}, encoded"] = encoded[64:104]
            found[f"client key of {path.name}"] = base64.b64decode(encoded).decode().splitlines()[1][8:48]
    assert all(len(secret) >= 16 for secret in found.values())
    return found


def leaked(secrets: Mapping[str, str], text: str) -> list[str]:
    """Names of the secrets that a text holds."""
    return [name for name, secret in secrets.items() if secret in text]


def files_with(secrets: Mapping[str, str], folder: Path) -> dict[Path, list[str]]:
    """Every file below a folder that holds a secret, with the secrets' names; links are not followed."""
    wanted = {name: secret.encode() for name, secret in secrets.items()}
    found = {}
    for path in folder.rglob("*"):
        # A host's disk is looked at where it is mounted, not as the large sparse file that it is.
        if path.is_symlink() or not path.is_file() or (path.parent.name, path.suffix) == ("disks", ".img"):
            continue
        try:
            content = path.read_bytes()
        except OSError:
            # A file that went meanwhile.
            continue
        names = [name for name, secret in wanted.items() if secret in content]
        if names:
            found[path] = names
    return found


class CommandLines:
    """Samples the command lines of every process of this machine, and so of all lab hosts, while the block runs."""

    def __init__(self, secrets: Mapping[str, str], interval_s: float = 0.05) -> None:
        self._secrets = secrets
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.samples = 0
        self.seen: set[str] = set()
        """Programs that were seen, so that a test can tell whether anything was looked at."""
        self.leaks: set[str] = set()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.samples += 1
            for _pid, words in processes():
                # The second word is the program where the first one is its interpreter.
                self.seen.update(Path(word).name for word in words[:2])
                names = leaked(self._secrets, " ".join(words))
                self.leaks.update(f"{name} on the command line of {Path(words[0]).name}" for name in names)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
