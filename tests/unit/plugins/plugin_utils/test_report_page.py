"""The page: readable by everybody, whole in one file, and never better than what was found."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.plugin_utils import report_findings, report_page, report_palette
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_outcome import NONE, OUTCOMES
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_page import page
from ansible_collections.baremetal.gpu.tests.support.verdicts import finding, host, verdict
from tools.docs import sample_report

VOID = {"meta", "br", "hr", "img", "link", "input"}
SHAPES_CLOSED_IN_PLACE = {"rect", "line", "circle", "path", "polyline", "use"}


class Tree(HTMLParser):
    """Every element's attributes and all text, and whether what is opened is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES_CLOSED_IN_PLACE
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _tag, attributes in self.elements for key, value in attributes.items() if key == name]


@pytest.fixture(scope="module")
def onyx() -> Tree:
    return Tree(page(sample_report.onyx()))


def words(document: dict[str, Any]) -> str:
    return " ".join(Tree(page(document)).text.split())


# What it is made of


def test_page_needs_nothing_else(onyx: Tree) -> None:
    tags = {tag for tag, _attributes in onyx.elements}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base"})
    assert all(target.startswith("#") for target in onyx.attributes("href"))
    assert onyx.attributes("src") == []
    assert re.findall(r"url\(|@import|https?:|javascript:", page(sample_report.onyx())) == []


def test_page_is_well_formed(onyx: Tree) -> None:
    assert onyx.open == []


def test_every_anchor_leads_somewhere_and_only_there(onyx: Tree) -> None:
    ids = onyx.attributes("id")
    assert len(ids) == len(set(ids))
    assert {target.removeprefix("#") for target in onyx.attributes("href")} <= set(ids)


def test_findings_can_be_narrowed_to_an_outcome_and_to_an_area(onyx: Tree) -> None:
    assert {"#only-all", "#only-fail", "#only-unknown", "#only-waived", "#only-ok", "#area-GPU"} <= set(
        onyx.attributes("href")
    )
    text = page(sample_report.onyx())
    assert "#only-fail:target ~ .group:not(.fail) { display: none; }" in text
    assert "#area-NCCL:target ~ .group:not(.area-NCCL) { display: none; }" in text


def test_page_is_made_for_phones_and_paper() -> None:
    text = page(verdict({"one": host(finding())}))
    assert 'content="width=device-width, initial-scale=1"' in text
    assert "@media print" in text
    assert "@media screen and (prefers-color-scheme: dark)" in text, "paper is light"


# Colours


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", [report_palette.LIGHT, report_palette.DARK], ids=["light", "dark"])
def test_text_and_shapes_have_the_contrast_of_wcag_aa(palette: dict[str, str]) -> None:
    for pairs, least in ((report_palette.TEXT_PAIRS, 4.5), (report_palette.SHAPE_PAIRS, 3.0)):
        ratios = {pair: contrast(palette[pair[0]], palette[pair[1]]) for pair in pairs}
        assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < least} == {}


def test_both_schemes_have_every_colour_and_the_page_uses_no_other() -> None:
    assert set(report_palette.LIGHT) == set(report_palette.DARK)
    sheet = (report_page.TEMPLATES / "report.css").read_text(encoding="utf-8")
    template = (report_page.TEMPLATES / "report.html.j2").read_text(encoding="utf-8")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;\s])", sheet) == []
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", sheet + template))
    assert used <= set(report_palette.LIGHT)


def test_text_is_written_upon_what_its_contrast_was_computed_for() -> None:
    named = {name for pair in (*report_palette.TEXT_PAIRS, *report_palette.SHAPE_PAIRS) for name in pair}
    assert {name for name in report_palette.LIGHT if not name.startswith("grade-")} - named == {"grid"}


def test_colour_is_never_the_only_sign(onyx: Tree) -> None:
    assert set(report_palette.MARKS) == {*OUTCOMES, NONE}
    assert len(set(report_palette.MARKS.values())) == len(report_palette.MARKS)
    crosses = [attributes for tag, attributes in onyx.elements if tag == "path" and attributes.get("class") == "cross"]
    assert len(crosses) == 1 + 3, "the legend's, and one on each bad pair"
    assert "threshold 440" in onyx.text


# What it says


def test_findings_stand_with_evidence_and_action(onyx: Tree) -> None:
    text = " ".join(onyx.text.split())
    assert "onyx-g05: onyx-g05 has 7 GPUs, its profile h100-sxm-8 declares 8" in text
    assert "Do: reseat or replace GPU 0000:9b:00.0" in text
    assert "nvidia-smi -q -x" in text
    assert 'missing["0000:9b:00.0"]' in text, "the name of a piece of evidence and its value"


def test_blame_and_kind_of_action_are_told_where_a_finding_has_them() -> None:
    blame = [{"kind": "gpu", "name": "0000:9b:00.0"}, "nonsense"]
    given = finding(status="fail", reason="row remap failed", remedy="replace it", action="reset_gpu", blame=blame)
    text = words(verdict({"one": host(given, finding("BG-GPU-002", status="fail", remedy="look", blame=7))}))
    assert "To blame: gpu 0000:9b:00.0 Do (reset gpu): replace it" in text
    assert "Do: look" in text


def test_worst_findings_come_first() -> None:
    groups = re.findall(r'class="group (\w+) ', page(sample_report.onyx()))
    assert groups == sorted(groups, key=OUTCOMES.index)
    assert groups[0] == "fail"


def test_silent_host_is_unknown_with_its_code(onyx: Tree) -> None:
    assert "onyx-g11: unknown" in onyx.text
    assert "BG-HOST-020" in onyx.text


def test_hosts_that_took_no_part_are_named(onyx: Tree) -> None:
    assert "1 took no part: onyx-g17" in " ".join(onyx.text.split())


def test_evidence_that_is_drawn_is_not_written_as_well(onyx: Tree) -> None:
    assert "[[1024," not in onyx.text
    titles = [" ".join(title.split()) for title in onyx.attributes("aria-label")]
    assert "16 nodes all_reduce: 211.18 GB/s at 16 GiB, threshold 330 GB/s" in titles


def test_pictures_that_are_left_out_are_counted_and_their_evidence_is_written() -> None:
    rows = [[1024, 1.0], [2048, 2.0]]
    many = [
        finding(
            "BG-NCCL-002", subject=f"run {number}", status="fail", reason="slow", evidence={"rows": rows, "n": number}
        )
        for number in range(report_page.CURVES + 2)
    ]
    text = words(verdict({"one": host(*many)}))
    assert "2 more are in the JSON document; the worst are drawn." in text


def test_simulated_findings_are_marked_and_fail_outside_of_a_lab() -> None:
    given = finding(simulated=True, reason="10 replicas")
    assert "simulated hardware" in words(verdict({"one": host(given)}))
    outside = words(verdict({"one": host(given, lab=False)}))
    assert "simulated hardware proves nothing outside of the lab; 10 replicas" in outside
    assert "1 fail" in outside


def test_mark_simulated_is_lost_nowhere() -> None:
    """Not in what is told together, and not of what is well."""
    given = [finding(subject=str(number), simulated=number == 0, reason="well") for number in range(3)]
    other = finding("BG-GPU-002", simulated=True, reason="well")
    text = words(verdict({"one": host(*given, other)}))
    assert "well, and the like 1 simulated" in text
    assert "BG-GPU-002 well simulated" in text
    assert "one not proven simulated" in text


def test_waiver_stands_with_its_reason() -> None:
    given = finding(status="unknown", reason="no reading", waived=True, waiver="not shown here")
    text = words(verdict({"one": host(given)}))
    assert "no reading; accepted because not shown here" in text
    assert "BG-GPU-001 not shown here" in text


def test_check_mode_says_what_it_is_about() -> None:
    assert "nothing is proven" in words(verdict({"one": host(finding())}, check_mode=True))


# What it must bear


def test_run_without_hosts_says_so() -> None:
    text = words(verdict({}))
    assert "No host took part, so nothing was judged." in text
    assert "There is no finding." in text


def test_host_without_findings_is_not_shown_as_well() -> None:
    tree = Tree(page(verdict({"one": host()})))
    tiles = [attributes["href"] for tag, attributes in tree.elements if tag == "use"]
    assert tiles[0] == "#m-none"
    assert "one: none" in tree.text


def test_missing_evidence_is_said() -> None:
    assert "No evidence was given." in words(verdict({"one": host(finding(status="fail", reason="x"))}))


HOSTILE = "<script>alert('x')</script>\"'&{{ 7 * 7 }}</style></svg>\x00\ud800"


def test_hostile_names_and_texts_are_text() -> None:
    evidence = {HOSTILE: HOSTILE, "pairs": [{"first": HOSTILE, "second": "b", "failure": HOSTILE}]}
    given = finding(
        subject=HOSTILE, status="fail", reason=HOSTILE, remedy=HOSTILE, requirements=[HOSTILE], evidence=evidence
    )
    other = finding(HOSTILE, status="unknown", reason="x", waived=True, waiver=HOSTILE)
    tree = Tree(page(verdict({HOSTILE: host(given, other)}, clusters={HOSTILE: [HOSTILE, HOSTILE + "2"]})))
    assert "script" not in {tag for tag, _attributes in tree.elements}
    assert tree.open == []
    assert "<script>alert('x')</script>\"'&{{ 7 * 7 }}" in tree.text


def test_host_with_many_findings_is_cut_and_says_by_how_much() -> None:
    many = [
        finding(subject=f"gpu {number}", status="fail", reason=f"{number} errors", evidence={"raw": "x" * 9000})
        for number in range(200)
    ]
    text = page(verdict({"one": host(*many)}))
    assert f"{200 - report_findings.DETAILED_PER_GROUP} more are in the JSON document, on one" in text
    assert "(8600 more characters)" in text
    assert len(text) < 60_000


def test_what_says_the_same_of_many_hosts_is_told_once() -> None:
    hosts = {
        f"g{number:03d}": host(finding(subject=f"g{number:03d}", status="fail", reason=f"g{number:03d} is hot"))
        for number in range(300)
    }
    text = words(verdict(hosts))
    assert text.count("is hot") == 1
    assert "The same, of 300: g[000-299]" in text
    assert "g[000-299] (300 hosts)" in text


def test_page_over_a_thousand_hosts_stays_small() -> None:
    text = page(sample_report.fleet(1000, 12))
    assert len(text.encode()) < 3_000_000
    assert text.count("<use href=") == 1000 + len(report_palette.MARKS)
