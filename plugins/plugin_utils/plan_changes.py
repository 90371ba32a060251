"""What one task's result says about the changes of a host. Pure: no Ansible, no input or output.

A reader per module turns a result into changes in the words of an operator: packages, files, services, images, cluster objects,
nodes, reboots. It reads results of check mode and of real runs alike, so that a plan can be held against what then happened.
A module that no reader knows still gives one change, of the kind ``task``: nothing that changes is left out of a plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

PACKAGE = "package"
FILE = "file"
SERVICE = "service"
IMAGE = "image"
OBJECT = "object"
NODE = "node"
KERNEL = "kernel"
COMMAND = "command"
REBOOT = "reboot"
TASK = "task"
KINDS = (PACKAGE, FILE, SERVICE, IMAGE, OBJECT, NODE, KERNEL, COMMAND, REBOOT, TASK)
"""In the order in which a plan shows them."""

# What a plan shows of a command: enough to recognise it.
MAXIMUM_COMMAND = 200


@dataclass(frozen=True)
class Change:
    """One thing that changes on a host.

    ``exact`` is false where the result could not say it to the end: a package of a repository that is itself only predicted
    has dependencies that nobody knows yet, and objects of a cluster that is only predicted cannot be compared.
    """

    kind: str
    action: str
    name: str
    detail: str = ""
    exact: bool = True

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "action": self.action,
            "name": self.name,
            "detail": self.detail,
            "exact": self.exact,
        }


Result = Mapping[str, Any]
Reader = Callable[[Result], "Iterator[Change]"]


def changes_of(module: str, task: str, result: Result) -> list[Change]:
    """Every change that a task's result tells; none when it changes nothing.

    ``module`` is the module's name with or without its collection. The result of a loop tells the changes of its items.
    """
    items = result.get("results")
    if isinstance(items, (list, tuple)) and all(isinstance(item, Mapping) and "changed" in item for item in items):
        if items and result.get("changed"):
            # A task may declare a whole loop changed although its items failed: in check mode, what they need is predicted.
            some = [item for item in items if item.get("changed") or item.get("failed")]
            return [change for item in some for change in _read(module, task, {**item, "changed": True})]
        if items:
            return []
    return _read(module, task, result) if result.get("changed") else []


def _read(module: str, task: str, result: Result) -> list[Change]:
    reader = READERS.get(module.rpartition(".")[2], _headers)
    found = [change for change in dict.fromkeys(reader(result)) if change.name]
    return found or [Change(TASK, "change", task, module)]


def arguments(result: Result) -> Mapping[str, Any]:
    """The module's arguments; empty where the result keeps them to itself (``no_log``)."""
    invocation = result.get("invocation")
    given = invocation.get("module_args") if isinstance(invocation, Mapping) else None
    return given if isinstance(given, Mapping) else {}


# Packages. apt simulates ("Inst name [old] (new …)") in check mode and says "Setting up name:arch (version)" when it works.
_APT_SIMULATED = re.compile(r"^(Inst|Remv) (\S+)(?: \[([^\]]+)\])?(?: \((\S+))?", re.MULTILINE)
_APT_INSTALLED = re.compile(r"^(Setting up|Removing) ([^\s:]+)(?::\S+)? \(([^)\s]+)\)", re.MULTILINE)
_APT_UPGRADED = re.compile(r"^Unpacking ([^\s:]+)(?::\S+)? \(\S+\) over \(", re.MULTILINE)
# name-version-release.arch, as dnf lists what it installs.
_RPM = re.compile(r"^(?P<name>.+)-(?P<version>[^-]+-[^-]+)\.(?P<arch>[^.]+)$")
# What a request pins: name=version of apt, name-version of dnf (a version begins with a digit).
_PINNED = re.compile(r"^(?P<name>.+?)(?:=|-(?=\d))(?P<version>\S+)$")


def _packages(result: Result) -> Iterator[Change]:
    found = list(_apt(str(result.get("stdout") or ""))) + list(_dnf(result.get("results")))
    if found:
        yield from found
        return
    # Nothing but the request is known: the package comes from a repository that is only predicted.
    given = arguments(result)
    removed = given.get("state") in ("absent", "removed")
    requested = given.get("name") or given.get("package") or given.get("pkg") or []
    for name in [requested] if isinstance(requested, str) else requested:
        pinned = _PINNED.match(str(name))
        package, version = (pinned["name"], pinned["version"]) if pinned else (str(name), "")
        yield Change(PACKAGE, "remove" if removed else "install", package, version, exact=False)


def _apt(stdout: str) -> Iterator[Change]:
    for verb, name, old, new in _APT_SIMULATED.findall(stdout):
        action = "remove" if verb == "Remv" else "upgrade" if old else "install"
        yield Change(PACKAGE, action, name, new or old)
    upgraded = set(_APT_UPGRADED.findall(stdout))
    for verb, name, version in _APT_INSTALLED.findall(stdout):
        action = "remove" if verb == "Removing" else "upgrade" if name in upgraded else "install"
        yield Change(PACKAGE, action, name, version)


def _dnf(lines: Any) -> Iterator[Change]:
    actions = {"Installed": "install", "Removed": "remove", "Upgraded": "upgrade", "Downgraded": "downgrade"}
    for line in lines if isinstance(lines, (list, tuple)) else ():
        verb, _colon, full = str(line).partition(": ")
        match = _RPM.match(full.strip())
        if verb in actions and match:
            yield Change(PACKAGE, actions[verb], match["name"], match["version"])


def _files(result: Result) -> Iterator[Change]:
    given = arguments(result)
    path = str(result.get("dest") or result.get("path") or given.get("dest") or given.get("path") or "")
    if path:
        yield Change(FILE, _file_action(result, given), path)


def _file_action(result: Result, given: Mapping[str, Any]) -> str:
    if given.get("state") == "absent":
        return "remove"
    return "create" if any(_was_absent(part) for part in _diffs(result)) else "change"


def _diffs(result: Result) -> list[Mapping[str, Any]]:
    diff = result.get("diff")
    parts = diff if isinstance(diff, (list, tuple)) else [diff]
    return [part for part in parts if isinstance(part, Mapping)]


def _was_absent(diff: Mapping[str, Any]) -> bool:
    before = diff.get("before")
    if isinstance(before, Mapping):
        return before.get("state") == "absent"
    # Ansible names the file in the header of a side only when that side exists.
    return before == "" and not diff.get("before_header")


# The path that heads a side of a diff, with what some modules say of its mode.
_HEADER = re.compile(r"^(?P<path>/\S+)(?: \(mode \d+\))?$")


def _headers(result: Result) -> Iterator[Change]:
    """The files that the diff of any other module names."""
    for diff in _diffs(result):
        match = _HEADER.match(str(diff.get("after_header") or ""))
        if match:
            yield Change(FILE, "create" if diff.get("before") == "" else "change", match["path"])


def _downloads(result: Result) -> Iterator[Change]:
    given = arguments(result)
    path = str(result.get("dest") or given.get("dest") or "")
    if path:
        existed = bool(result.get("checksum_dest"))
        yield Change(FILE, "change" if existed else "create", path, _url(given.get("url") or result.get("url")))


def _url(address: Any) -> str:
    """An address without what may be a password in it."""
    words = [address] if isinstance(address, str) else [str(word) for word in address or ()]
    return " ".join(re.sub(r"//[^/@\s]*@", "//", word) for word in words)


def _apt_repository(result: Result) -> Iterator[Change]:
    given = arguments(result)
    name = str(result.get("dest") or given.get("name") or "")
    action = "remove" if given.get("state") == "absent" else "write"
    if name:
        yield Change(FILE, action, f"apt repository {PurePosixPath(name).stem}", _url(given.get("uris")))


def _dnf_repository(result: Result) -> Iterator[Change]:
    given = arguments(result)
    name = str(result.get("repo") or given.get("name") or "")
    action = "remove" if given.get("state") == "absent" else "write"
    if name:
        yield Change(FILE, action, f"dnf repository {name}", _url(given.get("baseurl")))


_RUNNING = ("active", "activating", "reloading")
_STARTS = {"started": "start", "restarted": "restart", "reloaded": "reload", "stopped": "stop"}


def _services(result: Result) -> Iterator[Change]:
    given = arguments(result)
    name = str(result.get("name") or given.get("name") or "")
    status = result.get("status")
    # A unit that is only predicted has no status.
    before = status if isinstance(status, Mapping) else {}
    if not name:
        return
    wanted = given.get("state")
    running = before.get("ActiveState") in _RUNNING
    idle = (wanted == "started" and running) or (wanted == "stopped" and not running)
    if wanted in _STARTS and not idle:
        yield Change(SERVICE, _STARTS[wanted], name, exact=bool(before))
    enabled = before.get("UnitFileState") in ("enabled", "enabled-runtime", "static", "alias")
    if given.get("enabled") is not None and bool(given["enabled"]) != enabled:
        yield Change(SERVICE, "enable" if given["enabled"] else "disable", name, exact=bool(before))
    # The agent of k3s joins its host to the cluster when it runs there for the first time.
    if name.removesuffix(".service") == "k3s-agent" and wanted == "started" and not enabled and not running:
        yield Change(NODE, "join", "k3s", name)


def _images(result: Result) -> Iterator[Change]:
    for archive in result.get("imported") or ():
        yield Change(IMAGE, "import", PurePosixPath(str(archive)).name)


def _objects(result: Result) -> Iterator[Change]:
    outcome = result.get("result")
    parts = outcome.get("results") if isinstance(outcome, Mapping) else None
    single = {"result": outcome, "changed": True, "method": result.get("method"), "diff": result.get("diff")}
    for part in parts if isinstance(parts, list) else [single]:
        if isinstance(part, Mapping) and part.get("changed"):
            yield from _object(part)


def _object(part: Mapping[str, Any]) -> Iterator[Change]:
    resource = part.get("result")
    metadata = resource.get("metadata") if isinstance(resource, Mapping) else None
    if not isinstance(resource, Mapping) or not isinstance(metadata, Mapping):
        return
    place = "/".join(str(item) for item in (metadata.get("namespace"), metadata.get("name")) if item)
    diff = part.get("diff")
    fresh = isinstance(diff, Mapping) and "before" in diff and not diff["before"]
    actions = {"delete": "remove", "create": "create"}
    action = actions.get(str(part.get("method")), "create" if fresh else "change")
    yield Change(OBJECT, action, f"{resource.get('kind', 'object')} {place}")


def _manifests(result: Result) -> Iterator[Change]:
    actions = {"created": "create", "changed": "change"}
    for each in result.get("objects") or ():
        if each["outcome"] in actions:
            place = "/".join(filter(None, (each["namespace"], each["name"])))
            yield Change(OBJECT, actions[each["outcome"]], f"{each['kind']} {place}")


def _nodes(result: Result) -> Iterator[Change]:
    name = arguments(result).get("name")
    if name:
        yield Change(OBJECT, "change", f"Node {name}")


def _commands(result: Result) -> Iterator[Change]:
    given = arguments(result)
    command = result.get("cmd") or given.get("argv") or given.get("_raw_params") or given.get("cmd")
    if not command:
        return
    words = [str(word) for word in command] if isinstance(command, (list, tuple)) else str(command).split()
    program = PurePosixPath(words[0]).name
    if program == "kubeadm" and words[1:2] == ["init"]:
        yield Change(NODE, "initialise", "control plane", "kubeadm")
    elif program == "kubeadm" and words[1:2] == ["join"]:
        yield Change(NODE, "join", "kubeadm", "kubeadm")
    else:
        yield Change(COMMAND, "run", " ".join(words)[:MAXIMUM_COMMAND])


def _kernel_parameter(result: Result) -> Iterator[Change]:
    given = arguments(result)
    if given.get("name"):
        yield Change(KERNEL, "set", str(given["name"]), str(given.get("value") or ""))


def _kernel_module(result: Result) -> Iterator[Change]:
    name = result.get("name") or arguments(result).get("name")
    if name:
        yield Change(KERNEL, "load", str(name))


def _reboots(result: Result) -> Iterator[Change]:
    yield Change(REBOOT, "reboot", "host")


READERS: Mapping[str, Reader] = {
    "apt": _packages,
    "cluster_node": _nodes,
    "command": _commands,
    "containerd_images": _images,
    "copy": _files,
    "deb822_repository": _apt_repository,
    "dnf": _packages,
    "dnf5": _packages,
    "file": _files,
    "get_url": _downloads,
    "k8s": _objects,
    "lineinfile": _files,
    "manifests": _manifests,
    "modprobe": _kernel_module,
    "package": _packages,
    "reboot": _reboots,
    "service": _services,
    "sysctl": _kernel_parameter,
    "systemd": _services,
    "systemd_service": _services,
    "template": _files,
    "yum_repository": _dnf_repository,
}
