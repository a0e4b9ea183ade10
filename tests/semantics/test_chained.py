"""Enriched events and chained views: which events each of them counts, and when it is known."""

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError
from tests.semantics.payments import asked, at, by_card, listed, payments_of, rated_payments


def test_an_event_does_not_count_itself_nor_another_of_its_time():
    payments = payments_of([(0, 1), (1, 2), (1, 3), (2, 4)])
    rated = hw.enrich(payments, "rated", [by_card(payments, hw.count(), hw.sum("amount"))])
    assert listed(rated, "card__count_1h", "card__sum_amount_1h") == (
        [0, 1, 1, 3],
        [0.0, 1.0, 1.0, 6.0],
    )


def test_a_nightly_feature_on_a_stream_of_events():
    """The inner view is as stale as its own freshness says, for any freshness of the outer one."""
    payments = payments_of([(-150, 1), (-90, 2), (-30, 3), (-29, 4)])
    hourly = by_card(payments, hw.count(), windows=["1d"], freshness=hw.batch("1h"))
    rated = hw.enrich(payments, "rated", [hourly])
    assert listed(rated, "card__count_1d", freshness=hw.streaming("1s")) == [0, 1, 2, 2]
    assert listed(rated, "card__count_1d", at=-20, freshness=hw.batch("1h")) == [0, 1]


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


def test_what_a_where_or_a_null_leaves_out_is_no_input():
    payments = payments_of([(-20, -100, 1), (-10, -15, float("nan")), (0, -90, 3)], known=True)
    for features, lag, counted in [
        ([hw.sum("amount")], 26, 2),
        ([hw.count()], 26, 1),
        ([hw.count(), hw.sum("amount")], 26, 1),
    ]:
        rated = hw.enrich(payments, "rated", [by_card(payments, *features)])
        view = by_card(rated, hw.count(), name="seen", windows=["1d"])
        assert (
            hw.get_historical_features(
                view, asked(10), level=hw.Level(hw.streaming(f"{lag}m"))
            ).row(0)[2]
            == counted
        )


def test_when_an_event_is_known_does_not_depend_on_what_is_read():
    payments = payments_of([(-20, -100, 1), (-10, -15, 2), (0, -90, 3)], known=True)
    rated = hw.enrich(
        payments,
        "rated",
        [
            by_card(payments, hw.count()),
            by_card(payments, hw.sum("amount", windows=["5m"]), name="near"),
        ],
    )
    one, both = (
        [hw.sum("near__sum_amount_5m")],
        [hw.sum("near__sum_amount_5m"), hw.sum("card__count_1h")],
    )
    for features in (one, both):
        found = hw.get_historical_features(
            by_card(rated, *features, hw.count(), name="seen"),
            asked(10),
            level=hw.Level(hw.streaming("26m")),
        )
        assert found.row(0)[-1] == 1


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


def test_a_chain_of_three():
    """How often a payment beat the mean before it; of these, how many came in a row; and how often
    there were two or more.
    """
    payments = payments_of([(i, x) for i, x in enumerate([1, 2, 0, 3, 5, 9, 1])])
    rated = hw.enrich(
        payments,
        "rated",
        [by_card(payments)["mean_amount_1h"]],
        select=[
            "card",
            "amount",
            (pl.col("amount") > pl.col("card__mean_amount_1h")).alias("above"),
        ],
    )
    # of the first, nothing is said
    assert listed(rated, "above") == [True, False, True, True, True, False]
    above = by_card(rated, hw.count(where="above"), name="run", windows=["2m"])
    runs = hw.enrich(
        rated,
        "runs",
        [above],
        select=["card", "above", (pl.col("run__count_where_above_2m") == 2).alias("two")],
    )
    assert listed(runs, "two") == [False, False, False, False, False, True, True]
    last = by_card(runs, hw.count(where="two"), name="last", windows=["1h"])
    ends = hw.enrich(runs, "ends", [last], filter=pl.col("above"))
    assert listed(ends, "last__count_where_two_1h") == [0, 0, 0, 0]
    found = hw.get_historical_features(last, asked(5, 6, 7))
    assert found["last__count_where_two_1h"].to_list() == [0, 1, 2]


def test_event_columns_fill_the_keys_of_other_views():
    """An alias, a key that is a feature, and a request feature over what the event carries."""
    shops = pl.DataFrame(
        {"shop": ["s", "s", "t"], "at": [at(-3), at(-2), at(-1)], "price": [10.0, 20.0, 7.0]}
    )
    shop = hw.FeatureView(
        "shop", source=hw.Source("prices", history=shops, timestamp_field="at"), keys=["shop"], features=[hw.last("price")],
        freshness=hw.on_request(),
    )  # fmt: skip
    visits = pl.DataFrame(
        {"card": ["a", "a"], "at": [at(0), at(1)], "where": ["s", "t"], "paid": [15.0, 14.0]}
    )
    source = hw.Source("visits", history=visits, timestamp_field="at")
    here = shop.alias("here", keys={"shop": "where"})
    usual = by_card(source, hw.last("where"), name="usual", windows=["1d"])
    before = shop.alias("before", keys={"shop": usual["last_where_1d"]})

    @hw.request_feature
    def dearer(paid: float, price: float | None = here["last_price"]) -> float | None:
        return None if price is None else paid / price

    rated = hw.enrich(source, "rated", [here, before, dearer])
    assert listed(rated, "here__last_price", "dearer", at=5) == ([20.0, 7.0], [0.75, 2.0])
    assert listed(rated, "before__last_price", at=5) == [20.0]


def test_copies_are_dropped_once_and_ids_still_break_ties():
    rows = [
        {"id": i, "card": "a", "at": at(m), "known": at(k)}
        for i, m, k in [(2, 0, 1), (1, 0, 2), (2, 0, 3), (2, 0, 90)]
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
    found = hw.get_historical_features(
        by_card(rated, hw.last_n("id", k=9), hw.count(), name="seen", windows=["1d"]), asked(100)
    )
    assert found.row(0)[2:] == ([1, 2, 2], 3)


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


def test_what_a_chain_reaches_back_to():
    """The outer window begins after what the inner one counts, and that after what it counts in
    turn.
    """
    payments = payments_of([(-100, 1), (-61, 2), (-2, 3)])
    one = hw.enrich(payments, "one", [by_card(payments, hw.count())])
    two = hw.enrich(one, "two", [by_card(one, hw.sum("card__count_1h"), name="of_one")])
    view = by_card(two, hw.sum("of_one__sum_card__count_1h_1h"), name="seen", windows=["5m"])
    # at -61, one was counted: that at -100
    assert hw.get_historical_features(view, asked(0)).row(0)[2] == 1


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


def test_windows_of_known_time():
    """Events stand where they were known, and ask at their own time."""
    payments = payments_of([(0, 30, 1), (10, 11, 2), (20, 50, 3)], known=True, window_on="known_at")
    rated = hw.enrich(
        payments, "rated", [by_card(payments, hw.count())], select=["card", "card__count_1h"]
    )
    view = by_card(rated, hw.last_n("card__count_1h", k=9), name="seen", windows=["25m"])
    assert hw.get_historical_features(view, asked(29, 31, 51))[
        "seen__last_n_card__count_1h_25m"
    ].to_list() == [[0], [0, 0], [0, 1]]


# ---- levels


def test_a_level_says_how_fresh_a_value_is_not_what_an_event_says():
    _, inner, outer = rated_payments()
    found = {
        name: hw.get_historical_features(outer, asked(-1), level=level).row(0)[2]
        for name, level in {
            "as defined": hw.Level(),
            "all hourly": hw.Level(hw.batch("1h")),
            "the view hourly": hw.Level({outer: hw.batch("1h")}),
            "what enriches it never": hw.Level({inner: hw.never()}),
        }.items()
    }
    assert found == {
        "as defined": 0 + 1 + 2 + 3,
        "all hourly": 0 + 1,
        "the view hourly": 0 + 1,
        "what enriches it never": 6,
    }


def test_events_known_later_are_known_later_in_what_they_enrich_too():
    payments, _, outer = rated_payments()
    late = hw.Level(known_after={payments: "70m"})
    assert hw.get_historical_features(outer, asked(0)).row(0)[2] == 6
    # at -90, the one at -150 is not known yet
    assert hw.get_historical_features(outer, asked(0), level=late).row(0)[2] == 0
    # at -30 one is known, at -5 two
    assert hw.get_historical_features(outer, asked(70), level=late).row(0)[2] == 3
    with pytest.raises(
        DefinitionError,
        match=r"known_after names 'rated', whose events are known when .*; name 'payments'",
    ):
        hw.Level(known_after={outer.source: "1h"})
