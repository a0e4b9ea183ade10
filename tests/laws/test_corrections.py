"""Corrections and deletions of a stream: why each image counts or not, what its history and a
changed definition make of it, with an archive and without one.
"""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from tests.laws.streams import TIME
from tests.laws.test_changed_definitions import SCHEMA, name_of, shop  # noqa: F401 (a fixture)

IMAGES = SCHEMA | {"undone": pl.Boolean, "seen": TIME}
BEGUN = datetime(2023, 11, 14, 22, 12, 20, tzinfo=UTC)  # a minute before the shop opens
FEATURES = [hw.count(), hw.sum("v"), hw.max("v"), hw.last_n("v", k=3)]


def view_of(shop, *features, keys=("key",), windows=("1h",), schema=IMAGES, **rules):
    usual = {"id_field": "id", "known_at_field": "known", "changes": "before", "schema": schema}
    source = shop.source(**(usual | rules))
    return shop.view(*(features or FEATURES), source=source, keys=keys, windows=windows)


def image(ident, second, v, known, *, gone=False, **more):
    """What was known of an event at a second, from `BEGUN` on."""
    times = {
        name: None if value is None else BEGUN + timedelta(seconds=value)
        for name, value in (("at", second), ("known", known), ("seen", known))
    }
    return {"id": ident, "v": v, "before": gone, "undone": gone, **times, **more}


def trained(shop, view, asked):
    """What training says of all that was sent, now."""
    lines = (shop.folder / "visits.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    kinds = dict(view.source.stream.schema)
    for row in rows:
        times = {name for name, kind in kinds.items() if kind == TIME and row.get(name)}
        row |= {name: datetime.fromisoformat(row[name]) for name in times}
    source = hw.Source(
        view.source.name,
        history=pl.DataFrame(rows, schema=kinds),
        **{
            name: getattr(view.source, name)
            for name in (
                "timestamp_field",
                "select",
                "filter",
                "id_field",
                "known_at_field",
                "changes",
            )
        },
    )
    frame = pl.DataFrame([{**asked, "timestamp": shop.now.time()}])
    of = replace(view, source=source, freshness=hw.on_request())
    return hw.get_historical_features(of, frame).select(view.feature_names).row(0, named=True)


def served(shop, view, asked):
    row = shop.read(view, asked)
    missing = {row[f"{name}__incomplete"] for name in view.feature_names}
    assert len(missing) == 1
    return {name: row[name] for name in view.feature_names}, missing.pop()


def change(first, second, *, keys=("key",), rebuilt=True):
    return first, second, keys, rebuilt


CHANGES = {
    "a filter is loosened": change(
        {"filter": pl.col("v") > 2}, {"filter": pl.col("v") > 0}, rebuilt=False
    ),
    "a filter is loosened, and nothing was left out": change(
        {"filter": pl.col("v") > 0}, {"filter": pl.col("v") > -1}
    ),
    "a filter is tightened": change({"filter": pl.col("v") > 0}, {"filter": pl.col("v") > 2}),
    "a filter is tightened to events that are corrected later": change(
        {}, {"filter": pl.col("v") > 3}
    ),
    "a filter is removed": change({"filter": pl.col("v") > 2}, {}, rebuilt=False),
    "another flag": change({}, {"changes": "undone"}),
    "another time of change": change({}, {"known_at_field": "seen"}),
    "other keys": change({}, {}, keys=("k2",)),
    "more keys": change({}, {}, keys=("key", "k2")),
    "int to float": change({}, {"schema": IMAGES | {"v": pl.Float64}}),
    "int8 to int64": change({"schema": IMAGES | {"v": pl.Int8}}, {}),
    "float to int": change({"schema": IMAGES | {"v": pl.Float64}}, {}, rebuilt=False),
    "fewer columns": change({"select": ("key", "k2", "v", "f")}, {"select": ("key", "k2", "v")}),
    "more columns": change({"select": ("key", "k2", "v")}, {"select": ("key", "k2", "v", "f")}),
}


QUICK = {"a filter is loosened", "a filter is tightened", "another flag", "int8 to int64"}


@pytest.mark.parametrize(
    "archive", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["archive", "no archive"]
)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name)
        for name in CHANGES
    ],
)
def test_a_change_over_corrections_is_rebuilt_or_incomplete(shop, name, archive):
    first, second, keys, rebuilt = CHANGES[name]
    old, new = view_of(shop, **first), view_of(shop, keys=keys, **second)
    asked = {"key": "a", "k2": 1}
    asked = {key: asked[key] for key in keys}
    shop.put(*(image(*given) for given in (("x", 1, 1, 2), ("y", 3, 3, 4), ("z", 4, 5, 5))))
    shop.run(old)
    shop.put(
        image("x", 1, 1, 6, gone=True),
        image("x", 1, 4, 6),
        image("z", 4, 5, 7, gone=True),
    )
    shop.run(old)
    if not archive:
        shutil.rmtree(shop.folder / "home" / "archive")
    whole = rebuilt and archive
    steps = [
        [],
        [
            image("y", 3, 3, 11, gone=True),
            image("y", 3, 8, 11),
            image("z", 4, 2, 12),
            image("w", 13, 7, 14, k2=2),
        ],
        [
            image("x", 1, 4, 15, gone=True),
            image("w", 13, 1, 18, k2=2),
            image("y", 3, 8, 18, gone=True),
        ],
    ]
    for rows in steps:
        shop.put(*rows)
        shop.run(new)
        if whole:
            assert served(shop, new, asked) == (trained(shop, new, asked), False)
        else:
            assert served(shop, new, asked) == (dict.fromkeys(new.feature_names), True)
    if whole:
        shop.expect(new, asked)
    shop.put(image("last", 3800, 5, 3801))
    shop.run(new, passed="2h")
    assert served(shop, new, asked) == (trained(shop, new, asked), False)


def test_a_stream_takes_back_what_its_history_says(shop):
    past = [("a", 1, 5, 2), ("b", 1, 1, 2), ("b", 1, 1, 3, True), ("c", 1, 2, 2), ("c", 1, 3, 4)]
    past += [("d", 500, 4, 2), ("e", 500, 8, 2)]  # of the future
    said = [image(*given[:4], gone=given[4:] == (True,)) for given in past]
    columns = ("id", "v", "at", "known", "before")
    table = pl.DataFrame(
        [{**{name: row[name] for name in columns}, "key": "a", "k2": 1, "f": 1.0} for row in said],
        schema={name: SCHEMA[name] for name in (*columns, "key", "k2", "f")},
    )
    view = view_of(shop, hw.sum("v"), history=table)
    (shop.folder / "visits.jsonl").touch()
    shop.run(view)
    shop.expect(view, sum_v_1h=8)
    shop.put(
        *said,
        image("a", 1, 7, 20),
        image("c", 1, 3, 20, gone=True),
        image("b", 1, 1, 2.5),
        image("d", 500, 4, 20, gone=True),
    )
    shop.run(view)
    shop.expect(view, sum_v_1h=7)
    shop.run(view, passed="10m")
    shop.expect(view, sum_v_1h=15)


def test_each_image_is_explained(shop):
    view = view_of(shop, hw.sum("v"))
    shop.put(*(image(name, 10, v, 10) for name, v in zip("abcd", (5, 1, 2, 4), strict=True)))
    shop.run(view)
    shop.put(
        image("a", 10, 7, 20),
        image("b", 10, None, 20, gone=True),
        image("c", 10, 2, 20, key="b"),
    )
    shop.run(view)
    shop.put(image("a", 10, 6, 15))
    shop.run(view)
    how = {"store": shop.url, "data_dir": shop.folder / "home"}
    (name,) = view.feature_names
    found = hw.operations.explain(shop.last, name, {"key": "a"}, **how)
    assert (found.online, found.offline) == (11, 11)
    assert {
        row["v"]: row["why"].split(":")[0].split(",")[0] for row in found.events.to_dicts()
    } == {
        4: "it counts",
        7: "it counts",
        5: "corrected",
        2: "corrected",
        1: "deleted",
        6: "corrected",
        None: "corrected",
    }
    assert hw.operations.explain(shop.last, name, {"key": "b"}, **how).online == 2
