"""Enriched events and chained views, against the naive reference: each event asks for features, in plain Python."""

import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.definitions.base import HeadwaterWarning
from headwater.definitions.enriched import known_column, over
from headwater.definitions.feature_view import FeatureRef
from headwater.definitions.source import Enriched
from headwater.engines.events import Notes, read_events
from headwater.errors import DataError, DefinitionError, LeakError
from headwater.pipelines import enrichment
from headwater.pipelines.historical import feature_frames
from headwater.pipelines.requests import read_rows
from headwater.testing import cases
from headwater.testing.clocks import as_micros, as_of
from headwater.testing.conformance import bits
from headwater.testing.naive import accepted, agree, evaluate, visible

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
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
    """The rows of a source: of an enriched one those of its base, each with its features and when it was known."""
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
            asked |= {f"{view.name}__{f.name}": answers[f"{view.name}__{f.name}"].value for f in features}
            known = max([known, *(_last_known(view, f, inner, asked) for f in features)])
        if base.known_at_field is not None:
            asked[known_column(source.name)] = EPOCH + timedelta(microseconds=known)
        rows.append(_selected(source, asked))
    return [row for row in rows if row is not None]


def _all_columns(source):
    """A view whose copies are told apart by every column, as those of an enriched source are."""

    class _Every:
        keys = sorted(cases.SCHEMA) if source.known_at_field else sorted(set(cases.SCHEMA) - {"known"})
        outputs = ()

    return _Every


def _last_known(view, feature, events, row):
    times = as_of(view.freshness, as_micros(row["timestamp"]))
    wanted = [row[f.name if isinstance(f := view.request_key(key), FeatureRef) else f] for key in view.keys]
    if times is None or None in wanted:
        return -1
    counted = [
        e for e in accepted(view, view.source, events) if [e.row[key] for key in view.keys] == wanted and visible(e, feature.window, *times)
    ]
    aggregation = feature.aggregation
    if aggregation.where is not None:
        counted = [e for e in counted if e.row[aggregation.where] is True]
    if aggregation.skips_null:
        counted = [e for e in counted if all(e.row[c] is not None and e.row[c] == e.row[c] for c in feature.columns)]
    return max((e.known for e in counted), default=-1)


def _selected(source, row):
    """What the rows' select and filter make of one: `below` and `kept` are the only ones here."""
    if source.select is not None:
        value = row["inner__mean_real_10m"]
        row["below"] = None if value is None or row["real"] is None else row["real"] < value
    return row if source.filter is None or (row["inner__count_10m"] or 0) > 0 else None


def compare(view, tables, rows):
    found = hw.get_historical_features(
        view, pl.DataFrame(rows, schema={"key": pl.Int64, "timestamp": pl.Datetime("us", "UTC")}), statuses=True
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


EXACT = {0.1: 0.25, 0.01: 0.5, 4e9 + 0.25: 4.25, -4e9: -4.0}  # sums of these are exact, so what is made of a mean can be compared


def _case(random, late=None):
    """A case whose source has a history."""
    made = cases.case(random, [hw.count()], late=late)
    made = made.with_events([e | {"real": EXACT.get(e["real"], e["real"])} for e in made.events])
    return replace(made, view=made.readable())


def _inner(random, name, source, length):
    windows = [hw.window("10m", hop="10s"), random.choice([hw.window("1h"), hw.window("lifetime")])]
    features = [hw.count(), hw.mean("real"), *random.sample(FEATURES, 2)]
    features = list({(f.function, f.columns, f.where): f for f in features}.values())
    freshness = random.choice(cases.freshnesses(length))
    ttl = random.choice([None, None, "10s"])
    return hw.FeatureView(name, source=source, keys=["key"], features=features, windows=windows, freshness=freshness, ttl=ttl)


def _chain(random, late, depth):
    """Events enriched `depth` times, the events of another source among what enriches them, and a view over them."""
    given_, other = _case(random, late), _case(random)
    source = given_.view.source
    tables = {source.name: given_.events}
    away = replace(other.view.source, name="away")
    tables["away"] = other.events
    for level in range(depth):
        of = random.choice([source, source, away])
        name = "inner" if level == depth - 1 else f"inner{level}"
        inner = _inner(random, name, of, 10**7)
        features = [inner] if level == depth - 1 or random.random() < 0.5 else [inner["count_10m"], inner["mean_real_10m"]]
        select = keep = None
        if level == depth - 1:
            own = sorted(set(cases.SCHEMA) - {"at", "known", "id"})
            below = (pl.col("real").fill_nan(None) < pl.col("inner__mean_real_10m")).alias("below")
            select = random.choice([None, [*own, "inner__count_10m", "inner__mean_real_10m", below]])
            keep = random.choice([None, pl.col("inner__count_10m") > 0])
        source = source.enriched(f"enriched{level}", features, select=select, filter=keep)
    chosen = [hw.sum("inner__count_10m"), hw.last("inner__mean_real_10m"), hw.count("inner__mean_real_10m"), *random.sample(FEATURES, 1)]
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
    return view, tables, given_.rows


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("late", [False, True], ids=["in order", "late"])
@settings(max_examples=40)
@given(random=st.randoms(use_true_random=False))
def test_chained_views_are_the_naive_ones(late, depth, random):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadwaterWarning)
        compare(*_chain(random, late, depth))


def test_rows_in_any_order_and_any_number_of_threads_give_the_same_bits():
    for seed in range(6):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HeadwaterWarning)
            view, _, rows = _chain(Random(seed), True, 2)
        mixed = _over(view, lambda frame, seed=seed: frame.sample(fraction=1, shuffle=True, seed=seed))
        asked = pl.DataFrame(rows, schema={"key": pl.Int64, "timestamp": pl.Datetime("us", "UTC")})
        first, again = (hw.get_historical_features(v, asked, threads=t).select(view.feature_names) for v, t in ((view, 1), (mixed, 4)))
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


def _at(minutes):
    return NOON + timedelta(minutes=minutes)


def _payments(rows, known=False, **rules):
    """Payments of one card: (minute, amount), or (minute, minute known, amount)."""
    frame = pl.DataFrame(
        [{"card": "a", "at": _at(r[0]), "amount": float(r[-1])} | ({"known": _at(r[1])} if known else {}) for r in rows],
        schema_overrides={"at": pl.Datetime("us", "UTC"), "known": pl.Datetime("us", "UTC")},
    )
    return hw.Source("payments", history=frame, timestamp_field="at", known_at_field="known" if known else None, **rules)


def _card(source, *features, freshness=None, name="card", windows=("1h",), **rules):
    return hw.FeatureView(
        name,
        source=source,
        keys=["card"],
        features=features or [hw.mean("amount")],
        windows=windows,
        freshness=freshness or hw.on_request(),
        **rules,
    )


def _asked(*minutes, **columns):
    schema = {"card": pl.String, "timestamp": pl.Datetime("us", "UTC")}
    return pl.DataFrame({"card": ["a"] * len(minutes), "timestamp": [_at(m) for m in minutes], **columns}, schema_overrides=schema)


def _listed(source, *columns, at=60, freshness=None):
    """What the enriched events say, oldest first."""
    view = _card(source, *(hw.last_n(c, k=99) for c in columns), name="seen", windows=["1d"], freshness=freshness)
    found = hw.get_historical_features(view, _asked(at)).row(0)[2:]
    return found[0] if len(columns) == 1 else found


def test_an_event_does_not_count_itself_nor_another_of_its_time():
    payments = _payments([(0, 1), (1, 2), (1, 3), (2, 4)])
    rated = payments.enriched("rated", [_card(payments, hw.count(), hw.sum("amount"))])
    assert _listed(rated, "card__count_1h", "card__sum_amount_1h") == ([0, 1, 1, 3], [0.0, 1.0, 1.0, 6.0])


def test_a_nightly_feature_on_a_stream_of_events():
    """The inner view is as stale as its own freshness says, whatever that of the outer one is."""
    payments = _payments([(-150, 1), (-90, 2), (-30, 3), (-29, 4)])
    hourly = _card(payments, hw.count(), windows=["1d"], freshness=hw.batch("1h"))
    rated = payments.enriched("rated", [hourly])
    assert _listed(rated, "card__count_1d", freshness=hw.streaming("1s")) == [0, 1, 2, 2]
    assert _listed(rated, "card__count_1d", at=-20, freshness=hw.batch("1h")) == [0, 1]


def test_an_event_is_known_when_the_last_of_what_it_says_is():
    """Announced payments: known before they happen, and enriched with others that are announced later."""
    payments = _payments([(-20, -100, 1), (-10, -15, 2), (0, -90, 3), (5, -90, 4)], known=True)
    rated = payments.enriched("rated", [_card(payments, hw.count(), windows=["15m"])])
    counts = _card(rated, hw.last("card__count_15m"), hw.count(), name="seen", windows=["1d"])
    level = lambda lag: hw.Level(hw.streaming(lag))  # noqa: E731
    known = {lag: hw.get_historical_features(counts, _asked(10), level=level(f"{lag}m")).row(0)[2:] for lag in (25, 26, 100, 111)}
    # The one at 0 counts the one at -10, which was announced at -15; that at 5 counts the ones at -10 and 0.
    assert known == {25: (2, 4), 26: (0, 1), 100: (0, 1), 111: (None, 0)}


def test_what_a_where_or_a_null_leaves_out_is_no_input():
    payments = _payments([(-20, -100, 1), (-10, -15, float("nan")), (0, -90, 3)], known=True)
    for features, lag, counted in [([hw.sum("amount")], 26, 2), ([hw.count()], 26, 1), ([hw.count(), hw.sum("amount")], 26, 1)]:
        rated = payments.enriched("rated", [_card(payments, *features)])
        view = _card(rated, hw.count(), name="seen", windows=["1d"])
        assert hw.get_historical_features(view, _asked(10), level=hw.Level(hw.streaming(f"{lag}m"))).row(0)[2] == counted


def test_when_an_event_is_known_does_not_depend_on_what_is_read():
    payments = _payments([(-20, -100, 1), (-10, -15, 2), (0, -90, 3)], known=True)
    rated = payments.enriched("rated", [_card(payments, hw.count()), _card(payments, hw.sum("amount", windows=["5m"]), name="near")])
    one, both = [hw.sum("near__sum_amount_5m")], [hw.sum("near__sum_amount_5m"), hw.sum("card__count_1h")]
    for features in (one, both):
        found = hw.get_historical_features(
            _card(rated, *features, hw.count(), name="seen"), _asked(10), level=hw.Level(hw.streaming("26m"))
        )
        assert found.row(0)[-1] == 1


def test_a_queue_is_known_no_sooner_than_its_ends():
    """That nothing had ended is something that is known only then: K of the inner view."""
    rows = [{"card": "a", "at": _at(m), "known": _at(k), "until": _at(u)} for m, k, u in [(-20, -100, -5), (0, -90, 30)]]
    shifts = hw.Source("shifts", history=pl.DataFrame(rows), timestamp_field="at", known_at_field="known", select=["card", "until"])
    rated = shifts.enriched("rated", [_card(shifts, hw.open_count(until="until"), freshness=hw.streaming("2m"))], select=["card"])
    seen = _card(rated, hw.count(), name="seen")
    counts = [hw.get_historical_features(seen, _asked(10), level=hw.Level(hw.streaming(f"{lag}m"))).row(0)[2] for lag in (12, 13)]
    assert counts == [2, 1]


def test_a_chain_of_three():
    """How often a payment beat the mean before it; of these, how many came in a row; and how often there were two or more."""
    payments = _payments([(i, x) for i, x in enumerate([1, 2, 0, 3, 5, 9, 1])])
    rated = payments.enriched(
        "rated",
        [_card(payments)["mean_amount_1h"]],
        select=["card", "amount", (pl.col("amount") > pl.col("card__mean_amount_1h")).alias("above")],
    )
    assert _listed(rated, "above") == [True, False, True, True, True, False]  # of the first, nothing is said
    above = _card(rated, hw.count(where="above"), name="run", windows=["2m"])
    runs = rated.enriched("runs", [above], select=["card", "above", (pl.col("run__count_where_above_2m") == 2).alias("two")])
    assert _listed(runs, "two") == [False, False, False, False, False, True, True]
    last = _card(runs, hw.count(where="two"), name="last", windows=["1h"])
    ends = runs.enriched("ends", [last], filter=pl.col("above"))
    assert _listed(ends, "last__count_where_two_1h") == [0, 0, 0, 0]
    found = hw.get_historical_features(last, _asked(5, 6, 7))
    assert found["last__count_where_two_1h"].to_list() == [0, 1, 2]


def test_event_columns_fill_the_keys_of_other_views():
    """An alias, a key that is a feature, and a request feature over what the event carries."""
    shops = pl.DataFrame({"shop": ["s", "s", "t"], "at": [_at(-3), _at(-2), _at(-1)], "price": [10.0, 20.0, 7.0]})
    shop = hw.FeatureView(
        "shop", source=hw.Source("prices", history=shops, timestamp_field="at"), keys=["shop"], features=[hw.last("price")],
        freshness=hw.on_request(),
    )  # fmt: skip
    visits = pl.DataFrame({"card": ["a", "a"], "at": [_at(0), _at(1)], "where": ["s", "t"], "paid": [15.0, 14.0]})
    source = hw.Source("visits", history=visits, timestamp_field="at")
    here = shop.alias("here", keys={"shop": "where"})
    usual = _card(source, hw.last("where"), name="usual", windows=["1d"])
    before = shop.alias("before", keys={"shop": usual["last_where_1d"]})

    @hw.request_feature
    def dearer(paid: float, price: float | None = here["last_price"]) -> float | None:
        return None if price is None else paid / price

    rated = source.enriched("rated", [here, before, dearer])
    assert _listed(rated, "here__last_price", "dearer", at=5) == ([20.0, 7.0], [0.75, 2.0])
    assert _listed(rated, "before__last_price", at=5) == [20.0]


def test_copies_are_dropped_once_and_ids_still_break_ties():
    rows = [{"id": i, "card": "a", "at": _at(m), "known": _at(k)} for i, m, k in [(2, 0, 1), (1, 0, 2), (2, 0, 3), (2, 0, 90)]]
    source = hw.Source("visits", history=pl.DataFrame(rows), timestamp_field="at", known_at_field="known", id_field="id", id_horizon="1h")
    rated = source.enriched("rated", [_card(source, hw.count())])
    found = hw.get_historical_features(_card(rated, hw.last_n("id", k=9), hw.count(), name="seen", windows=["1d"]), _asked(100))
    assert found.row(0)[2:] == ([1, 2, 2], 3)


def test_windows_of_known_time():
    """Events stand where they were known, and ask at their own time."""
    payments = _payments([(0, 30, 1), (10, 11, 2), (20, 50, 3)], known=True, window_on="known_at")
    rated = payments.enriched("rated", [_card(payments, hw.count())], select=["card", "card__count_1h"])
    view = _card(rated, hw.last_n("card__count_1h", k=9), name="seen", windows=["25m"])
    assert hw.get_historical_features(view, _asked(29, 31, 51))["seen__last_n_card__count_1h_25m"].to_list() == [[0], [0, 0], [0, 1]]


# ---- levels


def _rated():
    payments = _payments([(-150, 1), (-90, 2), (-30, 3), (-5, 4)])
    inner = _card(payments, hw.count(), windows=["1d"])
    return payments, inner, _card(payments.enriched("rated", [inner]), hw.sum("card__count_1d"), name="outer", windows=["1d"])


def test_a_level_says_how_fresh_a_value_is_not_what_an_event_says():
    _, inner, outer = _rated()
    found = {
        name: hw.get_historical_features(outer, _asked(-1), level=level).row(0)[2]
        for name, level in {
            "as defined": hw.Level(),
            "all hourly": hw.Level(hw.batch("1h")),
            "the view hourly": hw.Level({outer: hw.batch("1h")}),
            "what enriches it never": hw.Level({inner: hw.never()}),
        }.items()
    }
    assert found == {"as defined": 0 + 1 + 2 + 3, "all hourly": 0 + 1, "the view hourly": 0 + 1, "what enriches it never": 6}


def test_events_known_later_are_known_later_in_what_they_enrich_too():
    payments, _, outer = _rated()
    late = hw.Level(known_after={payments: "70m"})
    assert hw.get_historical_features(outer, _asked(0)).row(0)[2] == 6
    assert hw.get_historical_features(outer, _asked(0), level=late).row(0)[2] == 0  # at -90, the one at -150 is not known yet
    assert hw.get_historical_features(outer, _asked(70), level=late).row(0)[2] == 3  # at -30 one is known, at -5 two
    with pytest.raises(DefinitionError, match=r"known_after names 'rated', whose events are known when .*; name 'payments'"):
        hw.Level(known_after={outer.source: "1h"})


def test_several_levels_share_the_enriched_table(monkeypatch):
    reads = _counted(monkeypatch)
    payments, _, outer = _rated()
    again = _card(outer.source, hw.max("card__count_1d"), name="again", windows=["1d"])
    levels = {"a": hw.Level(), "b": hw.Level(hw.batch("1h")), "late": hw.Level(known_after={payments: "1h"}), "never": hw.Level(hw.never())}
    service = hw.FeatureService("svc", [outer, again])
    rows = read_rows(_asked(-1, 30), "timestamp")
    found = feature_frames(service, rows, levels, Notes())
    assert [found[name].row(0) for name in levels] == [(6, 3), (1, 1), (1, 1), (0, None)]
    assert sorted(reads) == ["payments", "payments"]  # once as it is, and once as the late level has it


def _counted(monkeypatch):
    reads = []

    def counting(source, *args):
        reads.append(source.name)
        return read_events(source, *args)

    monkeypatch.setattr(enrichment, "read_events", counting)
    return reads


def test_a_diamond_of_enriched_sources_makes_each_table_once(monkeypatch):
    reads = _counted(monkeypatch)
    payments = _payments([(i, i) for i in range(5)])
    one = payments.enriched("one", [_card(payments, hw.count())])
    two = one.enriched("two", [_card(one, hw.sum("card__count_1h"), name="of_one"), _card(payments, hw.sum("amount"), name="of_payments")])
    three = two.enriched(
        "three", [_card(two, hw.sum("of_one__sum_card__count_1h_1h"), name="of_two"), _card(one, hw.max("amount"), name="more")]
    )
    views = [
        _card(three, hw.sum("of_two__sum_of_one__sum_card__count_1h_1h_1h"), hw.sum("more__max_amount_1h"), name="end"),
        _card(one, hw.count(), name="n"),
    ]
    assert hw.get_historical_features(views, _asked(10)).row(0)[2:] == (0 + 0 + 0 + 1 + 5 - 1 - 0, 0.0 + 1 + 2 + 3, 5)
    assert reads == ["payments", "one", "two"]


def test_only_what_is_read_is_computed(monkeypatch):
    """Other features would fail on the data; other events are not read."""
    seen = []
    monkeypatch.setattr(
        enrichment,
        "read_events",
        lambda source, keys, columns, reach, notes: (seen.append((keys, reach)), read_events(source, keys, columns, reach, notes))[1],
    )
    payments = _payments([(-24 * 60 * d, d) for d in range(9)])
    wrong = _card(payments, hw.sum("card"), name="wrong")
    rated = payments.enriched("rated", [wrong, _card(payments, hw.count(), windows=["1d"])])
    found = hw.get_historical_features(_card(rated, hw.sum("card__count_1d"), name="seen"), _asked(30))
    assert found.row(0)[2] == 1
    ((keys, reach),) = seen
    assert keys == ["at", "card"]
    assert timedelta(microseconds=reach.last - reach.first) == timedelta(minutes=61)
    with pytest.raises(DataError, match=r"sum\(\) takes numbers"):
        hw.get_historical_features(_card(rated, hw.count("wrong__sum_card_1h"), name="seen"), _asked(30))


def test_where_nothing_can_count_nothing_is_read(tmp_path):
    nowhere = hw.Source("payments", timestamp_field="at", history=hw.parquet(tmp_path / "none.parquet"))
    without = hw.Source("payments", timestamp_field="at")
    rated = without.enriched("rated", [_card(without, hw.count())])
    found = hw.get_historical_features(_card(rated, hw.count(), name="seen"), _asked(0), level=hw.Level(hw.never()))
    assert found.row(0)[2] == 0
    with pytest.raises(DefinitionError, match="source 'payments' has no history"):
        hw.get_historical_features(_card(rated, hw.count(), name="seen"), _asked(0))
    with pytest.raises(DataError, match="no file at"):
        hw.get_historical_features(_card(nowhere.enriched("rated", [_card(nowhere, hw.count())]), hw.count(), name="seen"), _asked(0))


def test_no_event_has_the_types_of_some():
    payments = _payments([(0, 1)])
    rated = payments.enriched("rated", [_card(payments, hw.last("card"), hw.count())])
    view = _card(rated, hw.last("card__last_card_1h"), hw.max("card__count_1h"), name="seen")
    for level, asked in ((None, _asked(30)), (hw.Level(hw.never()), _asked(30)), (None, _asked(-500)), (None, _asked())):
        assert hw.get_historical_features(view, asked, level=level).dtypes[2:] == [pl.String, pl.Int64]


# ---- outcomes, projects, fingerprints


def test_an_outcome_of_enriched_events():
    payments = _payments([(0, 1), (5, 4), (10, 2), (40, 20)])
    large = (pl.col("amount") > pl.col("card__mean_amount_1h")).alias("large")
    rated = payments.enriched("rated", [_card(payments)], select=["card", large])
    soon = hw.Labels(
        "soon",
        table=_asked(0, 6, 30),
        timestamp_field="timestamp",
        label=hw.outcome(rated, hw.count(where="large"), keys=["card"], within="15m"),
    )
    found = hw.get_historical_features(_card(payments, hw.count()), soon)
    assert found["soon"].to_list() == [1.0, 0.0, 1.0]


def test_a_project_reaches_all_that_enriches():
    _, inner, outer = _rated()
    labels = hw.Labels("y", table=_asked(0, y=[1.0]), timestamp_field="timestamp", label="y", known_after="1h")
    project = hw.Project("p", [hw.Model("m", task="regression", features=hw.FeatureService("svc", [outer]), labels=labels)])
    assert [s.name for s in project.sources] == ["rated", "payments"]
    assert project.views == (outer, inner)


def test_a_fingerprint_says_what_enriches():
    payments, inner, _ = _rated()
    rated = payments.enriched("rated", [inner])
    assert rated == payments.enriched("rated", [inner])
    other = replace(inner, freshness=hw.batch("1d"))
    assert (
        len(
            {s.fingerprint for s in (rated, payments.enriched("rated", [other]), payments.enriched("rated", [inner["count_1d"]]), payments)}
        )
        == 4
    )


# ---- errors


USERS = hw.Source("paid", history=pl.DataFrame({"user": [1], "at": [NOON], "amount": [1.0]}), timestamp_field="at")
NAMED = replace(USERS, select=["user", "amount"])
BY_USER = hw.FeatureView("user", source=USERS, keys=["user"], features=[hw.count()], windows=["1h"], freshness=hw.on_request())
TYPO = BY_USER.alias("typo", keys={"user": "usr"})

WRONG = {
    "nothing": (NAMED, [], {}, "give a list of feature views, single features and request features"),
    "one view": (NAMED, BY_USER, {}, "give a list of feature views"),
    "a request field": (NAMED, [hw.RequestField("amount", float)], {}, "What the event itself carries is a column already"),
    "a key that is not there": (NAMED, [TYPO], {}, "source 'paid' have no column 'usr', which view 'typo' needs; did you mean 'user'"),
    "a name": (NAMED, [BY_USER], {"name": "a__b"}, "source is named 'a__b'"),
    "twice": (NAMED, [BY_USER, BY_USER["count_1h"]], {}, "two features are named 'user__count_1h'"),
    "a column of another name": (NAMED, [BY_USER], {"select": [pl.col("user__cuont_1h").alias("n")]}, "did you mean 'user__count_1h'"),
    "a filter": (
        NAMED,
        [BY_USER],
        {"filter": pl.col("amuont") > 0},
        "uses 'amuont', which is neither a column of the events nor a feature",
    ),
    "what spans rows": (NAMED, [BY_USER], {"select": [pl.col("user__count_1h").shift(1)]}, "not row-wise"),
    "a clash": (
        replace(USERS, select=["user", pl.col("amount").alias("user__count_1h")]),
        [BY_USER],
        {},
        "'user__count_1h' of source 'paid' is named like",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_where_it_is_written(case):
    base, features, rules, says = WRONG[case]
    with pytest.raises(DefinitionError, match=says):
        base.enriched(rules.pop("name", "rated"), features, **rules)


BROKEN = {
    "a key that is not there": (USERS, [TYPO], {}, ["typo__count_1h"], "source 'paid' have no column 'usr', which view 'typo' needs; did you mean 'user'"),
    "a column of another name": (USERS, [BY_USER], {}, ["amuont"], "source 'paid', which it enriches, has no column 'amuont'; did you mean 'amount'"),
    "in a selection": (USERS, [BY_USER], {"select": ["user", pl.col("user__n").alias("n")]}, ["n"], "has no column 'user__n'"),
    "a clash": (replace(USERS, history=USERS.history.data.rename({"amount": "user__count_1h"})), [BY_USER], {}, ["user__count_1h"], "is named like a feature"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_the_table_shows_not_to_fit_is_refused_when_it_is_read(case):
    base, features, rules, columns, says = BROKEN[case]
    view = replace(BY_USER, name="seen", source=base.enriched("rated", features, **rules), features=[hw.count(c) for c in columns])
    with pytest.raises(DataError, match=says):
        hw.get_historical_features(view, pl.DataFrame({"user": [1], "timestamp": [_at(1)]}))


def test_later_timestamps_of_the_base_are_refused_still():
    table = pl.DataFrame({"user": [1], "at": [NOON], "settled": [_at(60)]})
    source = hw.Source("paid", history=table, timestamp_field="at")
    view = replace(BY_USER, name="seen", source=source.enriched("rated", [BY_USER]))
    with pytest.raises(LeakError, match=r"source 'paid' .*'settled'"):
        hw.get_historical_features(view, pl.DataFrame({"user": [1], "timestamp": [_at(1)]}))
