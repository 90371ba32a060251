"""Pages from data files: codes, deviations, versions, and the lab's faults."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.table import Row, Table
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import Version
from ansible_collections.baremetal.gpu.plugins.plugin_utils.compat_rules import load_table
from lab.faults.actions import survives_reboot
from lab.faults.catalogue import catalogue
from lab.model import all_hosts
from tools import traceability
from tools.docs.markup import ROOT, load, page, plain, table


def codes() -> str:
    entries = load("data/codes.yml")["codes"]
    rows = [
        [
            f"`{code}`",
            entry["kind"],
            *(plain(entry[key]) for key in ("text", "reason", "remedy")),
            ", ".join(entry["requirements"]),
        ]
        for code, entry in entries.items()
    ]
    return page("Codes", "`data/codes.yml`", table(["code", "kind", "what", "why", "what to do", "requirements"], rows))


def deviations() -> str:
    lines: list[str] = []
    for entry in load("data/deviations.yml")["deviations"]:
        restore = f"Set `{entry['restore']}`." if entry["restore"] else "It cannot be had."
        lines += [f"## {entry['id']} ({', '.join(entry['requirements'])})", ""]
        lines += [f"- **Asked:** {plain(entry['asks'])}", f"- **Done:** {plain(entry['does'])}"]
        lines += [f"- **Why:** {plain(entry['why'])}", f"- **To restore the literal text:** {restore}", ""]
    return page("Deviations from the specifications", "`data/deviations.yml`", lines)


def faults() -> str:
    answers = {True: "yes", False: "no", None: "by host"}
    rows = [
        [
            f"`{name}`",
            plain(fault.title),
            ", ".join(fault.hosts(all_hosts())),
            plain(fault.seen_as),
            answers[survives_reboot(fault)],
            "; ".join(f"`{key}`: {plain(each.what)}" for key, each in fault.parameters.items()),
        ]
        for name, fault in catalogue().items()
    ]
    lines = table(["fault", "what is broken", "hosts", "seen as", "there after a reboot", "parameters"], rows)
    return page("Faults of the lab", "`lab/faults.yml` and `lab/hardware/faults.yml`", lines)


def versions() -> str:
    data = load("data/versions.yml")
    rows = [
        [name, f"`{entry['version']}`", plain(entry["what"]), entry["checksums"], plain(entry["source"])]
        for name, entry in data["components"].items()
    ]
    sources = [
        [name, platform, f"`{_filled(url, str(entry['version']))}`"]
        for name, entry in data["components"].items()
        for platform, url in {**entry.get("urls", {}), "repository": entry.get("repository")}.items()
        if url
    ]
    sources += [
        [name, platform, f"`{_filled(url, str(entry['version']))}`"]
        for name, entry in data["components"].items()
        for platform, urls in entry.get("more_urls", {}).items()
        for url in urls
    ]
    sources += [
        [name, "image", f"`{_filled(image, str(entry['version']))}`"]
        for name, entry in data["components"].items()
        for image in entry.get("images", ())
    ]
    packages = [
        [
            name,
            platform,
            ", ".join(f"`{package}`" for package in group["names"]),
            f"`{group.get('version', entry['version'])}`",
            group.get("key", ""),
            ", ".join(f"`{url}`" for url in group["repository"].values()),
        ]
        for name, entry in data["components"].items()
        for platform, group in entry.get("packages", {}).items()
    ]
    keys = [[name, plain(entry["what"]), f"`{entry['fingerprint']}`"] for name, entry in data["keys"].items()]
    lines = [
        *table(["component", "version", "what", "checksums", "why this version"], rows),
        "",
        "Checksums marked `site` come from the inventory of the site that mirrors the artefact.",
        "",
        "Upstream publishes them here, for whoever fills a mirror; no role reads these addresses.",
        "",
        *table(["component", "platform", "address"], sources),
        "",
        *table(["component", "platform", "packages", "version", "signing key", "repositories"], packages),
        "",
        *table(["signing key", "of", "fingerprint"], keys),
    ]
    return page("Versions", "`data/versions.yml`", lines)


def compatibility() -> str:
    """Every row of the compatibility table in words, the names that a question may have, and what releases contain."""
    known = load_table()
    data = load("data/compat.yml")
    names = [[f"`{name}`", plain(entry["what"]), ", ".join(f"`{value}`" for value in sorted(known.attributes[name]))]
             for name, entry in data["attributes"].items()]  # fmt: skip
    names += [["`features`", "a list of what is used", ", ".join(f"`{name}`" for name in known.features)]]
    names += [[f"`{name}`", plain(title), "a version"] for name, title in known.titles.items()]
    rows = [
        [
            f"`{row.id}`",
            _condition(known, row),
            f"`{row.subject}` {plain(_demand(row))}",
            "advice" if row.advises else "refused",
            plain(row.because),
            plain(row.source),
            ", ".join(row.requirements),
        ]
        for row in known.rows
    ]
    lines = [
        *table(["name", "what", "values"], names),
        "",
        "## Features",
        "",
        *table(["feature", "what"], [[f"`{name}`", plain(what)] for name, what in known.features.items()]),
        "",
        "## Rows",
        "",
        *table(["row", "where", "must be", "else", "because", "source", "requirements"], rows),
    ]
    for name, releases in known.releases.items():
        lines += ["", f"## Releases of {known.titles[name]}", "", f"From {plain(releases.source)}.", ""]
        contents = [
            [
                f"`{version}`",
                _contents(release.installs, known),
                _contents(release.defaults, known),
                _contents(release.carries, known),
                f"`{release.built_with}`" if release.built_with else "",
                f"`{release.minimum_driver}`" if release.minimum_driver else "",
            ]
            for version, release in sorted(releases.versions.items(), reverse=True)
        ]
        header = ["release", "installs", "by default", "carries", "built with driver", "least driver"]
        used = [index for index in range(len(header)) if any(line[index] for line in contents)]
        shown = [[line[index] for index in used] for line in contents]
        lines += table([header[index] for index in used], shown)
    return page("Compatibility table", "`data/compat.yml` and `data/hardware`", lines)


def _condition(known: Table, row: Row) -> str:
    parts = [f"{name} {' or '.join(sorted(values))}" for name, values in row.when_attributes]
    parts += [f"feature {name}" for name in sorted(row.when_features)]
    parts += [f"{known.titles[name]} {bounds}".strip() for name, bounds in row.when_components]
    return plain(", ".join(parts) or "everywhere")


def _demand(row: Row) -> str:
    parts = [str(row.bounds)] if str(row.bounds) else []
    parts += ["of branch " + " or ".join(map(str, sorted(row.branches)))] if row.branches else []
    parts += [" or ".join(sorted(row.choices))] if row.choices else []
    parts += ["not " + ", ".join(map(str, sorted(row.excluded)))] if row.excluded else []
    parts += [f"of the version of {row.same_as}"] if row.same_as else []
    parts += ["left out"] if row.unsupported else []
    return " and ".join(parts)


def _contents(versions: Mapping[str, Version], known: Table) -> str:
    return ", ".join(f"{known.titles[name]} `{version}`" for name, version in versions.items())


def _filled(url: str, version: str) -> str:
    """An address from its pattern; a plus sign of the version is spelt as addresses do."""
    number = version.removeprefix("v")
    return url.replace("{version}", version.replace("+", "%2B")).replace("{number}", number.replace("+", "%2B"))


def traced() -> str:
    """Which requirement is proven by which test, and what else cites it."""
    lines = traceability.render(
        load("data/requirements.yml"), traceability.all_proofs(ROOT), traceability.all_citations(ROOT)
    )
    return page("Traceability", "`data/requirements.yml` and what cites its ids", lines)
