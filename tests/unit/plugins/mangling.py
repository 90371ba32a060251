"""What happens to captures on their way: cut, coloured, with other line ends, with values that make no sense."""

from __future__ import annotations

from hypothesis import strategies as st

NONSENSE = (
    "N/A",
    "[N/A]",
    "ERR!",
    "[Unknown Error]",
    "&lt;",
    "&amp;#0;",
    "-1",
    "99999999999999999999999",
    "",
    "é",
    "{",
    "]",
    '"',
)


@st.composite
def mangled(draw: st.DrawFn, text: str) -> str:
    """``text`` after some of it."""
    words = text.split(" ")
    for _ in range(draw(st.integers(0, 4))):
        words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(NONSENSE))
    text = " ".join(words)
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\x1b[0m\n\x1b[4m")
    if draw(st.booleans()):
        text = text[: draw(st.integers(0, len(text)))]
    if draw(st.booleans()):
        text = text[draw(st.integers(0, len(text))) :]
    return text
