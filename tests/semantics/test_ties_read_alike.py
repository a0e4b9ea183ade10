"""Which of several copies or images known at one time counts depends on the declared source, never
on the columns that are read.
"""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.testing.naive import agree, evaluate
from tests.effort import tries
from tests.flow import Flow, at, micros, project_of

START = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = ("a", "b", "c", "word")
FEATURES = [hw.count(), hw.sum("a"), hw.sum("b"), hw.max("c"), hw.last("word"), hw.last_n("b", k=3)]
RULES = {"copies": {"id_field": "id"}, "images": {"id_field": "id", "changes": "before"}}
SCHEMA = {
    "key": str,
    "t": pl.Datetime("us", "UTC"),
    "known": pl.Datetime("us", "UTC"),
    "id": int,
    "before": bool,
    "a": int,
    "b": int,
    "c": float,
    "word": str,
}


def rows_of(random, count):
    """Rows of a few ids, known at a few times, that say a few things: most of them tie."""
    times = [START + timedelta(hours=h) for h in range(3)]
    return [
        {
            "key": random.choice(["x", "x", "y"]),
            "t": random.choice(times[:2]),
            "known": random.choice(times),
            "id": random.randint(0, 3),
            "before": random.random() < 0.25,
            "a": random.choice([None, 1, 2, 3]),
            "b": random.choice([1, 2, 3]),
            "c": random.choice([None, float("nan"), 0.5, 2.5]),
            "word": random.choice([None, "é", "z"]),
        }
        for _ in range(count)
    ]


def table_of(rows):
    return pl.DataFrame(rows, schema=SCHEMA)


def view_of(history, rule, features=FEATURES, *, declared=True, freshness=None):
    names = ["key", *COLUMNS] if declared else None
    source = hw.Source(
        "s",
        history=history,
        timestamp_field="t",
        known_at_field="known",
        select=names,
        **RULES[rule],
    )
    return hw.FeatureView(
        "v",
        source=source,
        keys=["key"],
        features=features,
        windows=["1d"],
        freshness=freshness or hw.on_request(),
    )


def asked(hours=(0, 1, 2, 3)):
    rows = [
        {"key": key, "timestamp": START + timedelta(hours=h, minutes=1)}
        for h in hours
        for key in ("x", "y")
    ]
    return pl.DataFrame(rows, schema={"key": pl.String, "timestamp": pl.Datetime("us", "UTC")})


def alone(view):
    """The features, one call each."""
    return pl.concat(
        [
            hw.get_historical_features([view[f.name]], asked()).drop("key", "timestamp")
            for f in view.outputs
        ],
        how="horizontal",
    )


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=tries(15))
@given(random=st.randoms(use_true_random=False))
def test_any_subset_of_the_features_says_the_same(rule, random):
    rows = rows_of(random, random.randint(2, 14))
    view = view_of(table_of(rows), rule, declared=random.random() < 0.5)
    whole = hw.get_historical_features(view, asked()).drop("key", "timestamp")
    assert whole.equals(alone(view))
    some = random.sample([view[f.name] for f in view.outputs], 3)
    assert whole.select(ref.name for ref in some).equals(
        hw.get_historical_features(some, asked()).drop("key", "timestamp")
    )
    fewer = view_of(
        table_of(random.sample(rows, len(rows))),
        rule,
        features=FEATURES[2:3],
        declared=view.source.select is not None,
    )
    assert whole.select("v__sum_b_1d").equals(
        hw.get_historical_features(fewer, asked()).select("v__sum_b_1d")
    )
    names = ["key", *COLUMNS] if view.source.select is not None else list(SCHEMA)
    seen = [{name: row[name] for name in {*names, "t", "known", "id", "before"}} for row in rows]
    for row, answers in zip(
        whole.to_dicts(), evaluate(view, seen, asked().to_dicts()), strict=True
    ):
        assert all(agree(answers[name], value) for name, value in row.items()), (row, answers, rows)


@pytest.mark.parametrize("seed", range(3))
def test_enriched_events_are_those_that_the_source_accepts(seed):
    rows = rows_of(Random(seed), 30)
    plain = view_of(table_of(rows), "copies", [hw.sum("b"), hw.sum("a")])
    inner = replace(plain, name="inner", features=[hw.count()], windows=["1d"])
    for read in (["b"], ["a", "b"]):
        source = hw.enrich(plain.source, "e", [inner["count_1d"]], select=["key", *read])
        view = replace(plain, source=source, features=[hw.sum(name) for name in read])
        name = "v__sum_b_1d"
        assert hw.get_historical_features(view, asked((23,)))[name].equals(
            hw.get_historical_features(plain, asked((23,)))[name]
        )


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["é", "z"])])
def test_categories_tie_as_texts_and_nested_values_as_json(kind):
    rows = [
        {
            "key": "x",
            "t": START,
            "known": START,
            "id": 1,
            "before": False,
            "a": 1,
            "b": b,
            "c": 1.0,
            "word": w,
        }
        for b, w in ((2, "z"), (1, "é"))
    ]
    for more in ([None, None], [[1], [2]], [{"p": 1}, {"p": 2}]):
        table = table_of(rows).with_columns(pl.col("word").cast(kind), pl.Series("a", more))
        for frame in (table, table.reverse()):
            view = view_of(frame, "copies", [hw.sum("b")])
            expected = 1 if more == [None, None] else 2
            assert hw.get_historical_features(view, asked((3,)))["v__sum_b_1d"][0] == (
                1 if more == [None, None] else 2
            ), (more, expected)


# ---------------------------------------------------------------- online


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as made:
        yield made


STREAM = {
    "key": int,
    "amount": float,
    "a": int,
    "b": int,
    "at": datetime,
    "known": datetime,
    "id": int,
    "before": bool,
}
IMAGES = [
    [{"a": 1, "b": 2}, {"a": 2, "b": 1}],
    [{"a": 2, "b": 1}, {"a": 1, "b": 2}],
    [{"a": 1, "b": 5, "before": True}, {"a": 1, "b": 5}, {"a": 2, "b": 3}, {"a": 3, "b": 5}],
]


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("together", [True, False], ids=["one commit", "a commit each"])
def test_a_stream_of_images_counts_the_same_whatever_its_views_read(
    images, together, store, tmp_path, monkeypatch
):
    monkeypatch.setattr("headwater.clock.now_micros", lambda: micros(100))
    rules = {
        "timestamp_field": "at",
        "known_at_field": "known",
        "id_field": "id",
        "changes": "before",
        "select": ["key", "a", "b"],
    }
    source = hw.Source("s", stream=hw.push(schema=STREAM, at_least_once=True), **rules)
    views = [
        hw.FeatureView(
            name,
            source=source,
            keys=["key"],
            windows=["1h"],
            features=features,
            freshness=hw.streaming("2s"),
        )
        for name, features in (("one", [hw.sum("b")]), ("two", [hw.sum("a"), hw.sum("b")]))
    ]
    rows = [
        {
            "key": 1,
            "amount": 1.0,
            "id": 7,
            "before": False,
            "at": 10,
            "known": at(20).isoformat(),
            **image,
        }
        for image in images
    ]
    found = {}
    for name, mine in (("alone", views[:1]), ("both", views)):
        with closing(hw.operations.open_store(f"lmdb:{tmp_path}/{name}?size=1GB")) as own:
            flow = Flow(mine, own, tmp_path / name)
            for batch in [rows] if together else [[row] for row in rows]:
                flow.send(batch, 100)
            for view in mine:
                read = hw.get_online_features(
                    view, [{"key": 1}], store=own, at=at(110), details=True
                )
                found[name, view.name] = read[view.feature_names[-1]][0]
                (compared,) = hw.parity(
                    project_of(view), store=own, data_dir=tmp_path / name, at=at(110)
                )
                assert compared.mismatches == []
    times = {"at": pl.Datetime("us", "UTC"), "known": pl.Datetime("us", "UTC")}
    history = pl.DataFrame(
        [{**row, "at": at(10), "known": at(20)} for row in rows], schema_overrides=times
    )
    offline = replace(
        views[0], source=hw.Source("s", history=history, **rules), freshness=hw.on_request()
    )
    ask = pl.DataFrame({"key": [1], "timestamp": [at(110)]})
    assert {*found.values(), hw.get_historical_features(offline, ask)["one__sum_b_1h"][0]} == {
        found["alone", "one"]
    }


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("memory", [None, "1MB"])
def test_a_batch_view_is_made_of_the_same_events_and_explained_by_them(
    rule, memory, store, tmp_path
):
    rows = rows_of(Random(4), 40)
    whole = view_of(table_of(rows), rule, freshness=hw.batch("1h"))
    view = replace(whole, name="w", features=[hw.sum("b")])
    cut = START + timedelta(hours=4)
    hw.materialize(
        project_of(whole, view), store=store, at=cut, resources=hw.Resources(memory=memory)
    )
    both = hw.get_online_features(whole, [{"key": "x"}], store=store, at=cut)["v__sum_b_1d"][0]
    assert (
        hw.get_online_features(view, [{"key": "x"}], store=store, at=cut)["w__sum_b_1d"][0] == both
    )
    for compared in hw.parity(project_of(whole, view), store=store, at=cut):
        assert compared.mismatches == []
    explained = hw.operations.explain(
        project_of(whole, view), "w__sum_b_1d", {"key": "x"}, store=store, at=cut
    )
    assert explained.offline == both
    assert explained.events.filter("counts")["b"].sum() == both
