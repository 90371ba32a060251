"""A chart of measured points with their straight line, as SVG of plain shapes: no script, no font, no address outside the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tools.bench.figures import Line, Spread

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 48, 56
COLOURS = ("#1f6f8b", "#b35c1e")


@dataclass(frozen=True)
class Series:
    """Repeated measurements by x, drawn as median with a bar from minimum to maximum, and the line through all of them."""

    name: str
    samples: Mapping[int, Sequence[float]]

    @property
    def line(self) -> Line:
        return Line.fit([(float(x), y) for x, ys in self.samples.items() for y in ys])


def nice_step(highest: float, parts: int = 6) -> float:
    """The distance of grid lines: 1, 2 or 5 times a power of ten, so that at most `parts` of them reach `highest`."""
    if highest <= 0:
        return 1.0
    step = 10.0**-6
    while True:
        for factor in (1, 2, 5):
            if highest / (step * factor) <= parts:
                return step * factor
        step *= 10


def chart(title: str, x_title: str, y_title: str, series: Sequence[Series]) -> str:
    """The whole SVG document. The first series is the newest. Raises ValueError without a series."""
    if not series:
        raise ValueError("nothing to draw")
    widest = max(x for each in series for x in each.samples)
    tallest = max(y for each in series for ys in each.samples.values() for y in ys)
    step = nice_step(tallest)
    top = step * (int(tallest / step) + 1)

    def x_of(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / widest

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 24, title, size=15),
    ]
    for number in range(round(top / step) + 1):
        value = number * step
        shapes.append(_line(LEFT, y_of(value), WIDTH - RIGHT, y_of(value), "#d9d9d9", 1))
        shapes.append(_text(LEFT - 8, y_of(value) + 4, f"{value:g}", anchor="end"))
    for x in sorted({0, *(x for each in series for x in each.samples)}):
        shapes.append(_text(x_of(x), HEIGHT - BOTTOM + 18, str(x), anchor="middle"))
    shapes.append(_line(LEFT, y_of(0), WIDTH - RIGHT, y_of(0), "#404040", 1.5))
    shapes.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_title, anchor="middle"))
    shapes.append(
        f'<text x="18" y="{HEIGHT / 2:.1f}" fill="#202020" text-anchor="middle" '
        f'transform="rotate(-90 18 {HEIGHT / 2:.1f})">{escape(y_title)}</text>'
    )
    for number, each in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        line = each.line
        shapes.append(_line(x_of(0), y_of(max(line.at(0), 0)), x_of(widest), y_of(line.at(widest)), colour, 1.5, "6 4"))
        for x, samples in sorted(each.samples.items()):
            spread = Spread.of(samples)
            shapes.append(_line(x_of(x), y_of(spread.minimum), x_of(x), y_of(spread.maximum), colour, 3))
            shapes.append(f'<circle cx="{x_of(x):.1f}" cy="{y_of(spread.median):.1f}" r="5" fill="{colour}"/>')
        shapes.append(f'<circle cx="{LEFT + 16}" cy="{TOP + 6 + 20 * number}" r="5" fill="{colour}"/>')
        shapes.append(_text(LEFT + 28, TOP + 10 + 20 * number, each.name))
    return "\n".join([*shapes, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="#202020" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"{dashed}/>'
