"""Training sets that Spark writes: the rows of `dataset`, and a manifest that makes them again."""

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.errors import DataError, UsageError
from tests.engine.spark import events as day

pytestmark = [
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]
EVENTS = day.events(500)
ROWS = day.requests(90).with_columns(number=pl.int_range(90), y=pl.when(pl.int_range(90) % 7 != 0).then(pl.int_range(90) % 2))
UNTIL = day.NOON.replace(hour=23, minute=30)
SAME = ["rows", "model", "feature_service", "labels", "views", "level", "until", "left_out", "not_in_training"]


def model_over(history, rows, *, features=None, label="y", **options):
    view = day.view(day.source(history, known_at_field="known"), features=features or [hw.count(), hw.sum("real"), hw.last("word")])
    table = {"table": rows, "timestamp_field": "timestamp", "label": label, "known_after": "1h"}
    return hw.Model("m", task="binary", features=hw.FeatureService("service", [view]), labels=hw.Labels("y_of", **table), **options)


@pytest.fixture
def model(session):
    """A model over tables of Spark."""
    session.createDataFrame(EVENTS.to_arrow()).createOrReplaceTempView("events_of_m")
    session.createDataFrame(ROWS.to_arrow()).repartition(2).createOrReplaceTempView("rows_of_m")
    return model_over(hw.spark_table("events_of_m", session=session), hw.spark_table("rows_of_m", session=session))


def test_the_rows_and_the_manifest_are_those_of_one_machine(engine, model, tmp_path):
    """A level, outcomes that are not known yet, and rows without an outcome; Spark's rows are made again, and nothing but those."""
    mine = {"level": hw.batch("1h"), "as_of": UNTIL}
    output, resources = hw.spark_output(f"parquet.`{tmp_path}/training`"), hw.Resources(engine=engine)
    made = hw.dataset(model, output, manifest=tmp_path / "m.manifest.json", resources=resources, **mine)
    local = hw.dataset(model, tmp_path / "local.parquet", resources=hw.Resources(engine="local", cache=False), **mine)
    rows = made.table.scan().collect()
    assert rows.columns == local.rows.frame.columns
    assert_frame_equal(rows.sort("number"), local.rows.frame.sort("number"), check_exact=True)
    assert {name: made.manifest[name] for name in SAME} == {name: local.manifest[name] for name in SAME}
    assert made.manifest["left_out"]["outcome not known by then"] > 0
    assert (made.manifest["engine"], local.manifest["engine"]) == ("spark", "local")
    assert made.manifest["tables"] == local.manifest["tables"]
    assert json.loads((tmp_path / "m.manifest.json").read_text()) == made.manifest

    again = hw.reproduce(
        model, made.manifest_path, hw.spark_output(f"parquet.`{tmp_path}/again`"), level=hw.Level(hw.batch("1h")), resources=resources
    )
    assert_frame_equal(again.table.scan().collect().sort("number"), rows.sort("number"), check_exact=True)
    changed = {**made.manifest, "digest": "spark-xxhash64:0"}
    (tmp_path / "changed.manifest.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match="rows came out that differ"):
        hw.reproduce(
            model,
            tmp_path / "changed.manifest.json",
            hw.spark_output(f"parquet.`{tmp_path}/other`"),
            level=hw.Level(hw.batch("1h")),
            resources=resources,
        )
    assert not (tmp_path / "other").exists()
    with pytest.raises(UsageError, match=r"Spark wrote this training set, and the output is .*again\.parquet; give hw\.spark_output"):
        hw.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    with pytest.raises(UsageError, match="this process wrote this training set, and the output is the Spark table"):
        hw.reproduce(model, local.manifest_path, output, resources=resources)


def test_the_hash_of_rows_tells_them_apart(session):
    """Whatever their order; and where two rows are alike, or a null is in another column."""
    table = pl.DataFrame({"a": [1, 1, None], "b": [None, None, 2]})
    other = [table[[0, 0, 0]], table.select(a="b", b="a"), table.with_columns(a=pl.lit(None, pl.Int64)), table[:1]]
    hashed = [hw.spark_table(session.createDataFrame(rows.to_arrow()), name="rows").rows() for rows in [table, table.reverse(), *other]]
    assert hashed[0] == hashed[1]
    assert all(rows != hashed[0] for rows in hashed[2:])


@pytest.mark.usefixtures("_delta")
def test_rows_are_added_to_a_delta_table(request, engine, session, tmp_path):
    """Spark reads the version of the manifest again; Sail knows no versions, so the table has changed."""
    deltalake = pytest.importorskip("deltalake", reason="needs deltalake")
    deltalake.write_deltalake(tmp_path / "lake", EVENTS.to_arrow())
    table, resources = f"delta.`{tmp_path / 'lake'}`", hw.Resources(engine=engine)
    model, one, two = model_over(hw.spark_table(table, session=session), ROWS), f"parquet.`{tmp_path}/one`", f"parquet.`{tmp_path}/two`"
    made = hw.dataset(model, hw.spark_output(one), as_of=UNTIL, manifest=tmp_path / "one.manifest.json", resources=resources)
    deltalake.write_deltalake(tmp_path / "lake", EVENTS.head(50).to_arrow(), mode="append")
    if request.node.callspec.params["url"] == "cluster":
        assert made.manifest["tables"]["source events"] == {"table": table, "version": 0}
        assert hw.spark_table(table, session=session).contents() == {"table": table, "version": 1}
        again = hw.reproduce(model, made.manifest_path, hw.spark_output(two), resources=resources)
        assert_frame_equal(again.table.scan().collect().sort("number"), made.table.scan().collect().sort("number"), check_exact=True)
    else:
        with pytest.raises(DataError, match="the rows of source events are not what they were"):
            hw.reproduce(model, made.manifest_path, hw.spark_output(two), resources=resources)


def test_what_spark_does_not_write(engine, tmp_path):
    output, resources = hw.spark_output("shop.training"), hw.Resources(engine=engine)
    model, manifest = model_over(EVENTS, ROWS), tmp_path / "m.manifest.json"
    level = hw.Level(hw.batch("1h"), predictions=hw.precomputed(hw.batch("1d"), keys=["key"]))
    with pytest.raises(UsageError, match="give manifest=, a file of this machine"):
        hw.dataset(model, output, resources=resources)
    with pytest.raises(UsageError, match="is written by Spark; give resources="):
        hw.dataset(model, output, manifest=manifest, resources=hw.Resources(engine="local"))
    with pytest.raises(UsageError, match="a serving log is read in this process"):
        hw.dataset(model, output, manifest=manifest, from_log=tmp_path, resources=resources)
    with pytest.raises(UsageError, match="manifest= is for rows that Spark writes"):
        hw.dataset(model, tmp_path / "rows.parquet", manifest=manifest)
    with pytest.raises(UsageError, match="the level has precomputed predictions"):
        hw.dataset(model, output, level=level, manifest=manifest, resources=resources)
    with pytest.raises(DataError, match=r"there is no schema shop"):
        hw.dataset(model, output, manifest=manifest, resources=resources)
    assert not manifest.exists()
