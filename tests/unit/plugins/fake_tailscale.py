#!/usr/bin/env python3
"""Tailscale's client as the module calls it, with the daemon's state in a folder. It answers and refuses as real ones did in the lab.

``FAKE_TAILSCALE`` is the folder: ``status.json`` and ``prefs.json`` are what the daemon says, ``calls.jsonl`` every command line,
``secrets.jsonl`` what was read from a file, ``policy.json`` what the login server allows (keys with their refusals, tags).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("FAKE_TAILSCALE", "."))
FIELDS = {
    "accept-dns": ("CorpDNS", bool),
    "accept-routes": ("RouteAll", bool),
    "advertise-routes": ("AdvertiseRoutes", list),
    "advertise-tags": ("AdvertiseTags", list),
    "exit-node-allow-lan-access": ("ExitNodeAllowLANAccess", bool),
    "hostname": ("Hostname", str),
    "login-server": ("ControlURL", str),
    "operator": ("OperatorUser", str),
    "shields-up": ("ShieldsUp", bool),
    "ssh": ("RunSSH", bool),
    "webclient": ("RunWebClient", bool),
}


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return found


def save(name: str, value: Any) -> None:
    (FOLDER / name).write_text(json.dumps(value), encoding="utf-8")


def note(name: str, value: Any) -> None:
    with (FOLDER / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def set_flags(prefs: dict[str, Any], flags: dict[str, str]) -> None:
    for flag, value in flags.items():
        if flag in FIELDS:
            field, kind = FIELDS[flag]
            words = value.split(",") if value else None
            prefs[field] = {"bool": value == "true", "list": words, "str": value}[kind.__name__]
        elif flag == "auto-update":
            prefs["AutoUpdate"]["Apply"] = value == "true"
        elif flag == "exit-node":
            prefs["ExitNodeIP"] = value


def up(flags: dict[str, str]) -> int:
    status, prefs, policy = load("status.json"), load("prefs.json"), load("policy.json")
    secret = ""
    for flag in ("auth-key", "client-secret"):
        if flag in flags:
            secret = Path(flags[flag].removeprefix("file:")).read_text(encoding="utf-8")
            note("secrets.jsonl", secret)
    for flag, field in (("exit-node", "ExitNodeIP"), ("exit-node-allow-lan-access", "ExitNodeAllowLANAccess")):
        if prefs["ControlURL"] and prefs[field] and flag not in flags:
            print(
                "Error: changing settings via 'tailscale up' requires mentioning all\nnon-default flags.",
                file=sys.stderr,
            )
            return 1
    # Whatever the flags of `up` cannot say goes back to its default.
    defaults = {"AutoUpdate": {"Check": True, "Apply": None}, "RunWebClient": False, "LoggedOut": False}
    prefs.update({**defaults, "ExitNodeID": "", "ExitNodeIP": ""})
    set_flags(prefs, flags)
    save("prefs.json", prefs)
    if status["BackendState"] == "NeedsLogin":
        refusal = policy["keys"].get(secret.partition("?")[0], "AuthKey not found")
        if refusal:
            print(f"backend error: {refusal}", file=sys.stderr)
            return 1
    own = status["Self"]
    own.pop("Expired", None)
    own.pop("KeyExpiry", None)
    own.update(Online=policy["online"], DNSName="spark.tailnet.example.")
    own["Tags"] = None
    given = [tag for tag in prefs["AdvertiseTags"] or [] if tag in policy["tags"]] or None
    save("next_tags.json", {"tags": given, "after": policy.get("tags_after", 0)})
    status.update(BackendState=policy["state"], HaveNodeKey=True, TailscaleIPs=policy["addresses"])
    save("status.json", status)
    return 0


def take_tags() -> None:
    """Tags come with the next map of the network, which is not there at once when the node is up."""
    if (FOLDER / "next_tags.json").exists():
        coming, status = load("next_tags.json"), load("status.json")
        if coming["after"] <= 0:
            status["Self"]["Tags"] = coming["tags"]
            save("status.json", status)
        save("next_tags.json", {**coming, "after": coming["after"] - 1})


def main(arguments: list[str]) -> int:
    note("calls.jsonl", arguments)
    if (FOLDER / "down").exists() and arguments[0] != "version":
        print("failed to connect to local tailscaled; it doesn't appear to be running", file=sys.stderr)
        return 1
    words = [word for word in arguments if not word.startswith("--")]
    flags = dict(word[2:].split("=", 1) for word in arguments if word.startswith("--") and "=" in word)
    if words[0] == "status":
        take_tags()
        print(json.dumps(load("status.json")))
        return 0 if load("status.json")["BackendState"] == "Running" else 1
    if words == ["debug", "prefs"]:
        print(json.dumps(load("prefs.json")))
    elif words[0] == "up":
        return up(flags)
    elif words[0] == "set":
        prefs = load("prefs.json")
        set_flags(prefs, flags)
        save("prefs.json", prefs)
    elif words[0] == "logout":
        save("status.json", {**load("status.json"), "BackendState": "NeedsLogin", "HaveNodeKey": False, "Self": {}})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
