"""Rows and features that a call is given in another form than ours: taken, or refused with what to
give instead.
"""

import warnings
from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError, HeadwaterError, NoEventsWarning

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENTS = pl.DataFrame({"user": [1, 1, 2], "at": [NOON.replace(hour=h) for h in (8, 9, 10)]})
VISITS = hw.Source("visits", history=EVENTS, timestamp_field="at")
VIEW = hw.FeatureView(
    "user",
    source=VISITS,
    keys=["user"],
    features=[hw.count()],
    windows=["1d"],
    freshness=hw.on_request(),
)
SERVICE = hw.FeatureService("shop", [VIEW])
ROWS = pl.DataFrame({"user": [1, 2], "timestamp": [NOON, NOON]})
NAIVE = ROWS.with_columns(pl.col("timestamp").dt.replace_time_zone(None))


@pytest.mark.parametrize("form", ["frame", "lazy", "text", "path", "csv"])
def test_rows_are_taken_as_any_table(form, tmp_path):
    path = tmp_path / ("rows.csv" if form == "csv" else "rows.parquet")
    ROWS.write_csv(path) if form == "csv" else ROWS.write_parquet(path)
    rows = {"frame": ROWS, "lazy": ROWS.lazy(), "text": str(path), "path": path, "csv": path}[form]
    assert hw.get_historical_features(VIEW, rows)["user__count_1d"].to_list() == [2, 1]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param(ROWS.rename({"timestamp": "ts"}), "timestamp_field='ts'", id="another name"),
        pytest.param(
            ROWS.rename({"timestamp": "zone"}).with_columns(pl.lit("x").alias("timestamps")),
            "timestamp_field='zone'",
            id="a time is meant, not a text",
        ),
        pytest.param(
            ROWS.select("user"), "no column 'timestamp' with the request times", id="none"
        ),
        pytest.param(
            ROWS.with_columns(pl.lit("2024-05-01").alias("timestamp")),
            "parse it in rows.with_columns(...)",
            id="text",
        ),
        pytest.param(
            ROWS.with_columns(pl.lit(1).alias("timestamp")),
            "which in rows.with_columns(...)",
            id="number",
        ),
        pytest.param(
            ROWS.with_columns(pl.col("timestamp").dt.date()),
            "say in rows.with_columns(...) at which time of that day",
            id="date",
        ),
        pytest.param(NAIVE, "give timezone= in this call, the zone of the clock", id="naive"),
        pytest.param(ROWS.rename({"user": "usr"}), "did you mean 'usr'?", id="another key"),
        pytest.param(42, "rows is int; give a path", id="a number"),
    ],
)
def test_rows_that_cannot_be_used(rows, says):
    with pytest.raises(HeadwaterError) as raised:
        hw.get_historical_features(VIEW, rows)
    assert says in str(raised.value)
    assert "select" not in str(raised.value)  # a frame of rows has no definition


@pytest.mark.parametrize("features", ["user:count_1d", ["user__count_1d"], [VIEW, "user:count_1d"]])
def test_features_by_name_are_refused_with_what_to_give(features):
    for call in (
        lambda: hw.get_historical_features(features, ROWS),
        lambda: hw.get_online_features(features, ROWS),
    ):
        with pytest.raises(
            HeadwaterError, match=r"such as user\['count_1d'\], or a feature service"
        ):
            call()


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return f"lmdb:{tmp_path}/online?size=1GB"


BATCH = hw.FeatureView(
    "user",
    source=VISITS,
    keys=["user"],
    features=[hw.count()],
    windows=["1d"],
    freshness=hw.batch("1d"),
)


def materialized(store):
    labels = hw.Labels(
        "labels",
        table=ROWS.with_columns(pl.lit(1.0).alias("y")),
        timestamp_field="timestamp",
        label="y",
        known_after="1h",
    )
    model = hw.Model(
        "model", task="regression", features=hw.FeatureService("shop", [BATCH]), labels=labels
    )
    hw.materialize(hw.Project("project", [model]), store=store, at="2024-05-02T00:00Z")


@pytest.mark.parametrize("form", ["frame", "lazy", "path", "mappings", "one mapping"])
def test_online_rows_are_taken_as_any_table(form, tmp_path, store):
    materialized(store)
    path = tmp_path / "keys.parquet"
    keys = pl.DataFrame({"user": [1]})
    keys.write_parquet(path)
    rows = {
        "frame": keys,
        "lazy": keys.lazy(),
        "path": path,
        "mappings": [{"user": 1}],
        "one mapping": {"user": 1},
    }[form]
    assert hw.get_online_features(BATCH, rows, store=store, at="2024-05-02T00:00Z")[
        "user__count_1d"
    ].to_list() == [2]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param(
            [], "rows is empty and has no columns; features of 'features' need: user", id="no rows"
        ),
        pytest.param([1], "row 0 is int; give each row as a mapping", id="a key alone"),
        pytest.param(
            pl.DataFrame({"usr": []}), "did you mean 'usr'?", id="no rows of another column"
        ),
    ],
)
def test_online_rows_that_cannot_be_used(rows, says, store):
    materialized(store)
    with pytest.raises(DataError) as raised:
        hw.get_online_features(BATCH, rows, store=store, at="2024-05-02T00:00Z")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ([SERVICE], "models holds FeatureService"),
        (SERVICE, "models is FeatureService"),
        ([], "models is []"),
        ("m", "models is 'm'"),
    ],
)
def test_a_project_of_no_models_says_what_to_give(models, says):
    with pytest.raises(DefinitionError) as raised:
        hw.Project("p", models)
    assert says in str(raised.value)
    assert "hw.Model(" in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("form", ["path", "file URL", "file URL with a space"])
def test_a_table_may_be_a_file_url(form, tmp_path):
    folder = tmp_path / ("a b" if "space" in form else "ab")
    folder.mkdir()
    EVENTS.write_parquet(folder / "events.parquet")
    where = (
        str(folder / "events.parquet") if form == "path" else (folder / "events.parquet").as_uri()
    )
    for history in (where, hw.parquet(where)):
        visits = hw.Source("visits", history=history, timestamp_field="at")
        view = hw.FeatureView(
            "user",
            source=visits,
            keys=["user"],
            features=[hw.count()],
            windows=["1d"],
            freshness=hw.on_request(),
        )
        assert hw.get_historical_features(view, ROWS)["user__count_1d"].to_list() == [2, 1]


@pytest.mark.parametrize(
    ("rows", "warns"),
    [
        pytest.param(ROWS, False, id="some"),
        pytest.param(
            pl.concat([ROWS, ROWS.with_columns(pl.col("timestamp") - pl.duration(days=9))]),
            False,
            id="before some of the rows",
        ),
        pytest.param(
            ROWS.with_columns(pl.col("timestamp") - pl.duration(days=9)), True, id="before none"
        ),
        pytest.param(
            ROWS.with_columns(pl.col("timestamp") + pl.duration(days=9)), True, id="in no window"
        ),
        pytest.param(ROWS.clear(), False, id="no rows"),
    ],
)
def test_rows_before_any_event_are_warned_of(rows, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hw.get_historical_features(VIEW, rows)
    assert [one.category for one in caught] == [NoEventsWarning] * warns
    if warns:
        assert caught[0].filename == __file__
        assert "no event of source 'visits' is known before any of the 2 rows" in str(
            caught[0].message
        )
