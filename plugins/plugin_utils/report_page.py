"""The verdict document as one HTML page that needs nothing else: no script, no address, no font. Pure apart from reading its template.

What is alike is told once, so that a fleet of thousands of hosts stays readable: findings by outcome and code, hosts by what
was found on them. Where something is left out the page says how much; the JSON document beside it always has all of it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_findings import groups_of, pictures_of, seen_in
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_fleet import fleets_of, host_rows, requirement_rows
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_outcome import BAD, OUTCOMES, counted, host_outcome
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_palette import DARK, LIGHT, MARKS
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_pictures import curve, matrix

TEMPLATES = Path(__file__).with_name("templates")

CURVES, MATRICES = 12, 4
"""Pictures of each kind, the worst first."""
BAD_PAIRS, CODES_PER_ROW = 10, 40
"""Of a matrix and of a row of hosts, how many are written out."""


def page(document: Mapping[str, Any]) -> str:
    """The whole page. Raises ``OSError`` or ``ValueError`` when the collection's own data cannot be read."""
    seen = seen_in(document)
    curves, curves_left = pictures_of(seen, curve, CURVES, "b")
    matrices, matrices_left = pictures_of(seen, matrix, MATRICES, "p")
    drawn = {id(finding): picture.anchor for picture, findings in (curves | matrices).items() for finding in findings}
    groups = groups_of(seen, drawn, data_files.codes())
    anchors = {(group.outcome, group.code): group.anchor for group in groups}
    outcomes = {name: host_outcome(host) for name, host in document["hosts"].items()}
    rows, row_of = host_rows(document, outcomes, anchors)
    return str(
        _template().render(
            document=document,
            light=LIGHT,
            dark=DARK,
            marks=MARKS,
            outcomes=OUTCOMES,
            bad=BAD,
            most_bad=BAD_PAIRS,
            most_codes=CODES_PER_ROW,
            shown=counted(item.outcome for item in seen),
            host_counts=counted(outcomes.values()),
            areas=sorted({group.area for group in groups}),
            groups=groups,
            fleets=fleets_of(document, outcomes, row_of),
            rows=rows,
            curves=list(curves),
            curves_left=curves_left,
            matrices=list(matrices),
            matrices_left=matrices_left,
            requirements=requirement_rows(document, anchors, data_files.load("data/requirements.yml")["requirements"]),
        )
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
