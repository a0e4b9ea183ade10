"""A latency limit: what does not fit is cut off, and the answer comes in time all the same."""

import pytest

from headwater.serving.third_party.latency_budget import Deadline, LatencyLimit
from tests.serving.third_party.test_fetcher import Clock


def test_a_deadline_says_what_is_left_and_where_the_time_went():
    clock = Clock()
    due = Deadline(0.08, clock)
    clock.at += 0.01
    due.lap("read")
    clock.at += 0.05
    due.lap("third party")
    assert due.spent() == pytest.approx(0.06)
    assert due.remaining() == pytest.approx(0.02)
    clock.at += 0.03
    due.lap("model")
    clock.at += 0.01
    due.lap("read")
    assert due.stages == {
        "read": pytest.approx(0.02),
        "third party": pytest.approx(0.05),
        "model": pytest.approx(0.03),
    }
    assert due.remaining() == pytest.approx(-0.02)
    assert Deadline(None, clock).remaining() == float("inf")


def test_a_deadline_counts_from_when_the_request_arrived():
    clock = Clock()
    due = LatencyLimit("80ms", now=clock).start(since=99.95)
    assert due.remaining() == pytest.approx(0.03)
    due.lap("wait")
    assert due.stages == {"wait": pytest.approx(0.05)}


@pytest.mark.parametrize(("takes", "left"), [(0.004, 0.074), (0.0, 0.078), (1.0, 0.038)])
def test_third_parties_get_what_the_rest_does_not_need(takes, left):
    """Of 80 ms, 2 ms after the request; never less than half, or one pause of the machine would end
    all calls.
    """
    clock = Clock()
    limit = LatencyLimit("80ms", now=clock)
    for _ in range(100):
        due = limit.start()
        due.lap("third party")
        clock.at += takes / 2
        due.lap("read")
        clock.at += takes / 2
        due.lap("model")
        limit.done(due)
    due = limit.start()
    clock.at += 0.002
    assert limit.for_calls(due) == pytest.approx(left, abs=1e-4)
    assert limit.late == (100 if takes > 0.08 else 0)
