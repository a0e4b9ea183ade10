"""What the aggregations are called, and refusals where they are written or read."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def view(feature, windows=("1h",), **columns):
    history = pl.DataFrame({"key": [1], "at": [NOON], **columns}) if columns else None
    source = hw.Source(
        "events",
        timestamp_field="at",
        history=history,
        select=["key", *columns] if columns else None,
    )
    return hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[feature],
        windows=windows,
        freshness=hw.on_request(),
    )


@pytest.mark.parametrize(
    ("feature", "name"),
    [
        (hw.var("amount"), "var_amount_1h"),
        (hw.first_n("page", k=3), "first_n_page_1h"),
        (hw.last_n("category", k=10), "last_n_category_1h"),
        (hw.last_n("category", k=10, distinct=True, name="categories"), "categories_1h"),
        (hw.count_distinct("merchant"), "count_distinct_merchant_1h"),
        (hw.approx_percentile("amount", q=0.95), "approx_percentile_amount_p95_1h"),
        (
            hw.approx_percentile("amount", q=0.999, where="ok"),
            "approx_percentile_amount_p99_9_where_ok_1h",
        ),
        (hw.approx_percentile("amount", q=0.29), "approx_percentile_amount_p29_1h"),
        (hw.approx_percentile("amount", q=1), "approx_percentile_amount_p100_1h"),
        (hw.mode("page"), "mode_page_1h"),
        (hw.top_k("item", k=300), "top_k_item_1h"),
        (hw.collect_set("page", max_size=9), "collect_set_page_1h"),
        (hw.min_by("item", "price"), "min_by_item_price_1h"),
        (hw.max_by("item", "price", where="ok"), "max_by_item_price_where_ok_1h"),
        (hw.decayed_sum("amount", half_life="60m"), "decayed_sum_amount_halflife_1h_1h"),
        (
            hw.decayed_mean("amount", half_life=timedelta(days=1)),
            "decayed_mean_amount_halflife_1d_1h",
        ),
        (hw.rate(), "rate_1h"),
        (hw.rate("amount"), "rate_amount_1h"),
        (hw.fraction("late"), "fraction_late_1h"),
        (hw.ratio("clicks", "views"), "ratio_clicks_views_1h"),
    ],
    ids=lambda v: v.function if hasattr(v, "function") else v,
)
def test_names(feature, name):
    assert view(feature).feature_names == (f"view__{name}",)


def test_several_columns_make_several_features():
    assert view(hw.top_k("a", "b", k=2)).feature_names == ("view__top_k_a_1h", "view__top_k_b_1h")


def test_two_shares_or_half_lives_of_one_column_are_two_features():
    source = hw.Source("events", timestamp_field="at")
    features = [hw.approx_percentile("x", q=q) for q in (0.5, 0.95)] + [
        hw.decayed_sum("x", half_life=h) for h in ("1h", "1d")
    ]
    made = hw.FeatureView(
        "view", source=source, keys=["key"], features=features, freshness=hw.on_request()
    )
    assert len(set(made.feature_names)) == 4


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda: hw.top_k("x", k=0), r"top_k\(\): k is 0; give an integer from 1"),
        (lambda: hw.last_n("x", k=2.5), r"last_n\(\): k is 2.5; give an integer"),
        (lambda: hw.first_n("x", k=True), r"first_n\(\): k is True; give an integer"),
        (
            lambda: hw.collect_set("x", max_size=-1),
            r"collect_set\(\): max_size is -1; give an integer",
        ),
        (
            lambda: hw.approx_percentile("x", q=95),
            "q is 95; give a share from 0 to 1, .* such as 0.95",
        ),
        (lambda: hw.approx_percentile("x", q=float("nan")), r"q is nan; give a share"),
        (lambda: hw.approx_percentile("x", q=1 / 3), r"at most six decimals"),
        (
            lambda: hw.decayed_sum("x", half_life="soon"),
            r"decayed_sum\(\): half_life is 'soon'; give an integer and a unit",
        ),
        (
            lambda: hw.decayed_mean("x", half_life="0s"),
            r"half_life is '0s'; give a positive duration",
        ),
        (lambda: hw.var("x", ddof=2), r"ddof is 2; give 1 for the sample's"),
        (hw.mode, r"mode\(\) needs a column"),
        (lambda: hw.top_k(k=2), r"top_k\(\) needs a column, such as top_k\('item'\)"),
        (lambda: hw.fraction(True), r"fraction\(\): a column is True; give the name of a column"),
        (
            lambda: view(hw.rate(), windows=["lifetime"]),
            r"rate\(\) divides by the length of its window, and a lifetime has none",
        ),
        (lambda: view(hw.rate("x"), windows=None), r"give it windows="),
    ],
)
def test_what_is_refused_at_definition(write, says):
    with pytest.raises(DefinitionError, match=says):
        write()


@pytest.mark.parametrize(
    ("feature", "value", "says"),
    [
        (
            hw.approx_percentile("x", q=0.5),
            "a",
            r"approx_percentile\(\) takes numbers or booleans, and the column is String",
        ),
        (hw.decayed_sum("x", half_life="1h"), "a", r"decayed_sum\(\) takes numbers or booleans"),
        (hw.var("x"), NOON, r"var\(\) takes numbers or booleans, and the column is Datetime"),
        (hw.rate("x"), "a", r"rate\(\) takes numbers or booleans"),
        (hw.ratio("x", "x"), "a", r"ratio\(\) takes numbers or booleans"),
        (
            hw.fraction("x"),
            1,
            r"fraction\(\) takes a column of booleans, and the column is Int64; make one in the source's select",
        ),
        (hw.top_k("x", k=2), [1], r"the column 'x' is List\(Int64\); features are computed from"),
    ],
    ids=lambda v: v.function if hasattr(v, "function") else None,
)
def test_what_is_refused_when_it_is_read(feature, value, says):
    with pytest.raises(DataError, match=says):
        hw.get_historical_features(
            view(feature, x=[value]), pl.DataFrame({"key": [1], "timestamp": [NOON]})
        )


def test_a_function_of_the_request_reads_a_list():
    clicks = pl.DataFrame(
        {
            "session": [1, 1, 2],
            "item": ["a", "b", "c"],
            "at": [NOON, NOON + timedelta(minutes=1), NOON],
            "previous_item": ["b", "b", "a"],
        }
    )
    source = hw.Source(
        "clicks", history=clicks, timestamp_field="at", select=["session", "item", "previous_item"]
    )
    session = hw.FeatureView(
        "session",
        source=source,
        keys=["session"],
        windows=["30m"],
        freshness=hw.on_request(),
        features=[hw.last("item")],
    )
    following = hw.FeatureView(
        "next_items",
        source=source,
        keys=["previous_item"],
        windows=["30d"],
        freshness=hw.on_request(),
        features=[hw.top_k("item", k=50)],
    )
    covisited = following.alias("covisited", keys={"previous_item": session["last_item_30m"]})

    @hw.request_feature
    def rank(item: str, after: list[str] = covisited["top_k_item_30d"]) -> int | None:
        return after.index(item) if item in after else None

    rows = pl.DataFrame(
        {
            "session": [1, 1, 3],
            "item": ["b", "z", "a"],
            "timestamp": [NOON + timedelta(minutes=5)] * 3,
        }
    )
    found = hw.get_historical_features([rank, covisited], rows)
    assert found["rank"].to_list() == [1, None, None]
    assert found["covisited__top_k_item_30d"].to_list() == [["a", "b"], ["a", "b"], []]


def test_a_model_refuses_a_list():
    from headwater.models.feature_encoding import fit_encoding

    with pytest.raises(
        DataError, match="a model takes numbers, booleans, times, strings and lists"
    ):
        fit_encoding(pl.DataFrame({"x": [[1]]})).transform(pl.DataFrame({"x": [[1]]}))
