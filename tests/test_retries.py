"""One retry and one back-off: which errors are tried again, for how long, after which pauses; and
no other loop.
"""

import ast
import math
from itertools import islice
from pathlib import Path

import pytest

from headwater import retries
from headwater.retries import Backoff, retry

SOURCES = sorted((Path(__file__).resolve().parents[1] / "src").rglob("*.py"))


class Clock:
    """Time that passes only by waiting, or while a call lasts."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def stopwatch(self):
        return self.now

    def wait(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(retries, "clock", clock)
    return clock


@pytest.fixture
def longest(monkeypatch):
    """Pauses as long as they can be."""
    monkeypatch.setattr(retries.random, "uniform", lambda _, high: high)


def failing(*errors, clock=None, lasts=0.0):
    """A read that raises these errors one after the other, then answers; and how often it was
    called.
    """
    left, calls = list(errors), []

    def read():
        calls.append(1)
        if clock is not None:
            clock.now += lasts
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


def test_no_pause_ends_after_the_time_is_over(clock, longest):
    pauses = Backoff(1, 4).within(8.0)
    for pause in pauses:
        clock.wait(pause)
    assert clock.pauses == [1, 2, 4]


def test_the_time_begins_with_the_retry_and_not_with_its_first_failure(clock, longest):
    pauses = Backoff(1, 4).within(10.0)
    clock.now = 9.5  # the first call has lasted so long
    assert next(pauses, None) is None


def test_no_more_pauses_than_are_given():
    assert len(list(Backoff(1, math.inf).within(times=3))) == 3
    assert list(Backoff(1, math.inf).within(times=0)) == []


# ---------------------------------------------------------------- retry


def test_what_may_pass_is_read_again_after_a_pause(clock, longest):
    read, calls = failing(TimeoutError("1"), ConnectionError("2"))
    assert (
        retry(
            read,
            on=(TimeoutError, ConnectionError),
            pauses=Backoff(0.5, 9).within(10),
            wait=clock.wait,
        )
        == "answer"
    )
    assert (len(calls), clock.pauses) == (3, [0.5, 1.0])


def test_another_error_is_raised_at_once(clock):
    read, calls = failing(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        retry(read, on=OSError, pauses=Backoff(0.5, 9).within(10), wait=clock.wait)
    assert (len(calls), clock.pauses) == (1, [])


def test_an_error_that_does_not_pass_is_raised_at_once_and_each_is_asked_about_once(clock):
    asked = []

    def passes(error):
        asked.append(str(error))
        return str(error) != "for good"

    read, calls = failing(OSError("soon"), OSError("for good"), OSError("never met"))
    with pytest.raises(OSError, match="for good"):
        retry(read, on=OSError, pauses=Backoff(0.5, 9).within(10), passes=passes, wait=clock.wait)
    assert (len(calls), len(clock.pauses), asked) == (2, 1, ["soon", "for good"])


def test_the_last_error_is_raised_when_the_time_is_over(clock, longest):
    read, calls = failing(*(OSError(str(n)) for n in range(9)), clock=clock, lasts=1.0)
    with pytest.raises(OSError, match="3"):
        retry(read, on=OSError, pauses=Backoff(1, 2).within(9.0), wait=clock.wait)
    assert (len(calls), clock.pauses, clock.now) == (4, [1, 2, 2], 9.0)


def test_a_call_that_takes_all_of_the_time_is_made_once(clock):
    read, calls = failing(OSError("silent"), clock=clock, lasts=10.0)
    with pytest.raises(OSError, match="silent"):
        retry(read, on=OSError, pauses=Backoff(0.05, 0.5).within(10), wait=clock.wait)
    assert (len(calls), clock.pauses) == (1, [])


def test_an_interrupt_ends_it(clock):
    read, calls = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        retry(read, on=Exception, pauses=Backoff(0.5, 9).within(10), wait=clock.wait)
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
