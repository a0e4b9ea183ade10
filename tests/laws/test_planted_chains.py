"""Enriched events and chained views: which events each of them counts, and when it is known."""

import polars as pl
import pytest

import headwater as hw
from tests.laws.payments import asked, at, by_card, listed, payments_of


def test_an_event_is_known_when_the_last_of_what_it_says_is():
    """Announced payments: known before they happen, and enriched with others that are announced
    later.
    """
    payments = payments_of([(-20, -100, 1), (-10, -15, 2), (0, -90, 3), (5, -90, 4)], known=True)
    rated = hw.enrich(payments, "rated", [by_card(payments, hw.count(), windows=["15m"])])
    counts = by_card(rated, hw.last("card__count_15m"), hw.count(), name="seen", windows=["1d"])
    level = lambda lag: hw.Level(hw.streaming(lag))  # noqa: E731
    known = {
        lag: hw.get_historical_features(counts, asked(10), level=level(f"{lag}m")).row(0)[2:]
        for lag in (25, 26, 100, 111)
    }
    # The one at 0 counts the one at -10, which was announced at -15; that at 5 counts the ones at
    # -10 and 0.
    assert known == {25: (2, 4), 26: (0, 1), 100: (0, 1), 111: (None, 0)}


def test_a_queue_is_known_no_sooner_than_its_ends():
    """That nothing had ended is something that is known only then: K of the inner view."""
    rows = [
        {"card": "a", "at": at(m), "known": at(k), "until": at(u)}
        for m, k, u in [(-20, -100, -5), (0, -90, 30)]
    ]
    shifts = hw.Source(
        "shifts",
        history=pl.DataFrame(rows),
        timestamp_field="at",
        known_at_field="known",
        select=["card", "until"],
    )
    rated = hw.enrich(
        shifts,
        "rated",
        [by_card(shifts, hw.open_count(until="until"), freshness=hw.streaming("2m"))],
        select=["card"],
    )
    seen = by_card(rated, hw.count(), name="seen")
    counts = [
        hw.get_historical_features(seen, asked(10), level=hw.Level(hw.streaming(f"{lag}m"))).row(0)[
            2
        ]
        for lag in (12, 13)
    ]
    assert counts == [2, 1]


def test_copies_that_come_to_be_known_together_are_still_two():
    """The base has dropped the copies; that both wait for a third event makes them no closer."""
    rows = [
        {"id": i, "card": "a", "at": at(m), "known": at(k)}
        for i, m, k in [(1, 0, -100), (1, 0, -30), (2, -10, -35)]
    ]
    source = hw.Source(
        "visits",
        history=pl.DataFrame(rows),
        timestamp_field="at",
        known_at_field="known",
        id_field="id",
        id_horizon="1h",
    )
    rated = hw.enrich(source, "rated", [by_card(source, hw.count())])
    assert listed(rated, "card__count_1h") == [0, 1, 1]


@pytest.mark.parametrize("order", [1, -1])
def test_which_copy_is_the_first_does_not_depend_on_what_is_read(order):
    """Two copies known at one moment: the first is told by all their columns."""
    rows = [
        {"id": 1, "card": "a", "at": at(0), "a": 1, "b": 9},
        {"id": 1, "card": "a", "at": at(0), "a": 2, "b": 1},
    ]
    source = hw.Source(
        "visits", history=pl.DataFrame(rows[::order]), timestamp_field="at", id_field="id"
    )
    rated = hw.enrich(source, "rated", [by_card(source, hw.count())])
    assert listed(rated, "a", "b") == ([1], [9])
    assert listed(rated, "b") == [9]


def test_what_a_chain_in_windows_of_known_time_reaches_back_to():
    """An event that is known long after it happened asks at its own time; one that was announced
    stands where its inputs were known.
    """
    rows = [(-20, -20, 1), (-10, -10, 2), (0, 300, 3), (290, -90, 4), (280, 299, 5), (285, 286, 6)]
    payments = payments_of(rows, known=True, window_on="known_at")
    one = hw.enrich(payments, "one", [by_card(payments, hw.count(), windows=["2h"])])
    # as they stand at -20, -10, 286, 286 (for that at 285), 299, 300
    assert listed(one, "card__count_2h", at=305) == [1, 2, 0, 1, 0, 3]
    two = hw.enrich(one, "two", [by_card(one, hw.sum("card__count_2h"), name="of_one")])
    view = by_card(
        two, hw.last_n("of_one__sum_card__count_2h_1h", k=9), name="seen", windows=["25m"]
    )
    assert hw.get_historical_features(view, asked(305)).row(0)[2] == [0, 1, 0, 3]
