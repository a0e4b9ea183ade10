"""Rows of the semantics as small cases by hand: names, statuses, limits of numbers, dates,
labels.
"""

import math
import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

import headwater as hw
from headwater.errors import RowsLeftOutWarning
from tests.laws import oracle as o
from tests.laws.compare import differences, same_bits
from tests.laws.definitions import UTC as INSTANT
from tests.laws.definitions import Definitions, frame_of

pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def source_of(name="s", **columns):
    """A source of these columns; `rules` are its arguments."""
    rules = {"timestamp_field": "at"} | columns.pop("rules", {})
    return hw.Source(name, history=pl.DataFrame(columns), **rules)


def view_of(source, *features, keys=("k",), windows=("1h",), freshness=None, **more):
    freshness = freshness or hw.on_request()
    return hw.FeatureView(
        "v",
        source=source,
        keys=[*keys],
        features=[*features],
        windows=windows,
        freshness=freshness,
        **more,
    )


def asked_at(*times, **columns):
    return pl.DataFrame({"k": [1] * len(times), "timestamp": [*times]} | columns)


def values(feature, **columns):
    """The value and the status of a feature over events a second apart, the last a second before
    noon.
    """
    n = len(next(iter(columns.values())))
    table = {"k": [1] * n, "at": [NOON - timedelta(seconds=n - i) for i in range(n)]} | columns
    got = hw.get_historical_features(
        view_of(source_of(**table), feature), asked_at(NOON), statuses=True
    )
    return got[got.columns[-2]][0], got[got.columns[-1]][0]


# ------------------------------------------------------------------------------ the table of freshness


def test_a_request_meets_the_cut_that_is_published():
    """The picture of a daily cut with a delay of four hours: T moves when the delay is over."""
    events = source_of(k=[1] * 3, at=[NOON.replace(day=day, hour=0) - MINUTE for day in (1, 2, 3)])
    daily = hw.batch("1d", delay="4h")
    times = [
        NOON.replace(day=2, hour=4) + d
        for d in (timedelta(microseconds=-1), timedelta(0), timedelta(days=1))
    ]
    got = hw.get_historical_features(
        view_of(events, hw.count(), windows=["lifetime"], freshness=daily), asked_at(*times)
    )
    assert got["v__count_lifetime"].to_list() == [1, 2, 3]


def test_measured_ages_are_drawn_by_the_time_of_the_request():
    """Each age is drawn, in any order of the rows; views with as many ages are as old together."""
    events = source_of(k=[1] * 2000, at=[NOON - timedelta(seconds=s + 1) for s in range(2000)])
    ages = hw.measured(["0s", "100s", None])
    young = hw.FeatureView(
        "young", source=events, keys=["k"], features=[hw.count()], freshness=ages
    )
    old = hw.FeatureView(
        "old",
        source=events,
        keys=["k"],
        features=[hw.count()],
        freshness=hw.measured(["300s", "400s", None]),
    )
    rows = asked_at(*[NOON + timedelta(microseconds=i) for i in range(300)])
    got = hw.get_historical_features([young, old], rows)
    pairs = set(got.select("young__count", "old__count").rows())
    assert len(pairs) == 3
    assert {b - a for a, b in pairs} == {0, -299, -300}
    backwards = hw.get_historical_features([young, old], rows.reverse()).reverse()
    assert same_bits(got, backwards)
    other = hw.get_historical_features(young, rows, level=hw.measured(["0s", "100s", None], seed=1))
    assert other["young__count"].to_list() != got["young__count"].to_list()


# ------------------------------------------------------------------------------------------- names

NAMES = {
    "count_1h": hw.count(),
    "count_amount_1h": hw.count("amount"),
    "sum_amount_by_word_1h": hw.sum("amount").by("word"),
    "sum_amount_where_flag_1h": hw.sum("amount", where="flag"),
    "sum_amount_by_word_where_flag_1h": hw.sum("amount", where="flag").by("word"),
    "approx_percentile_amount_p95_1h": hw.approx_percentile("amount", q=0.95),
    "approx_percentile_amount_p99_9_1h": hw.approx_percentile("amount", q=0.999),
    "decayed_sum_amount_halflife_1h_1h": hw.decayed_sum("amount", half_life="60m"),
    "min_by_word_amount_1h": hw.min_by("word", "amount"),
    "ratio_amount_other_1h": hw.ratio("amount", "other"),
    "last_n_word_1h": hw.last_n("word", k=3, distinct=True),
    "std_amount_1h": hw.std("amount", ddof=0),
    "since_last_1h": hw.since_last(),
    "open_count_1h": hw.open_count(until="end"),
    "mine_1h": hw.sum("amount", where="flag", name="mine"),
    "sum_amount_90m": hw.sum("amount", windows=["90m"]),
    "sum_amount_7d": hw.sum("amount", windows=["1w"]),
    "sum_amount_lifetime": hw.sum("amount", windows=["lifetime"]),
    "sum_amount_1h_offset_1d": hw.sum("amount", windows=[hw.window("1h", offset="1d")]),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_is_named_by_function_column_and_window(name):
    assert view_of(hw.Source("s", timestamp_field="at"), NAMES[name]).feature_names == (
        f"v__{name}",
    )


# ------------------------------------------------------------------------------- limits of numbers

MAX = 2**63 - 1


def test_a_distinct_count_is_exact_up_to_512_and_near_beyond():
    for n in (511, 512, 513, 2_000):
        for kind in (pl.Int64, pl.String):
            x = pl.Series(range(n), dtype=pl.Int64).cast(kind)
            once, twice = (
                values(hw.count_distinct("x"), x=x),
                values(hw.count_distinct("x"), x=pl.concat([x[n // 2 :], x])),
            )
            assert once == twice, "it depends on the values alone"
            assert once[0] == n if n <= 512 else abs(once[0] - n) < 4 * 0.016 * n


@pytest.mark.parametrize("q", [0, 0.001, 0.5, 0.95, 1])
def test_a_percentile_is_within_its_error_and_depends_on_the_values_alone(q):
    x = [(-1) ** i * 1.07**i for i in range(300)] + [0.0]
    value, _ = values(hw.approx_percentile("x", q=q), x=x)
    exact = sorted(x)[max(math.ceil(q * len(x)), 1) - 1]
    assert abs(value - exact) <= 0.008 * abs(exact)
    assert values(hw.approx_percentile("x", q=q), x=x[::-1])[0] == value


# ------------------------------------------------------------------------------------ dates and zones

ZONED = ["UTC", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia"]
DAYS = [
    date(2024, 3, 9),
    date(2024, 3, 10),
    date(2018, 11, 3),
    date(2018, 11, 4),
    date(2024, 4, 6),
    date(2011, 12, 29),
    date(2011, 12, 31),
]


@pytest.mark.parametrize("zone", ZONED)
@pytest.mark.parametrize(
    "kind", [pl.Date(), pl.Datetime("us"), pl.Datetime("ms", "Asia/Kathmandu")], ids=str
)
def test_dates_and_local_times(zone, kind):
    """A Date is the last microsecond of its day in the zone; a local time in a gap does not exist,
    in a fold it is the first of the two; a time with a zone of its own keeps it."""
    clocks = [timedelta(hours=h, minutes=m) for h in (0, 1, 2, 3) for m in (0, 15, 30)]
    walls = [datetime.combine(d, time()) + c for d in DAYS for c in clocks]
    at = (
        [*DAYS]
        if kind == pl.Date
        else walls
        if kind == pl.Datetime("us")
        else [wall.replace(tzinfo=UTC) for wall in walls]
    )
    rows = [{"k": 1, "at": value, "known": value, "n": n} for n, value in enumerate([*at, None])]
    table = frame_of(rows, {"k": pl.Int64(), "at": kind, "known": kind, "n": pl.Int64()})
    for known in (None, "known"):
        source = o.Source("s", rows, ("k", "n"), timezone=zone, known_at_field=known)
        view = o.View(
            "v",
            source,
            ("k",),
            (
                o.Aggregation("count"),
                o.Aggregation("last_n", ("n",), params={"k": 5, "distinct": False}),
            ),
        )
        events = o.events_of(source)
        times = sorted({event.time + d for event in events for d in (0, 1)})
        asked = [{"k": 1, "timestamp": o.EPOCH + timedelta(microseconds=t)} for t in times]
        with pytest.warns(RowsLeftOutWarning):
            got = hw.get_historical_features(
                Definitions({"s": table}).view(view),
                frame_of(asked, {"k": pl.Int64(), "timestamp": INSTANT}),
                statuses=True,
            )
        assert differences(view, asked, got) == []
        assert sum(got.left_out.values()) == len(rows) - len(events)


def test_request_times_may_have_any_zone_and_unit():
    view = view_of(source_of(k=[1], at=[NOON]), hw.count())
    for dtype in (
        pl.Datetime("ms", "UTC"),
        pl.Datetime("ns", "America/New_York"),
        pl.Datetime("us", "Asia/Kathmandu"),
    ):
        times = pl.Series([NOON, NOON + timedelta(milliseconds=1)]).cast(dtype)
        got = hw.get_historical_features(view, pl.DataFrame({"k": [1, 1], "timestamp": times}))
        assert (got["v__count_1h"].to_list(), got["timestamp"].dtype) == ([0, 1], dtype)
    local = pl.DataFrame(
        {
            "k": [1, 1],
            "when": [datetime.combine(date(2024, 5, 1), time(8, 0, second)) for second in (0, 1)],
        }
    )
    got = hw.get_historical_features(
        view, local, timestamp_field="when", timezone="America/New_York"
    )
    assert got["v__count_1h"].to_list() == [0, 1]


def test_whole_days_are_not_reinterpreted_but_by_known_after():
    """Without `known_after=` an event counts from its timestamp on; with "1d", a day later."""
    days = [NOON.replace(hour=0, day=d) for d in (1, 2)]
    for after, counts in ((None, [0, 1, 2]), ("0s", [0, 1, 2]), ("1d", [0, 1, 1])):
        rules = {} if after is None else {"known_after": after}
        view = view_of(source_of(k=[1, 1], at=days, rules=rules), hw.count(), windows=["7d"])
        got = hw.get_historical_features(
            view, asked_at(days[0], days[1], days[1] + timedelta(hours=1))
        )
        assert got["v__count_7d"].to_list() == counts


# ----------------------------------------------------------------------------------- omissions


def test_rows_that_are_left_out_are_counted_by_reason():
    """Without a time, never known, duplicates and those that differ; unusable rows are a
    warning.
    """
    at = [NOON, None, NOON, NOON + MINUTE, NOON + MINUTE, NOON + 2 * MINUTE]
    known = [NOON, NOON, None, NOON + MINUTE, NOON + MINUTE, NOON + 2 * MINUTE]
    rules = {
        "known_at_field": "known",
        "id_field": "id",
        "select": ["k", "x"],
        "filter": pl.col("x") < 9,
    }
    events = source_of(
        k=[1] * 6, at=at, known=known, id=[1, 2, 3, 1, 1, 9], x=[1, 1, 1, 1, 2, 9], rules=rules
    )
    with pytest.warns(RowsLeftOutWarning) as said:
        got = hw.get_historical_features(view_of(events, hw.count()), asked_at(NOON + 5 * MINUTE))
    assert got["v__count_1h"].to_list() == [1]
    assert sorted(got.left_out.values()) == [1, 1, 2, 2]
    reasons = " ".join(got.left_out)
    assert all(word in reasons for word in ("no at", "no known", "duplicate", "differ"))
    assert not any("duplicate" in str(each.message) for each in said)


def test_images_without_effect_are_counted():
    images = {
        "k": [1] * 4,
        "at": [NOON] * 4,
        "known": [NOON + n * MINUTE for n in range(4)],
        "id": [1, 1, 2, 3],
    }
    rules = {"known_at_field": "known", "id_field": "id", "changes": "before", "select": ["k"]}
    events = source_of(**images, before=[False, False, True, False], rules=rules)
    got = hw.get_historical_features(view_of(events, hw.count()), asked_at(NOON + 5 * MINUTE))
    assert got["v__count_1h"].to_list() == [2]
    assert sorted(got.left_out.values()) == [1, 1]


# ------------------------------------------------------------------------- select, filter, requests


def test_select_and_filter_make_the_columns_of_events():
    rules = {"select": ["k", (pl.col("x") * 2).alias("double")], "filter": pl.col("x") > 1}
    view = view_of(
        source_of(k=[1] * 3, at=[NOON] * 3, x=[1, 2, None], rules=rules),
        hw.sum("double"),
        hw.count(),
    )
    assert hw.get_historical_features(view, asked_at(NOON + MINUTE)).row(0)[2:] == (4, 1)


def test_request_features_are_null_where_a_parameter_is():
    """A function is not called with a null unless its parameter is annotated with `| None`."""
    view = view_of(source_of(k=[1], at=[NOON], x=[2.0]), hw.mean("x"))
    usual, called = view["mean_x_1h"], []

    @hw.request_feature
    def strict(price: float, mean: float = usual) -> float:
        called.append(price)
        return price - mean

    @hw.request_feature
    def lenient(price: float, mean: float | None = usual) -> float | None:
        return -1.0 if mean is None else None

    rows = asked_at(*[NOON + MINUTE] * 3, k=[1, 2, 1], price=[3.0, 3.0, None])
    got = hw.get_historical_features(
        [view, strict, lenient, hw.RequestField("price", float)], rows, statuses=True
    )
    expected = {
        name: [
            o.request_value(function, {"price": p, "mean": m}, needs)
            for p, m in ((3.0, 2.0), (3.0, None), (None, 2.0))
        ]
        for name, function, needs in (
            ("strict", strict, ["price", "mean"]),
            ("lenient", lenient, ["price"]),
        )
    }
    for name, answers in expected.items():
        assert got[name].to_list() == [answer.value for answer in answers]
        assert got[f"{name}__status"].to_list() == [answer.status for answer in answers]
    assert got["price__status"].to_list() == ["present", "present", "empty"]
    assert called == [3.0, 3.0]


def test_request_features_enrich_events():
    """A request feature can also enrich events; its fields are then columns of the events."""
    base = source_of(k=[1] * 3, at=[NOON + n * MINUTE for n in range(3)], price=[4.0, 6.0, 20.0])
    view = view_of(base, hw.mean("price"))
    usual = view["mean_price_1h"]

    @hw.request_feature
    def gap(price: float, mean: float = usual) -> float:
        return price - mean

    rated = hw.enrich(base, "rated", [gap])
    over = hw.FeatureView(
        "w",
        source=rated,
        keys=["k"],
        features=[hw.sum("gap"), hw.count("gap")],
        freshness=hw.on_request(),
    )
    assert hw.get_historical_features(over, asked_at(NOON + 5 * MINUTE)).row(0)[2:] == (
        2.0 + 15.0,
        2,
    )


def test_lists_of_keys_have_one_status():
    sold = source_of(
        k=["tea", "tea", "jam"],
        at=[NOON - 2 * MINUTE, NOON - MINUTE, NOON - 120 * MINUTE],
        x=[MAX, 1, 5],
    )
    product = view_of(sold, hw.sum("x"), hw.mean("x"), windows=["1h"])
    basket = product.alias("basket", keys={"k": hw.each("list", max_length=4)})
    lists = [["jam", "tea", None, "nuts"], ["jam"], [None], [], None]
    got = hw.get_historical_features(
        basket, pl.DataFrame({"list": lists, "timestamp": [NOON] * 5}), statuses=True
    )
    assert got["basket__sum_x_1h"].to_list() == [[0, None, 0, 0], [0], [0], [], None]
    assert got["basket__sum_x_1h__status"].to_list() == [
        "overflow",
        "missing",
        "missing",
        "empty",
        "missing",
    ]
    assert got["basket__mean_x_1h__status"].to_list() == [
        "present",
        "missing",
        "missing",
        "empty",
        "missing",
    ]


# ------------------------------------------------------------------------------------------ labels


def outcome_labels(events, aggregation, keys=("k",), **table):
    rows = asked_at(*[NOON + n * MINUTE for n in range(3)], k=[1, 2, None], **table)
    label = hw.outcome(events, aggregation, keys=[*keys], within="10m")
    return hw.Labels("label", table=rows, timestamp_field="timestamp", label=label)


def test_a_row_whose_outcome_is_null_is_left_out_and_counted(tmp_path):
    """The mean of no events is null; their count is 0, and such a row stays."""
    events = source_of(k=[1], at=[NOON + MINUTE], x=[1.5])
    view = view_of(events, hw.count())
    got = hw.get_historical_features(view, outcome_labels(events, hw.count()))
    assert got["label"].to_list() == [1.0, 0.0, 0.0]
    labels = outcome_labels(events, hw.mean("x"))
    with pytest.warns(RowsLeftOutWarning):
        got = hw.get_historical_features(view, labels)
    assert (got["label"].to_list(), list(got.left_out.values())) == ([1.5], [2])
    model = hw.Model("m", features=hw.FeatureService("f", [view]), labels=labels, task="regression")
    made = hw.dataset(
        model,
        tmp_path / "rows.parquet",
        as_of=NOON + 60 * MINUTE,
        resources=hw.Resources(cache=False),
    )
    assert (made.manifest["rows"], made.rows.frame["label"].to_list()) == (1, [1.5])


def test_an_outcome_without_keys_counts_the_events_of_all():
    events = source_of(k=[1, 7], at=[NOON + MINUTE, NOON + 11 * MINUTE])
    got = hw.get_historical_features(
        view_of(events, hw.count()), outcome_labels(events, hw.count(), keys=[])
    )
    assert got["label"].to_list() == [1.0, 1.0, 1.0]


def test_a_training_set_with_maps_and_decimals_is_made_again(tmp_path):
    """A manifest's digest depends on what the rows say alone: maps, decimals, lists, categories."""
    key = pl.Series([Decimal(1), Decimal(2)], dtype=pl.Decimal(20, 0))
    events = source_of(k=key, at=[NOON] * 2, word=["a", "b"], x=[1, 2])
    view = view_of(events, hw.sum("x").by("word"), hw.last_n("word", k=2))
    rows = asked_at(
        *[NOON + MINUTE] * 2, k=key, y=[1.0, 2.0], kind=pl.Series(["u", "v"], dtype=pl.Categorical)
    )
    labels = hw.Labels("l", table=rows, timestamp_field="timestamp", label="y", known_after="1m")
    model = hw.Model("m", features=hw.FeatureService("f", [view]), labels=labels, task="regression")
    made = hw.dataset(
        model,
        tmp_path / "rows.parquet",
        as_of=NOON + 60 * MINUTE,
        resources=hw.Resources(cache=False),
    )
    again = hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    assert made.manifest["digest"] == again.manifest["digest"]
    assert made.rows.frame["v__sum_x_by_word_1h"].to_list() == [{"a": 1}, {"b": 2}]


def test_weights_reach_the_estimator_and_nothing_else(tmp_path):
    """`weight=` is passed to `fit` as `sample_weight`; a row without one is left out."""
    rows = asked_at(
        *[NOON + MINUTE] * 4, k=[1, 1, 2, 2], y=[0.0, 10.0, 1.0, 3.0], w=[1.0, 0.0, 1.0, None]
    )
    labels = hw.Labels(
        "l", table=rows, timestamp_field="timestamp", label="y", known_after="1m", weight="w"
    )
    view = view_of(source_of(k=[1], at=[NOON]), hw.count())
    model = hw.Model("m", features=hw.FeatureService("f", [view]), labels=labels, task="regression")
    made = hw.dataset(
        model,
        tmp_path / "rows.parquet",
        as_of=NOON + 60 * MINUTE,
        resources=hw.Resources(cache=False),
    )
    assert made.rows.frame.select("y", "w").rows() == [(0.0, 1.0), (10.0, 0.0), (1.0, 1.0)]
    assert made.manifest["left_out"] == {"labels: no w": 1}


def test_a_hot_key_in_slices_of_time_is_summed_as_in_memory(tmp_path, monkeypatch):
    """More events of one key than fit are worked on in slices of time; floats are added in the same
    order there, also where events came late, so sums are equal to the bit."""
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    r = random.Random(0)
    n = 4000
    at = [NOON + timedelta(seconds=i) for i in range(n)]
    known = [t + timedelta(seconds=r.choice([0, 0, 0, 30, 600])) for t in at]
    amounts = [r.choice([1e15, -1e15, 0.1, 0.3, 1e-3]) * r.random() for _ in range(n)]
    rules = {"known_at_field": "known", "select": ["k", "x"]}
    rows = asked_at(*[NOON + timedelta(seconds=40 * i) for i in range(100)])
    for late in (True, False):
        events = source_of(k=[1] * n, at=at, known=known if late else at, x=amounts, rules=rules)
        view = view_of(
            events,
            hw.sum("x"),
            hw.mean("x"),
            hw.std("x"),
            hw.decayed_sum("x", half_life="5m"),
            windows=["10m", "1m"],
        )
        whole = hw.get_historical_features(view, rows)
        split = hw.get_historical_features(view, rows, resources=hw.Resources(memory="1MB"))
        assert same_bits(whole, split)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_column_of_a_file_has_the_type_that_holds_all_its_values(form, tmp_path):
    """Nulls and integers at the beginning do not decide that later values are cut."""
    x = [None, 1, 2, *[3] * 200, 2.5]
    lines = [
        f'{{"k": 1, "x": {"null" if v is None else v}}}'
        if form == "jsonl"
        else f"1,{'' if v is None else v}"
        for v in x
    ]
    file = tmp_path / f"events.{form}"
    file.write_text(
        "\n".join(lines if form == "jsonl" else ["k,x", *lines]) + "\n", encoding="utf-8"
    )
    table = hw.json_lines(file) if form == "jsonl" else hw.csv(file)
    events = hw.Source(
        "s", history=table, timestamp_field="at", select=["k", "x", pl.lit(NOON).alias("at")]
    )
    got = hw.get_historical_features(
        view_of(events, hw.sum("x"), hw.count("x")), asked_at(NOON + MINUTE)
    )
    assert got.row(0)[2:] == (605.5, 203)
