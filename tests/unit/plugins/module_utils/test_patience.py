"""How an API that does not answer is asked again."""

from __future__ import annotations

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import TransientError, patiently


class Server:
    """Answers nothing ``silent`` times, each taking a second. ``asked_for`` is how long it asks to be left alone."""

    def __init__(self, silent: int, asked_for: float | None = None) -> None:
        self.now, self.left, self.asked_for = 0.0, silent, asked_for
        self.pauses: list[float] = []

    def ask(self) -> str:
        self.now += 1.0
        self.left -= 1
        if self.left < 0:
            return "answer"
        error = TransientError("BG-CAP-101", f"{self.left} left", "", "")
        error.retry_after_s = self.asked_for
        raise error

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def patiently(self, deadline: float) -> str:
        return patiently(self.ask, deadline, lambda: self.now, self.sleep)


def test_pauses_grow_up_to_five_seconds() -> None:
    server = Server(7)
    assert server.patiently(60) == "answer"
    assert server.pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_a_server_that_asks_for_more_gets_it() -> None:
    server = Server(2, asked_for=3.0)
    assert server.patiently(60) == "answer"
    assert server.pauses == [3.0, 3.0]


def test_at_the_deadline_the_last_error_is_the_answer() -> None:
    server = Server(100, asked_for=30.0)
    with pytest.raises(TransientError, match="BG-CAP-101"):
        server.patiently(10)
    # No pause goes beyond it, and it is asked once more there.
    assert (server.pauses, server.now) == ([9.0], 11.0)


def test_what_does_not_pass_is_not_asked_again() -> None:
    server = Server(0)

    def refuse() -> str:
        raise GpuError("BG-CAP-102", "refused", "", "")

    with pytest.raises(GpuError, match="BG-CAP-102"):
        patiently(refuse, 10, lambda: server.now, server.sleep)
    assert server.pauses == []
