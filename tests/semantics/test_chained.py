"""Enriched events and chained views, against the naive reference: each event asks for features, in
plain Python.
"""

import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.definitions.feature_service import Enriched, known_column, over
from headwater.errors import DefinitionError, HeadwaterWarning
from headwater.testing import cases
from headwater.testing.conformance import bits
from headwater.testing.naive import accepted, agree, evaluate, visible
from headwater.testing.naive_time import as_micros, as_of
from tests.effort import tries
from tests.semantics.payments import asked, at, by_card, listed, payments_of, rated_payments

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FEATURES = [
    hw.count(),
    hw.sum("whole"),
    hw.mean("real"),
    hw.max("whole"),
    hw.last("word"),
    hw.count("real", where="flag"),
    hw.since_last(),
    hw.min("moment"),
]


# ---- the naive reference


def events_of(source, tables):
    """The rows of a source: of an enriched one those of its base, each with its features and when
    it was known.
    """
    if not isinstance(source.history, Enriched):
        return tables[source.name]
    base, service = source.history.base, source.history.features
    rows = []
    for event in accepted(_all_columns(base), base, events_of(base, tables)):
        asked = {**event.row, "timestamp": event.row[base.timestamp_field]}
        known = event.known
        for view in service.views:
            inner = events_of(view.source, tables)
            (answers,) = evaluate(view, inner, [asked])
            features = service.needed[view.name]
            asked |= {
                f"{view.name}__{f.name}": answers[f"{view.name}__{f.name}"].value for f in features
            }
            known = max([known, *(_last_known(view, f, inner, asked) for f in features)])
        if base.known_at_field is not None:
            asked[known_column(source.name)] = EPOCH + timedelta(microseconds=known)
        rows.append(_selected(source, asked))
    return [row for row in rows if row is not None]


def _all_columns(source):
    """A view whose copies are told apart by every column, as those of an enriched source are."""

    class _Every:
        keys = (
            sorted(cases.SCHEMA) if source.known_at_field else sorted(set(cases.SCHEMA) - {"known"})
        )
        outputs = ()

    return _Every


def _last_known(view, feature, events, row):
    times = as_of(view.freshness, as_micros(row["timestamp"]))
    wanted = [
        row[f.name if isinstance(f := view.request_key(key), hw.operations.FeatureRef) else f]
        for key in view.keys
    ]
    if times is None or None in wanted:
        return -1
    counted = [
        e
        for e in accepted(view, view.source, events)
        if [e.row[key] for key in view.keys] == wanted and visible(e, feature.window, *times)
    ]
    aggregation = feature.aggregation
    if aggregation.where is not None:
        counted = [e for e in counted if e.row[aggregation.where] is True]
    if aggregation.skips_null:
        counted = [
            e
            for e in counted
            if all(e.row[c] is not None and e.row[c] == e.row[c] for c in feature.columns)
        ]
    return max((e.known for e in counted), default=-1)


def _selected(source, row):
    """What the rows' select and filter make of one: `below` and `kept` are the only ones here."""
    if source.select is not None:
        value = row["inner__mean_real_10m"]
        row["below"] = None if value is None or row["real"] is None else row["real"] < value
    return row if source.filter is None or (row["inner__count_10m"] or 0) > 0 else None


def compare(view, tables, rows):
    found = hw.get_historical_features(
        view,
        pl.DataFrame(rows, schema={"key": pl.Int64, "timestamp": pl.Datetime("us", "UTC")}),
        statuses=True,
    )
    answers = evaluate(view, events_of(view.source, tables), rows)
    for name in view.feature_names:
        for place, (value, status, answer) in enumerate(
            zip(found[name], found[f"{name}__status"], (a[name] for a in answers), strict=True)
        ):
            assert agree(answer, value), (name, place, value, answer)
            assert status == answer.status, (name, place)
    return found


# ---- random cases


# sums of these are exact, so features of a mean can be compared
EXACT = {0.1: 0.25, 0.01: 0.5, 4e9 + 0.25: 4.25, -4e9: -4.0}


def _case(random, late=None):
    """A case whose source has a history."""
    made = cases.case(random, [hw.count()], late=late, changes=False)
    made = made.with_events([e | {"real": EXACT.get(e["real"], e["real"])} for e in made.events])
    return replace(made, view=made.readable())


def _inner(random, name, source, length):
    windows = [hw.window("10m", hop="10s"), random.choice([hw.window("1h"), hw.window("lifetime")])]
    features = [hw.count(), hw.mean("real"), *random.sample(FEATURES, 2)]
    features = list({(f.function, f.columns, f.where): f for f in features}.values())
    freshness = random.choice(cases.freshnesses(length))
    ttl = random.choice([None, None, "10s"])
    return hw.FeatureView(
        name,
        source=source,
        keys=["key"],
        features=features,
        windows=windows,
        freshness=freshness,
        ttl=ttl,
    )


def _chain(random, late, depth):
    """Events enriched `depth` times, the events of another source among what enriches them, and a
    view over them.
    """
    given_, other = _case(random, late), _case(random)
    source = given_.view.source
    tables = {source.name: given_.events}
    away = replace(other.view.source, name="away")
    tables["away"] = other.events
    for level in range(depth):
        of = random.choice([source, source, away])
        name = "inner" if level == depth - 1 else f"inner{level}"
        inner = _inner(random, name, of, 10**7)
        features = (
            [inner]
            if level == depth - 1 or random.random() < 0.5
            else [inner["count_10m"], inner["mean_real_10m"]]
        )
        select = keep = None
        if level == depth - 1:
            own = sorted(set(cases.SCHEMA) - {"at", "known", "id", "before"})
            below = (pl.col("real").fill_nan(None) < pl.col("inner__mean_real_10m")).alias("below")
            select = random.choice(
                [None, [*own, "inner__count_10m", "inner__mean_real_10m", below]]
            )
            keep = random.choice([None, pl.col("inner__count_10m") > 0])
        source = hw.enrich(source, f"enriched{level}", features, select=select, filter=keep)
    chosen = [
        hw.sum("inner__count_10m"),
        hw.last("inner__mean_real_10m"),
        hw.count("inner__mean_real_10m"),
        *random.sample(FEATURES, 1),
    ]
    if source.select is not None:
        chosen.append(hw.count(where="below"))
    view = hw.FeatureView(
        "outer",
        source=source,
        keys=["key"],
        features=chosen,
        windows=[random.choice(["10m", "1h", "lifetime"])],
        freshness=random.choice(cases.freshnesses(10**7)),
        ttl=random.choice([None, "10s"]),
    )
    # of these, not all events are in reach
    late_rows = [row for row in given_.rows if row["timestamp"] >= cases.BASE]
    return view, tables, random.choice([given_.rows, late_rows or given_.rows])


@pytest.mark.parametrize("depth", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("late", [False, True], ids=["in order", "late"])
def test_chained_views_are_the_naive_ones(late, depth):
    # each level asks the reference for features of each event below it
    @settings(max_examples=tries([40, 25, 8][depth - 1]))
    @given(random=st.randoms(use_true_random=False))
    def law(random):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HeadwaterWarning)
            compare(*_chain(random, late, depth))

    law()


def test_rows_in_any_order_and_any_number_of_threads_give_the_same_bits():
    for seed in range(6):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HeadwaterWarning)
            view, _, rows = _chain(Random(seed), True, 2)
        mixed = _over(
            view, lambda frame, seed=seed: frame.sample(fraction=1, shuffle=True, seed=seed)
        )
        asked = pl.DataFrame(rows, schema={"key": pl.Int64, "timestamp": pl.Datetime("us", "UTC")})
        first, again = (
            hw.get_historical_features(v, asked, resources=hw.Resources(threads=t)).select(
                view.feature_names
            )
            for v, t in ((view, 1), (mixed, 4))
        )
        assert bits(first) == bits(again)


def _over(view, change):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadwaterWarning)
        sources = {}

        def changed(source):
            if id(source) not in sources:
                if isinstance(source.history, Enriched):
                    sources[id(source)] = over(source, changed)
                else:
                    sources[id(source)] = replace(source, history=change(source.history.data))
            return sources[id(source)]

        return replace(view, source=changed(view.source))


# ---- planted


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
