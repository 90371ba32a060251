"""Write the generated pages below docs/, then build the site from all pages into .lab/site. Needs no network. Run by `make docs`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ansible_collections.baremetal.gpu.plugins.plugin_utils import report_page
from tools import seeded_faults
from tools.bench import page as bench_page
from tools.bench import results as bench_results
from tools.docs import data_pages, playbooks, plugins, roles, sample_report, site
from tools.docs.markup import NOTICE, ROOT

__all__ = ["FILES", "NOTICE", "PAGES", "main"]

DOCS = ROOT / "docs"


def _pages() -> dict[str, Callable[[], str]]:
    found: dict[str, Callable[[], str]] = {
        "reference/codes.md": data_pages.codes,
        "reference/compat.md": data_pages.compatibility,
        "reference/deviations.md": data_pages.deviations,
        "reference/faults.md": data_pages.faults,
        "reference/modules.md": plugins.module_index,
        "reference/playbooks.md": playbooks.index,
        "reference/plugins.md": plugins.other_plugins,
        "reference/roles.md": roles.index,
        "reference/versions.md": data_pages.versions,
        "seeded-faults.md": seeded_faults.page,
        "traceability.md": data_pages.traced,
    }
    found |= {f"reference/roles/{name}.md": partial(roles.role_page, name) for name in roles.names()}
    found |= {f"reference/modules/{name}.md": partial(plugins.module_page, name) for name in plugins.names("module")}
    if RESULTS:
        found["benchmarks.md"] = partial(bench_page.markdown, RESULTS)
    return found


RESULTS = bench_results.kept(DOCS / "benchmarks")
PAGES = _pages()
"""Every generated page by its path below docs/."""
_GRAPH = bench_page.fleet_graph(RESULTS)
FILES = {} if _GRAPH is None else {"benchmarks/fleet.svg": _GRAPH}
"""What generated pages show and is no page itself."""


def _leftovers() -> list[Path]:
    """Generated pages whose source is gone."""
    pages = {path: path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}
    return sorted(
        path for path, text in pages.items() if NOTICE in text and path.relative_to(DOCS).as_posix() not in PAGES
    )


def write() -> None:
    """Write every page that changed, and remove those of what is gone."""
    for path in _leftovers():
        path.unlink()
        print(f"removed {path.relative_to(ROOT)}")
    for name, text in {**{name: make() for name, make in PAGES.items()}, **FILES}.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


def main() -> int:
    """Write the pages and build the site; 1 when a link leads nowhere."""
    write()
    try:
        print(f"site: {site.build() / 'index.html'}")
        (site.SITE / "sample-report.html").write_text(report_page.page(sample_report.onyx()), encoding="utf-8")
    except site.DeadLinkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
