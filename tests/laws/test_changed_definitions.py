"""A definition is changed under a running stream: it is served right from the next run on, or
refused with a remedy; never silently wrong.

Right means the values that training computes under the new definition, of all records that the
stream had and keeps. Each test changes one thing, most of them there and back, and parity judges
every step too.
"""

import json
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterError
from headwater.testing import clock
from tests.laws.streams import TIME, project

SCHEMA = {
    "at": TIME,
    "key": pl.String,
    "k2": pl.Int64,
    "v": pl.Int64,
    "f": pl.Float64,
    "id": pl.String,
}
SCHEMA |= {"before": pl.Boolean, "known": TIME, "at2": TIME}
AGO = timedelta(seconds=5)


class Shop:
    """A stream of lines, a store, and a clock; views that come and go."""

    def __init__(self, folder, now):
        self.folder, self.now, self.number = folder, now, 0
        self.url, self.last = f"lmdb:{folder}/store?size=100MB", ()

    # ---- definitions

    def source(
        self,
        name="visits",
        *,
        select=("key", "k2", "v", "f"),
        schema=SCHEMA,
        file="visits*.jsonl",
        **more,
    ):
        stream = hw.appended(f"{self.folder}/{file}", schema=schema)
        return hw.Source(
            name, stream=stream, select=list(select), **({"timestamp_field": "at"} | more)
        )

    def view(
        self,
        *features,
        source=None,
        name="user",
        keys=("key",),
        windows=("1d",),
        freshness=None,
        **more,
    ):
        given = {
            "source": source or self.source(),
            "keys": list(keys),
            "features": list(features) or [hw.count()],
            "windows": list(windows),
        }
        return hw.FeatureView(name, **given, freshness=freshness or hw.streaming("2s"), **more)

    # ---- what happens

    def put(self, *rows, file="visits.jsonl"):
        """Append lines: each a visit of five seconds ago of key "a" with the value 1, except for
        the given fields.
        """
        with (self.folder / file).open("a", encoding="utf-8") as out:
            for row in rows:
                self.number += 1
                at = self.now.time() - AGO + timedelta(microseconds=self.number)
                usual = {
                    "at": at,
                    "key": "a",
                    "k2": 1,
                    "v": 1,
                    "f": 1.0,
                    "id": f"n{self.number}",
                    "before": False,
                    "known": at,
                }
                shown = {
                    name: value.isoformat() if hasattr(value, "isoformat") else value
                    for name, value in (usual | row).items()
                }
                out.write(json.dumps(shown) + "\n")

    def ago(self, **duration):
        return self.now.time() - timedelta(**duration)

    def run(self, *views, passed="1s", keep=(), **limits):
        """Time passes, and `headwater ingest --once` runs with these definitions."""
        self.now.advance(passed)
        given = hw.operations.IngestLimits(**{"max_clock_jump": "36000d"} | limits)
        self.last = replace(project(views), views=list(keep))
        hw.ingest(
            self.last,
            self.url,
            data_dir=self.folder / "home",
            limits=given,
            once=True,
            options=hw.operations.IngestOptions(allow_unapplied=True),
        )

    # ---- serving

    def read(self, view, asked=None):
        rows = [{"key": "a"} if asked is None else asked]
        return hw.get_online_features(view, rows, store=self.url, details=True).row(0, named=True)

    def expect(self, view, asked=None, **values):
        """Exactly these values, none of them incomplete; and parity finds them right."""
        row = self.read(view, asked)
        assert {name: row[name_of(view, name)] for name in values} == values
        assert not any(value for name, value in row.items() if name.endswith("__incomplete"))
        for found in hw.parity(self.last, store=self.url, data_dir=self.folder / "home"):
            assert not found.mismatches, (found, found.mismatches[0])

    def expect_said(self, view, asked=None, **values):
        """These values, or null and said to be incomplete, as what was refused or kept elsewhere
        cannot be counted.
        """
        row = self.read(view, asked)
        for name, value in values.items():
            full = name_of(view, name)
            assert row[full] == value or (row[f"{full}__incomplete"] and row[full] is None), (
                full,
                row,
            )


def name_of(view, name):
    return next(full for full in view.feature_names if full.split("__", 1)[1] == name)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    with clock.at("2023-11-14T22:13:20Z") as now:
        yield Shop(tmp_path, now)


# ---------------------------------------------------------------- features and windows


def test_a_window_longer_than_the_archive_is_said_to_be_incomplete(shop):
    short, long = shop.view(windows=("1d",)), shop.view(windows=("30d",))
    for _ in range(5):
        shop.put({})
        shop.run(short, passed="1d", archive="2d")
    shop.run(long, archive="2d")
    shop.expect_said(long, count_30d=5)
    lifetime = shop.view(windows=(hw.window("lifetime"),), name="ever")
    shop.run(long, lifetime, archive="2d")
    shop.expect_said(lifetime, count_lifetime=5)


def test_parameters_of_an_aggregation_under_one_name(shop):
    shop.put(*({"v": i} for i in range(5)))
    for feature, value in (
        (hw.last_n("v", k=2, name="x"), [3, 4]),
        (hw.last_n("v", k=4, name="x"), [1, 2, 3, 4]),
        (hw.first_n("v", k=2, name="x"), [0, 1]),
    ):
        view = shop.view(feature)
        shop.run(view)
        shop.expect(view, x_1d=value)
    by = shop.view(hw.sum("v", name="x").by("k2", max_keys=2))
    shop.run(by)
    shop.expect(by, x_1d={1: 10})
    shop.put({"v": 100})
    plain = shop.view(hw.sum("v", name="x"))
    shop.run(plain)
    shop.expect(plain, x_1d=110)


# ---------------------------------------------------------------- which records count


def test_a_filter_is_turned_round_removed_and_put_back(shop):
    above, below, none = (
        shop.view(hw.count(), hw.sum("v"), source=shop.source(filter=rule))
        for rule in (pl.col("v") > 1, pl.col("v") <= 1, None)
    )
    shop.put({"v": 1}, {"v": 2}, {"v": 3})
    shop.run(above)
    shop.expect(above, count_1d=2)
    shop.put({"v": 0}, {"v": 9})
    shop.run(below)
    shop.expect(below, count_1d=2, sum_v_1d=1)
    shop.put({"v": 4})
    shop.run(none)
    shop.expect(none, count_1d=6, sum_v_1d=19)
    shop.put({"v": 1})
    shop.run(above)
    shop.expect(above, count_1d=4, sum_v_1d=18)


def test_ids_are_declared_are_another_column_and_are_not_any_more(shop):
    by_id, by_k2, without = (
        shop.view(source=shop.source(**more))
        for more in ({"id_field": "id"}, {"id_field": "k2"}, {})
    )
    shop.put({"id": "x", "k2": 1}, {"id": "y", "k2": 1}, {"id": "x", "k2": 2})
    shop.run(by_id)
    shop.expect(by_id, count_1d=2)
    shop.run(by_k2)
    shop.expect(by_k2, count_1d=2)
    shop.put({"id": "q", "k2": 2}, {"id": "q", "k2": 3})
    shop.run(by_k2)
    shop.expect(by_k2, count_1d=3)
    shop.run(by_id)
    shop.expect(by_id, count_1d=3)
    shop.put({"id": "q"})
    shop.run(without)
    shop.expect_said(without, count_1d=6)


def test_held_records_are_judged_by_the_definition_of_their_release(shop):
    any_view, large = shop.view(), shop.view(source=shop.source(filter=pl.col("v") > 2))
    later = shop.now.time() + timedelta(hours=2)
    shop.put({"at": later, "v": 1}, {"at": later, "v": 5})
    shop.run(any_view)
    shop.run(large)
    shop.expect(large, count_1d=0)
    shop.run(large, passed="3h")
    shop.expect(large, count_1d=1)
    shop.run(any_view)
    shop.expect(any_view, count_1d=2)


# ---------------------------------------------------------------- columns, types and keys


def test_the_type_of_a_key(shop):
    number, text = shop.view(source=shop.source(schema=SCHEMA | {"key": pl.Int64})), shop.view()
    shop.put({"key": 7}, {"key": 7})
    shop.run(number)
    shop.expect(number, {"key": 7}, count_1d=2)
    shop.put({"key": "7"})
    shop.run(text)
    shop.expect_said(text, {"key": "7"}, count_1d=1)
    shop.put({"key": 7})
    shop.run(number)
    shop.expect_said(number, {"key": 7}, count_1d=3)


def test_the_type_of_a_column(shop):
    whole, real, text = (SCHEMA | {"v": kind} for kind in (pl.Int64, pl.Float64, pl.String))
    shop.put({"v": 2})
    first = shop.view(hw.sum("v"), hw.last("v"), source=shop.source(schema=whole))
    shop.run(first)
    shop.put({"v": 2.5}, {"v": "7"}, {"v": 3})
    shop.run(first)
    shop.expect(first, sum_v_1d=5, last_v_1d=3)
    second = shop.view(hw.sum("v"), hw.last("v"), source=shop.source(schema=real))
    shop.run(second)
    shop.expect(second, sum_v_1d=7.5, last_v_1d=3.0)
    shop.put({"v": "x"})
    third = shop.view(hw.last("v"), source=shop.source(schema=text))
    shop.run(third)
    shop.expect_said(third, last_v_1d="x")
    shop.run(first)
    shop.expect_said(first, sum_v_1d=5)


# ---------------------------------------------------------------- times


def test_the_column_of_the_event_time(shop):
    select = ["key", "v", "at", "at2"]
    one, two = (
        shop.view(hw.count(), hw.sum("v"), source=shop.source(select=select, timestamp_field=field))
        for field in ("at", "at2")
    )
    old, new = shop.ago(days=3), shop.ago(seconds=7)
    shop.put({"at2": new}, {"at2": old}, {"at": old, "at2": new})
    shop.run(one)
    shop.expect(one, count_1d=2)
    shop.put({"at2": new})
    shop.run(two)
    shop.expect(two, count_1d=3, sum_v_1d=3)
    shop.put({"at2": old})
    shop.run(one)
    shop.expect(one, count_1d=4, sum_v_1d=4)


def test_known_after(shop):
    """Online an event is known at its commit; the end of an interval is known at `until` and the
    delay.
    """

    def of(delay):
        source = shop.source(select=["key", "v", "at2"], known_after=delay)
        return shop.view(hw.count(), hw.open_count(until="at2"), source=source)

    shop.put({"at": shop.ago(minutes=10), "at2": shop.ago(minutes=1)})
    shop.run(of("0s"))
    shop.expect(of("0s"), count_1d=1, open_count_1d=0)
    shop.put({"at2": None})
    shop.run(of("1h"))
    shop.expect(of("1h"), count_1d=2, open_count_1d=2)


# ---------------------------------------------------------------- names, versions and streams


def test_two_sources_swap_their_streams(shop):
    def views(first, second):
        pairs = (("first", first), ("second", second))
        return [
            shop.view(source=shop.source(name, file=f"{file}*.jsonl"), name=f"of_{name}")
            for name, file in pairs
        ]

    shop.put(*[{}] * 10, file="xs.jsonl")
    shop.put(*[{}] * 4, file="ys.jsonl")
    straight, crossed = views("xs", "ys"), views("ys", "xs")
    shop.run(*straight)
    shop.expect(straight[0], count_1d=10)
    shop.put({}, file="xs.jsonl")
    shop.run(*crossed)
    shop.expect_said(crossed[0], count_1d=4)
    shop.expect_said(crossed[1], count_1d=11)
    shop.put({}, file="xs.jsonl")
    shop.run(*straight)
    shop.expect_said(straight[0], count_1d=12)
    shop.expect_said(straight[1], count_1d=4)


def test_a_view_that_was_left_out_of_a_shared_record(shop):
    count, total, other = (
        shop.view(),
        shop.view(hw.sum("v"), name="spent"),
        shop.view(hw.max("v"), name="shop", keys=("k2",)),
    )
    shop.put({"v": 2})
    shop.run(count, total)
    shop.put({"v": 3})
    shop.run(count)
    shop.put({"v": 5, "key": "b"})
    shop.run(count)
    shop.put({"v": 7})
    shop.run(count, total, other)
    shop.expect(total, sum_v_1d=12)
    shop.expect(total, {"key": "b"}, sum_v_1d=5)
    shop.expect(other, {"k2": 1}, max_v_1d=7)


def test_from_batch_to_streaming_and_back(shop):
    begun = shop.now.time()
    rows = [
        {"at": begun - timedelta(days=2) + timedelta(hours=i), "key": "a", "v": 1, "id": f"h{i}"}
        for i in range(20)
    ]
    pl.DataFrame(rows).write_parquet(shop.folder / "history.parquet")

    def of(freshness):
        table = hw.parquet(shop.folder / "history.parquet")
        return shop.view(
            hw.count(),
            hw.sum("v"),
            source=shop.source(select=["key", "v"], id_field="id", history=table),
            windows=("7d",),
            freshness=freshness,
        )

    batch, stream = of(hw.batch("1d")), of(hw.streaming("2s"))
    cut = begun.replace(hour=0, minute=0, second=0)
    shop.last = project([batch])
    hw.materialize(shop.last, store=shop.url)
    shop.expect(batch, count_7d=sum(row["at"] < cut for row in rows))
    shop.put(*({"id": row["id"], "at": row["at"]} for row in rows[10:]), {}, {})
    shop.run(stream)
    shop.expect(stream, count_7d=22, sum_v_7d=22)
    hw.materialize(project([batch]), store=shop.url)
    shop.expect(batch, count_7d=sum(row["at"] < cut for row in rows))


# ---------------------------------------------------------------- corrections


def test_features_and_filters_over_corrections(shop):
    def of(*features, **more):
        return shop.view(
            *features,
            source=shop.source(id_field="id", known_at_field="known", changes="before", **more),
        )

    first, second = of(hw.count(), hw.sum("v")), of(hw.sum("v"), hw.max("v"))
    large = of(hw.count(), hw.sum("v"), filter=pl.col("v") > 1)
    shop.put({"id": "x", "v": 1}, {"id": "y", "v": 2})
    shop.run(first)
    shop.put({"id": "x", "v": 10})
    shop.run(second)
    shop.expect(second, sum_v_1d=12, max_v_1d=10)
    shop.put({"id": "y", "v": 2, "before": True})
    shop.run(first)
    shop.expect(first, count_1d=1, sum_v_1d=10)
    shop.put({"id": "z", "v": 1}, {"id": "x", "v": 1})
    shop.run(large)
    shop.expect_said(large, count_1d=1)
    shop.run(first)
    shop.expect_said(first, count_1d=2, sum_v_1d=2)


# ---------------------------------------------------------------- what cannot be exact is refused, or said


def refused(shop, *views, **more):
    """Run, and return the error, which says what to do."""
    with pytest.raises(HeadwaterError) as error:
        shop.run(*views, **more)
    assert any(word in str(error.value) for word in ("--", "`headwater", "give", "accept")), (
        error.value
    )
    return str(error.value)


def test_a_file_that_was_replaced_is_refused(shop):
    view = shop.view()
    shop.put({}, {})
    shop.run(view)
    (shop.folder / "visits.jsonl").unlink()
    shop.put({})
    refused(shop, view)
    assert shop.read(view)["user__count_1d"] == 2
    shop.put({}, {}, {}, {})
    refused(shop, view)


def test_an_archive_that_lacks_files_is_found(shop):
    view, more = shop.view(), shop.view(hw.count(), hw.sum("v"))
    shop.put({}, {})
    shop.run(view)
    shutil.rmtree(shop.folder / "home" / "archive")
    shop.put({})
    shop.run(more)
    shop.expect_said(more, count_1d=3, sum_v_1d=3)


def test_a_clock_that_was_set_back_commits_nothing(shop):
    view = shop.view()
    shop.put({}, {})
    shop.run(view)
    shop.now.set(shop.ago(hours=1))
    shop.put({})
    assert "clock" in refused(shop, view, max_clock_jump="5m")
    shop.now.set(shop.ago(hours=-1))
    shop.run(view, max_clock_jump="5m")
    shop.expect(view, count_1d=3)
    with closing(hw.operations.open_store(shop.url, readonly=True)) as store:
        assert hw.get_online_features(view, [{"key": "a"}], store=store).row(0) == (3,)
