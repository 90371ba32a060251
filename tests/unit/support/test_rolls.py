"""What tests of rolls hold against what they saw."""

from __future__ import annotations

import pytest

from ansible_collections.baremetal.gpu.tests.support.rolls import Requests, Seen, turns


def seen(name: str, out: bool = False, ready: bool = True, boot: str = "b1", claimed: bool | None = None) -> Seen:
    return Seen(name, out, out if claimed is None else claimed, ready, boot)


START = [seen("calypso"), seen("a"), seen("b")]
A_OUT = [seen("a", True), seen("a", True, ready=False), seen("a", True, boot="b2"), seen("a", boot="b2")]
B_OUT = [seen("b", True), seen("b", True, ready=False), seen("b", True, boot="b2"), seen("b", boot="b2")]


def test_nodes_that_are_out_one_after_the_other_are_told_in_their_order() -> None:
    assert turns([*START, *A_OUT, *B_OUT]) == ["a", "b"]
    assert turns([*START, *B_OUT, *A_OUT, seen("calypso")]) == ["b", "a"]
    assert turns(START) == []


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([*A_OUT[:2], B_OUT[0]], "a, b are out at once"),
        ([seen("a", ready=False)], "is not Ready and takes pods"),
        ([seen("a", boot="b2")], "was rebooted while it was in"),
        ([seen("a", True, claimed=False)], "is cordoned by another change"),
        ([A_OUT[0], seen("a", claimed=True)], "in while its change goes on"),
    ],
)
def test_what_must_not_be_is_told(states: list[Seen], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        turns([*START, *states])


def asked(*answers: str) -> Requests:
    return Requests(tuple((number / 10, answer) for number, answer in enumerate(answers)))


def test_a_request_that_is_lost_with_its_server_is_one_in_flight() -> None:
    requests = asked(*["200"] * 60, "none", *["200"] * 60)
    requests.require_none_lost_but_in_flight(1)
    assert (requests.lost, round(requests.longest_s, 3)) == ([60], 0.1)


@pytest.mark.parametrize(
    ("answers", "ended"),
    [
        ([*["200"] * 60, "none", *["200"] * 60], 0),
        ([*["200"] * 60, "none", "none", *["200"] * 60], 2),
        ([*["200"] * 60, "503", *["200"] * 60], 0),
        (["200"] * 20, 0),
    ],
    ids=["nothing ended", "the next one was lost too", "an error", "hardly asked"],
)
def test_more_than_what_is_in_flight_is_told(answers: list[str], ended: int) -> None:
    with pytest.raises(AssertionError):
        asked(*answers).require_none_lost_but_in_flight(ended)
