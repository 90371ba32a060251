"""One page per role from its argument specs, and the page that lists them."""

from __future__ import annotations

from typing import Any

from tools.docs.markup import ROOT, load, options_table, page, paragraphs, plain, table


def names() -> list[str]:
    return sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


def _specs(role: str) -> dict[str, Any]:
    specs: dict[str, Any] = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    return specs


def index() -> str:
    rows = []
    for role in names():
        specs = _specs(role)
        entries = ", ".join(f"`{entry}`" for entry in specs)
        rows.append([f"[{role}](roles/{role}.md)", plain(specs["main"]["short_description"]), entries])
    lines = [
        "Entry points are task files with the same names everywhere: `preflight` only reads and refuses, `main` installs and configures,",
        "`verify` only reads and judges, `remove` takes away. A playbook calls one with `tasks_from`.",
        "",
        *table(["role", "does", "entry points"], rows),
    ]
    return page("Roles", "the roles' `meta/argument_specs.yml`", lines)


def role_page(role: str) -> str:
    return page(f"Role {role}", f"`roles/{role}/meta/argument_specs.yml`", role_section(_specs(role)))


def role_section(specs: dict[str, Any]) -> list[str]:
    """A role's entry points, each with its options; options that are those of `main` are not told twice."""
    main = specs["main"].get("options") or {}
    lines: list[str] = []
    for entry, spec in specs.items():
        options = spec.get("options") or {}
        lines += [f"## {entry}", "", f"{plain(spec['short_description'])}.".replace("..", "."), ""]
        lines += [*paragraphs(spec["description"]), ""] if spec.get("description") else []
        if entry != "main" and options and options == main:
            lines += ["Options as for [main](#main).", ""]
        else:
            lines += [*options_table(options), ""] if options else ["It has no options.", ""]
    return lines
