"""The site is built from the checkout alone, and every link of every page leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tools.docs import site

# Elements of a page that a browser loads by itself; links that somebody follows are free to lead elsewhere.
LOADED = re.compile(r"<(?:script|img|iframe|source|audio|video)[^>]*\ssrc=\"([^\"]*)\"|<link[^>]*\shref=\"([^\"]*)\"")
LOADED_BY_STYLE = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
OUTSIDE = re.compile(r"^(?:[a-z]+:)?//")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; any of mkdocs' warnings would have ended that."""
    return site.build(tmp_path_factory.mktemp("site") / "site")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a README that one can add to."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Home\n")
    return tmp_path


def test_every_page_of_the_checkout_is_in_the_site(root: Path, built: Path) -> None:
    pages = [path.relative_to(root / "docs") for path in (root / "docs").rglob("*.md")]
    assert pages
    assert [page for page in pages if not (built / page.with_suffix(".html")).exists()] == []


def test_every_page_can_be_reached_from_the_navigation(built: Path) -> None:
    home = (built / "index.html").read_text(encoding="utf-8")
    listed = set(re.findall(r'class="(?:reference internal|toctree-l\d)[^"]*"\s+href="([^"#]+)', home))
    pages = {path.relative_to(built).as_posix() for path in built.rglob("*.html")}
    unlisted = {page for page in pages - listed if not page.startswith(site.ELSEWHERE)} - {"index.html", "404.html"}
    assert unlisted == set()


def test_no_page_loads_anything_from_another_site(built: Path) -> None:
    pages = [*built.rglob("*.html"), *built.rglob("*.css")]
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        pattern = LOADED if page.suffix == ".html" else LOADED_BY_STYLE
        loaded = ["".join(found) for found in pattern.findall(text)]
        assert [address for address in loaded if OUTSIDE.match(address)] == [], page.name


def test_what_a_page_would_load_is_recognised() -> None:
    page = '<script src="https://example.org/a.js"></script><link rel="x" href="css/b.css"><a href="https://c">c</a>'
    assert ["".join(found) for found in LOADED.findall(page)] == ["https://example.org/a.js", "css/b.css"]


def test_a_link_that_leads_nowhere_is_told_with_its_place(checkout: Path) -> None:
    (checkout / "README.md").write_text("# Home\n\nSee [it](docs/gone.md#there).\n")
    with pytest.raises(site.DeadLinkError, match=r"README\.md:3: docs/gone\.md#there"):
        site.stage(checkout, checkout / "staged")


def test_a_link_out_of_the_checkout_is_dead(checkout: Path) -> None:
    (checkout.parent / "neighbour.md").write_text("mine")
    (checkout / "README.md").write_text("[neighbour](../neighbour.md)\n")
    with pytest.raises(site.DeadLinkError, match="neighbour"):
        site.stage(checkout, checkout / "staged")


def test_a_file_elsewhere_in_the_checkout_comes_along_with_what_it_links_to(checkout: Path) -> None:
    (checkout / "lab").mkdir()
    (checkout / "lab/README.md").write_text("See [data](data.yml) and [home](../README.md).\n")
    (checkout / "lab/data.yml").write_text("a: 1\n")
    (checkout / "docs/page.md").write_text("See [the lab](../lab).\n")
    site.stage(checkout, checkout / "staged")
    assert (checkout / "staged/page.md").read_text() == "See [the lab](repository/lab/README.md).\n"
    assert (checkout / "staged/repository/lab/data.yml").exists()
    assert (
        checkout / "staged/repository/lab/README.md"
    ).read_text() == "See [data](data.yml) and [home](../../index.md).\n"


@pytest.mark.parametrize(
    "text",
    [
        "See <https://example.org/x>, [there](https://example.org/a(b)) or [below](#below).",
        "```yaml\nlink: [no](docs/gone.md)\n```",
        "A [mail](mailto:a@example.org).",
    ],
)
def test_addresses_elsewhere_anchors_and_code_are_left_alone(text: str) -> None:
    assert list(site.links(PurePosixPath("README.md"), text)) == []


def test_a_title_and_an_anchor_survive(checkout: Path) -> None:
    (checkout / "docs/a.md").write_text('[b](sub/b.md#part "The title")\n')
    (checkout / "docs/sub").mkdir()
    (checkout / "docs/sub/b.md").write_text("# Part\n")
    assert site.rewritten(checkout, PurePosixPath("docs/a.md"), '[b](sub/b.md#part "The title")') == (
        '[b](sub/b.md#part "The title")\n'
    )


def test_a_folder_in_the_navigation_stands_for_its_pages() -> None:
    pages = [PurePosixPath("reference/roles.md"), PurePosixPath("reference/roles/a.md")]
    assert site.navigation([{"Reference": [{"Roles": "reference/roles/"}]}], pages) == [
        {"Reference": [{"Roles": [{"a": "reference/roles/a.md"}]}]}
    ]


def test_a_page_that_the_navigation_does_not_name_is_not_lost() -> None:
    named: list[Any] = [{"Home": "index.md"}, {"Reference": [{"Codes": "reference/codes.md"}]}]
    pages = [PurePosixPath(name) for name in ("index.md", "reference/codes.md", "new.md", f"{site.ELSEWHERE}/x.md")]
    assert site.completed(named, pages) == [*named, {"More": ["new.md"]}]
    assert site.completed(named, pages[:2]) == named
