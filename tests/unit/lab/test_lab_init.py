"""A host's first program: clocks that begin with the host, whatever the machine's clocks say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.boot import lab_init

NANOSECONDS = 10**9
CLOCK_NS = st.integers(min_value=0, max_value=10**18)


@pytest.mark.parametrize("name", ["lab-init", "a) b", "("])
def test_start_of_a_process_is_read_whatever_its_name_is(name):
    fields = ["S", *["0"] * 18, "4250", "0", "0"]
    assert lab_init.started_ns(f"1 ({name}) {' '.join(fields)}", 100) == 42_500_000_000


@given(zero=CLOCK_NS, since=CLOCK_NS, monotonic=CLOCK_NS)
def test_both_clocks_read_the_time_since_the_start(zero: int, since: int, monotonic: int) -> None:
    now = {"boottime": zero + since, "monotonic": monotonic}
    for line in lab_init.offsets(zero, now["boottime"], now["monotonic"]).splitlines():
        clock, seconds, nanoseconds = line.split()
        assert 0 <= int(nanoseconds) < NANOSECONDS
        assert now[clock] + int(seconds) * NANOSECONDS + int(nanoseconds) == since
