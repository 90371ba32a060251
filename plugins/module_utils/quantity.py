"""Kubernetes quantities ("8", "1k", "500m", "1e3", "4Ki"). Pure.

The grammar is that of apimachinery's ``resource.Quantity``: a decimal number with a binary suffix, a decimal suffix or an exponent.
The client's own parser also takes what no API server writes ("NaN", "1_000", " 8 "), and importing it costs more than all parsing.
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(
    r"\A([+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40}))(?:(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])|[eE]([+-]?[0-9]{1,2}))?\Z"
)
_DECIMAL = {suffix: Decimal(10) ** (3 * power) for suffix, power in zip("numkMGTPE", (-3, -2, -1, 1, 2, 3, 4, 5, 6))}
_FACTORS = {**_DECIMAL, **{prefix + "i": Decimal(1024) ** power for power, prefix in enumerate("KMGTPE", start=1)}}


def parse_quantity(text: str) -> Decimal:
    """The number that a quantity stands for. Raises ``ValueError``."""
    found = _QUANTITY.match(text)
    if found is None:
        raise ValueError("{0!r} is not a quantity".format(text[:100]))
    number, suffix, exponent = found.groups()
    if suffix:
        return Decimal(number) * _FACTORS[suffix]
    return Decimal(number).scaleb(int(exponent)) if exponent else Decimal(number)


def plain(count: Decimal) -> str:
    """``8`` rather than ``8.000`` or ``1E+3``."""
    return "{0:f}".format(count.normalize()) if count else "0"
