"""One retry and one back-off: which errors are tried again, for how long, after which pauses; and
no other loop.
"""

import ast
import math
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from headwater import clock, retries
from headwater.retries import Backoff, retry
from headwater.testing.clock import at

SOURCES = sorted((Path(__file__).resolve().parents[1] / "src").rglob("*.py"))


class Waits:
    """Seconds that were waited, one after the other; none of them passes."""

    def __init__(self, now):
        self.now, self.pauses = now, []

    def wait(self, seconds):
        self.pauses.append(seconds)
        clock.wait(seconds)


@pytest.fixture
def waits():
    with at("2024-05-01T12:00Z", skips=True) as now:
        yield Waits(now)


@pytest.fixture
def longest(monkeypatch):
    """Pauses as long as they can be."""
    monkeypatch.setattr(retries.random, "uniform", lambda _, high: high)


def failing(*errors, waits=None, lasts=0.0):
    """A read that raises these errors one after the other, then answers; and how often it was
    called.
    """
    left, calls = list(errors), []

    def read():
        calls.append(1)
        if waits is not None:
            waits.now.advance(timedelta(seconds=lasts))
        if left:
            raise left.pop(0)
        return "answer"

    return read, calls


# ---------------------------------------------------------------- pauses


def test_pauses_double_up_to_the_longest_and_begin_anew():
    pauses = iter(Backoff(0.1, 1.0))
    assert list(islice(pauses, 6)) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert next(iter(Backoff(0.1, 1.0))) == 0.1
    assert list(islice(Backoff(5, 2), 2)) == [2, 2]
    assert list(islice(Backoff(1, 60), 5_000))[-1] == 60


def test_pauses_of_a_retry_are_random_from_half_their_length_on():
    drawn = [list(islice(Backoff(1, 4).within(), 4)) for _ in range(200)]
    for pauses, most in zip(zip(*drawn, strict=True), (1, 2, 4, 4), strict=True):
        assert most / 2 <= min(pauses) < 0.6 * most
        assert 0.9 * most < max(pauses) <= most


def test_no_pause_ends_after_the_time_is_over(waits, longest):
    pauses = Backoff(1, 4).within(8.0)
    for pause in pauses:
        waits.wait(pause)
    assert waits.pauses == [1, 2, 4]


def test_the_time_begins_with_the_retry_and_not_with_its_first_failure(waits, longest):
    pauses = Backoff(1, 4).within(10.0)
    waits.now.advance("9500ms")  # the first call has lasted so long
    assert next(pauses, None) is None


def test_no_more_pauses_than_are_given():
    assert len(list(Backoff(1, math.inf).within(times=3))) == 3
    assert list(Backoff(1, math.inf).within(times=0)) == []


# ---------------------------------------------------------------- retry


def test_what_may_pass_is_read_again_after_a_pause(waits, longest):
    read, calls = failing(TimeoutError("1"), ConnectionError("2"))
    assert (
        retry(
            read,
            on=(TimeoutError, ConnectionError),
            pauses=Backoff(0.5, 9).within(10),
            wait=waits.wait,
        )
        == "answer"
    )
    assert (len(calls), waits.pauses) == (3, [0.5, 1.0])


def test_another_error_is_raised_at_once(waits):
    read, calls = failing(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        retry(read, on=OSError, pauses=Backoff(0.5, 9).within(10), wait=waits.wait)
    assert (len(calls), waits.pauses) == (1, [])


def test_an_error_that_does_not_pass_is_raised_at_once_and_each_is_asked_about_once(waits):
    asked = []

    def passes(error):
        asked.append(str(error))
        return str(error) != "for good"

    read, calls = failing(OSError("soon"), OSError("for good"), OSError("never met"))
    with pytest.raises(OSError, match="for good"):
        retry(read, on=OSError, pauses=Backoff(0.5, 9).within(10), passes=passes, wait=waits.wait)
    assert (len(calls), len(waits.pauses), asked) == (2, 1, ["soon", "for good"])


def test_the_last_error_is_raised_when_the_time_is_over(waits, longest):
    read, calls = failing(*(OSError(str(n)) for n in range(9)), waits=waits, lasts=1.0)
    with pytest.raises(OSError, match="3"):
        retry(read, on=OSError, pauses=Backoff(1, 2).within(9.0), wait=waits.wait)
    assert (len(calls), waits.pauses) == (4, [1, 2, 2])


def test_a_call_that_takes_all_of_the_time_is_made_once(waits):
    read, calls = failing(OSError("silent"), waits=waits, lasts=10.0)
    with pytest.raises(OSError, match="silent"):
        retry(read, on=OSError, pauses=Backoff(0.05, 0.5).within(10), wait=waits.wait)
    assert (len(calls), waits.pauses) == (1, [])


def test_an_interrupt_ends_it(waits):
    read, calls = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        retry(read, on=Exception, pauses=Backoff(0.5, 9).within(10), wait=waits.wait)
    assert len(calls) == 1


# ---------------------------------------------------------------- the only ones


def _written(tree):
    """Lines on which what `retry` calls commits, in the call itself or in a function of the same
    file.
    """
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "retry":
            read = functions.get(ast.unparse(node.args[0]), node.args[0])
            if any(
                isinstance(each, ast.Attribute) and each.attr in ("commit", "upsert")
                for each in ast.walk(read)
            ):
                yield node.lineno


def test_no_commit_is_retried():
    texts = {
        path.name: text
        for path in SOURCES
        if "retry(" in (text := path.read_text(encoding="utf-8"))
    }
    assert [
        f"{name}:{line}" for name, text in texts.items() for line in _written(ast.parse(text))
    ] == []
    assert len(texts) > 5
