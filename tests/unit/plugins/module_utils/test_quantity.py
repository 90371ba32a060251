"""Kubernetes quantities, against the official client's parser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes import utils

from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import parse_quantity, plain

of_the_client: Callable[[str], Decimal] = utils.parse_quantity

numbers = st.from_regex(r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,6})?|\.[0-9]{1,6})", fullmatch=True)
suffixes = st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
exponents = st.from_regex(r"[eE][+-]?[0-9]{1,2}", fullmatch=True)


@settings(max_examples=200)
@given(numbers, suffixes | exponents)
def test_a_quantity_is_what_the_official_client_takes_it_for(number: str, ending: str) -> None:
    assert parse_quantity(number + ending) == of_the_client(number + ending)


@settings(max_examples=200)
@given(st.text(alphabet="0123456789.+-eEkKMGTPinum _", max_size=8))
def test_what_the_official_client_refuses_is_refused(text: str) -> None:
    try:
        expected = of_the_client(text)
    except ValueError:
        with pytest.raises(ValueError, match="is not a quantity"):
            parse_quantity(text)
    else:
        # Stricter: the client takes spaces, underscores and more suffixes than Kubernetes has.
        with suppress(ValueError):
            assert parse_quantity(text) == expected


@pytest.mark.parametrize(
    ("text", "number"), [("8", 8), ("1k", 1000), ("1e3", 1000), ("2Ki", 2048), ("500m", Decimal("0.5")), ("0", 0)]
)
def test_usual_quantities(text: str, number: Decimal) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize(
    "text", ["", "eight", "NaN", "Infinity", "1_000", " 8", "8\n", "1K", "1ki", "1e999", "٨", "--1"]
)
def test_what_kubernetes_does_not_write_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(("number", "text"), [("8.000", "8"), ("1E+3", "1000"), ("0.50", "0.5"), ("0E+3", "0")])
def test_numbers_are_written_plainly(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
