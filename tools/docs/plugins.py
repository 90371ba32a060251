"""Pages of modules and other plugins, from what ansible-doc reads out of them."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.docs.markup import ROOT, code, options_table, page, paragraphs, plain, returns_table, table

COLLECTION = "baremetal.gpu."
# Plugins of these kinds have documentation of their own; an action plugin's is its module's.
OTHER_KINDS = ("callback", "filter", "lookup")


def names(kind: str) -> list[str]:
    """Names of the plugins of a kind, without the collection's; `module` for modules."""
    folder = "modules" if kind == "module" else kind
    return sorted(path.stem for path in ROOT.glob(f"plugins/{folder}/*.py") if path.stem != "__init__")


@functools.cache
def _documented(kind: str) -> dict[str, Any]:
    """Everything that ansible-doc knows of a kind. It needs no network."""
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--type", kind, "--json"]
    command += [f"{COLLECTION}{name}" for name in names(kind)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def module_index() -> str:
    rows = []
    for name in names("module"):
        doc = _documented("module")[f"{COLLECTION}{name}"]["doc"]
        rows.append([f"[{name}](modules/{name}.md)", plain(doc["short_description"])])
    return page("Modules", "the modules' documentation", table(["module", "does"], rows))


def module_page(name: str) -> str:
    """Everything about one module: what it does, options, attributes, examples, returned values."""
    return page(f"Module {name}", f"`plugins/modules/{name}.py`", _body("module", name))


def other_plugins() -> str:
    lines: list[str] = []
    for kind in OTHER_KINDS:
        for name in names(kind):
            lines += [f"## {kind} {name}", "", *_body(kind, name, depth=3)]
    return page("Other plugins", "the plugins' documentation", lines)


def _body(kind: str, name: str, depth: int = 2) -> list[str]:
    entry = _documented(kind)[f"{COLLECTION}{name}"]
    doc, head = entry["doc"], "#" * depth
    lines = [f"**{plain(doc['short_description'])}.**", "", *paragraphs(doc["description"]), ""]
    if doc.get("requirements"):
        lines += [f"Needs: {'; '.join(plain(item) for item in doc['requirements'])}.", ""]
    if doc.get("options"):
        lines += [f"{head} Options", "", *options_table(doc["options"]), ""]
        lines += _settings(doc["options"])
    if doc.get("attributes"):
        rows = [
            [f"`{attribute}`", plain(value.get("support", "")), plain(value.get("details") or value["description"])]
            for attribute, value in doc["attributes"].items()
        ]
        lines += [f"{head} Attributes", "", *table(["attribute", "support", "what it means here"], rows), ""]
    if entry.get("examples"):
        lines += [f"{head} Examples", "", *code(entry["examples"], "yaml"), ""]
    if entry.get("return"):
        lines += [f"{head} Returned values", "", *returns_table(entry["return"]), ""]
    others = [other["module"].removeprefix(COLLECTION) for other in doc.get("seealso") or () if "module" in other]
    if others:
        lines += ["See also " + ", ".join(f"[{other}]({other}.md)" for other in others) + ".", ""]
    return lines


def _settings(options: dict[str, Any]) -> list[str]:
    """Where an option of a plugin is read from, beside the task."""
    lines = []
    for name, option in options.items():
        places = [f"environment variable `{each['name']}`" for each in option.get("env") or ()]
        places += [
            f"`{each['key']}` in section `[{each['section']}]` of ansible.cfg" for each in option.get("ini") or ()
        ]
        if places:
            lines += [f"`{name}` is set by {' or '.join(places)}.", ""]
    return lines
