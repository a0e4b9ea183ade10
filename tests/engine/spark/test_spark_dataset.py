"""Training sets that Spark writes: the rows of `dataset`, and a manifest that makes them again."""

import json
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark
from headwater.errors import DataError, UsageError
from tests.engine.spark import events as day

pytestmark = [
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]
EVENTS = day.events(500)
ROWS = day.requests(90).with_columns(
    number=pl.int_range(90), y=pl.when(pl.int_range(90) % 7 != 0).then(pl.int_range(90) % 2)
)
UNTIL = day.NOON.replace(hour=23, minute=30)
SAME = [
    "rows",
    "model",
    "feature_service",
    "labels",
    "views",
    "level",
    "until",
    "left_out",
    "not_in_training",
]


def model_over(history, rows, *, features=None, label="y", task="binary", known=None, **options):
    view = day.view(
        day.source(history, known_at_field="known"),
        features=features or [hw.count(), hw.sum("real"), hw.last("word")],
    )
    known = (
        {}
        if label != "y"
        else {"known_after": "1h"}
        if known is None
        else {"known_at_field": known}
    )
    labels = hw.Labels("y_of", table=rows, timestamp_field="timestamp", label=label, **known)
    return hw.Model(
        "m", task=task, features=hw.FeatureService("service", [view]), labels=labels, **options
    )


@pytest.fixture
def model(session):
    """A model over tables of Spark."""
    session.createDataFrame(EVENTS.to_arrow()).createOrReplaceTempView("events_of_m")
    session.createDataFrame(ROWS.to_arrow()).repartition(2).createOrReplaceTempView("rows_of_m")
    return model_over(
        headwater_spark.spark_table("events_of_m", session=session),
        headwater_spark.spark_table("rows_of_m", session=session),
    )


def test_the_rows_and_the_manifest_are_those_of_one_machine(engine, model, tmp_path):
    """A level, outcomes that are not known yet, and rows without an outcome; Spark's rows are made
    again, and nothing but those.
    """
    mine = {"level": hw.batch("1h"), "as_of": UNTIL}
    output, resources = (
        headwater_spark.spark_output(f"parquet.`{tmp_path}/training`"),
        hw.Resources(engine=engine),
    )
    made = hw.dataset(
        model, output, manifest=tmp_path / "m.manifest.json", resources=resources, **mine
    )
    local = hw.dataset(
        model,
        tmp_path / "local.parquet",
        resources=hw.Resources(engine="local", cache=False),
        **mine,
    )
    rows = made.table.scan().collect()
    assert rows.columns == local.rows.frame.columns
    assert_frame_equal(rows.sort("number"), local.rows.frame.sort("number"), check_exact=True)
    assert {name: made.manifest[name] for name in SAME} == {
        name: local.manifest[name] for name in SAME
    }
    assert made.manifest["left_out"]["outcome not known by then"] > 0
    assert (made.manifest["engine"], local.manifest["engine"]) == ("spark", "local")
    assert made.manifest["tables"] == local.manifest["tables"]
    assert json.loads((tmp_path / "m.manifest.json").read_text()) == made.manifest

    again = hw.operations.reproduce(
        model,
        made.manifest_path,
        headwater_spark.spark_output(f"parquet.`{tmp_path}/again`"),
        level=hw.Level(hw.batch("1h")),
        resources=resources,
    )
    assert_frame_equal(
        again.table.scan().collect().sort("number"), rows.sort("number"), check_exact=True
    )
    changed = {**made.manifest, "digest": "spark-xxhash64:0"}
    (tmp_path / "changed.manifest.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match="rows came out that differ"):
        hw.operations.reproduce(
            model,
            tmp_path / "changed.manifest.json",
            headwater_spark.spark_output(f"parquet.`{tmp_path}/other`"),
            level=hw.Level(hw.batch("1h")),
            resources=resources,
        )
    assert not (tmp_path / "other").exists()
    with pytest.raises(
        UsageError,
        match=r"Spark wrote this training set, and the output is .*again\.parquet; give headwater_spark\.spark_output",
    ):
        hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    with pytest.raises(
        UsageError, match="this process wrote this training set, and the output is the Spark table"
    ):
        hw.operations.reproduce(model, local.manifest_path, output, resources=resources)


def assert_same_rows(model, engine, folder, *, level=None):
    """Assert that Spark writes the rows of one machine, and says as many left out."""
    said = {"as_of": UNTIL, "level": level}
    output = headwater_spark.spark_output(f"parquet.`{folder}/training`", mode="overwrite")
    made = hw.dataset(
        model,
        output,
        manifest=folder / "m.manifest.json",
        resources=hw.Resources(engine=engine, memory="1MB"),
        **said,
    )
    local = hw.dataset(
        model, folder / "local.parquet", resources=hw.Resources(engine="local", cache=False), **said
    )
    rows = made.table.scan().collect()
    assert_frame_equal(rows.sort("number"), local.rows.frame.sort("number"), check_exact=True)
    # on Spark rows of unknown outcome bound the read of events too
    ranking = model.ranking is not None
    for name in SAME:
        mine, theirs = made.manifest[name], local.manifest[name]
        if name == "left_out" and ranking:
            mine, theirs = (
                {reason: n for reason, n in of.items() if not reason.startswith("source")}
                for of in (mine, theirs)
            )
        assert mine == theirs, name
    return made


def shown(number=120):
    """Lists of candidates: every seventh row again, later, known earlier, and in another column
    different.
    """
    rows = day.requests(number).with_columns(
        request=pl.int_range(number) // 12,
        item=pl.int_range(number) % 12,
        number=pl.int_range(number),
    )
    first = pl.col("timestamp").first().over("request")
    rows = rows.with_columns(
        timestamp=first,
        y=(pl.col("item") % 5 == 0).cast(pl.Int64),
        known=first + timedelta(minutes=90),
    )
    again = rows.gather_every(7).with_columns(
        timestamp=pl.col("timestamp") + timedelta(hours=1),
        known="timestamp",
        number=pl.col("number") + 1000,
    )
    return pl.concat([again, rows])


@pytest.mark.parametrize("label", ["a column", "an outcome"])
def test_a_ranking_has_each_item_of_a_list_once(label, engine, session, tmp_path):
    def model(rows):
        table = headwater_spark.spark_table(
            session.createDataFrame(rows.to_arrow()).repartition(3), name="shown"
        )
        outcome = hw.outcome(day.source(EVENTS), hw.count(), keys=["key"], within="1h")
        said = {"known": "known"} if label == "a column" else {"label": outcome}
        return model_over(EVENTS, table, task=hw.Ranking("request", "item"), **said)

    rows = shown()
    if label == "an outcome":  # which differs where a row comes again
        with pytest.raises(
            DataError, match="pairs of 'request' and 'item' have rows with different labels"
        ):
            assert_same_rows(model(rows), engine, tmp_path)
        rows = rows.filter(pl.col("number") < 1000)
    made = assert_same_rows(model(rows), engine, tmp_path)
    assert made.manifest["left_out"].get("labels: item repeated in its request", 0) == (
        18 if label == "a column" else 0
    )


def test_requests_of_a_serving_log_with_outcomes_from_events(engine, session, tmp_path):
    """Parts of the log as they lie in an object store: columns of features that were served, and
    other columns in a later part.
    """
    served = ROWS.rename({"timestamp": "headwater_at"}).with_columns(
        view__count_1h=pl.lit(7), headwater_model=pl.lit("m")
    )
    for number, rows in enumerate(
        (served.head(50), served.tail(40).with_columns(later=pl.lit("x")))
    ):
        folder = tmp_path / "served" / f"headwater_date=2024-05-0{number + 1}" / "model=m"
        folder.mkdir(parents=True)
        rows.write_parquet(folder / f"{number}-w-000001.parquet")
    folders = sorted(str(folder) for folder in (tmp_path / "served").glob("*/model=m"))
    frame = session.read.option("mergeSchema", "true").parquet(*folders)
    source = day.source(EVENTS, known_at_field="known")
    outcome = hw.outcome(source, hw.count(), keys=["key"], within="1h")

    def model(table):
        said = {
            "timestamp_field": "headwater_at",
            "label": outcome,
            "select": ["key", "number", "headwater_at"],
        }
        service = hw.FeatureService(
            "service", [day.view(source, features=[hw.count(), hw.sum("real")])]
        )
        return hw.Model(
            "m", task="regression", features=service, labels=hw.Labels("y_of", table=table, **said)
        )

    resources, file = hw.Resources(engine=engine), tmp_path / "m.manifest.json"
    made = hw.dataset(
        model(headwater_spark.spark_table(frame, name="log")),
        headwater_spark.spark_output(),
        as_of=UNTIL,
        manifest=file,
        resources=resources,
    )
    local = hw.dataset(
        model(served),
        tmp_path / "local.parquet",
        as_of=UNTIL,
        resources=hw.Resources(engine="local", cache=False),
    )
    assert_frame_equal(
        made.table.scan().collect().sort("number"),
        local.rows.frame.sort("number"),
        check_exact=True,
    )


@pytest.mark.parametrize("otherwise", ["default", "on_request"])
def test_precomputed_predictions_have_the_rows_of_the_job(otherwise, engine, session, tmp_path):
    def model(rows):
        table = headwater_spark.spark_table(
            session.createDataFrame(rows.to_arrow()).repartition(3), name="asked"
        )
        job = hw.precomputed(hw.batch("3h", delay="10m"), keys=["key"], otherwise=otherwise)
        return model_over(EVENTS, table, predictions=job)

    made = assert_same_rows(model(ROWS), engine, tmp_path)
    assert ("no prediction was precomputed" in made.manifest["left_out"]) == (
        otherwise == "default"
    )
    assert made.manifest["rows"] > 0
    if otherwise == "default":
        with pytest.raises(
            DataError, match=r"no event of the keys .* was known when scores would have been made"
        ):
            assert_same_rows(model(ROWS.with_columns(key=pl.lit(99))), engine, tmp_path)


def test_the_hash_of_rows_tells_them_apart(session):
    """In any order; and where two rows are alike, or a null is in another column."""
    table = pl.DataFrame({"a": [1, 1, None], "b": [None, None, 2]})
    other = [
        table[[0, 0, 0]],
        table.select(a="b", b="a"),
        table.with_columns(a=pl.lit(None, pl.Int64)),
        table[:1],
    ]
    hashed = [
        headwater_spark.spark_table(session.createDataFrame(rows.to_arrow()), name="rows").rows()
        for rows in [table, table.reverse(), *other]
    ]
    assert hashed[0] == hashed[1]
    assert all(rows != hashed[0] for rows in hashed[2:])


@pytest.mark.usefixtures("_delta")
def test_rows_are_added_to_a_delta_table(request, engine, session, tmp_path):
    """Spark reads the version of the manifest again; Sail knows no versions, so the table has
    changed.
    """
    deltalake = pytest.importorskip("deltalake", reason="needs deltalake")
    deltalake.write_deltalake(tmp_path / "lake", EVENTS.to_arrow())
    table, resources = f"delta.`{tmp_path / 'lake'}`", hw.Resources(engine=engine)
    model, one, two = (
        model_over(headwater_spark.spark_table(table, session=session), ROWS),
        f"parquet.`{tmp_path}/one`",
        f"parquet.`{tmp_path}/two`",
    )
    made = hw.dataset(
        model,
        headwater_spark.spark_output(one),
        as_of=UNTIL,
        manifest=tmp_path / "one.manifest.json",
        resources=resources,
    )
    deltalake.write_deltalake(tmp_path / "lake", EVENTS.head(50).to_arrow(), mode="append")
    if request.node.callspec.params["url"] == "cluster":
        assert made.manifest["tables"]["source events"] == {"table": table, "version": 0}
        assert headwater_spark.spark_table(table, session=session).contents() == {
            "table": table,
            "version": 1,
        }
        again = hw.operations.reproduce(
            model, made.manifest_path, headwater_spark.spark_output(two), resources=resources
        )
        assert_frame_equal(
            again.table.scan().collect().sort("number"),
            made.table.scan().collect().sort("number"),
            check_exact=True,
        )
    else:
        with pytest.raises(DataError, match="the rows of source events are not what they were"):
            hw.operations.reproduce(
                model, made.manifest_path, headwater_spark.spark_output(two), resources=resources
            )


def test_what_spark_does_not_write(engine, tmp_path):
    output, resources = (
        headwater_spark.spark_output("nowhere.training"),
        hw.Resources(engine=engine),
    )
    model, manifest = model_over(EVENTS, ROWS), tmp_path / "m.manifest.json"
    with pytest.raises(UsageError, match="give manifest=, a file of this machine"):
        hw.dataset(model, output, resources=resources)
    with pytest.raises(UsageError, match="is written by Spark; give resources="):
        hw.dataset(model, output, manifest=manifest, resources=hw.Resources(engine="local"))
    with pytest.raises(UsageError, match="a serving log is read in this process"):
        hw.dataset(model, output, manifest=manifest, from_log=tmp_path, resources=resources)
    with pytest.raises(UsageError, match="manifest= is for rows that Spark writes"):
        hw.dataset(model, tmp_path / "rows.parquet", manifest=manifest)
    items = day.view(day.source(EVENTS), features=[hw.collect_set("name", max_size=9)], keys=[])
    drawn = hw.Ranking(
        "day", "name", [items["collect_set_name_1h"]], hw.evaluation.NegativeSampling(2)
    )
    with pytest.raises(
        UsageError,
        match="'m' draws negatives, which is done in this process and not on Spark; write a file",
    ):
        hw.dataset(
            model_over(EVENTS, ROWS, task=drawn), output, manifest=manifest, resources=resources
        )
    level = hw.Level(
        hw.measured(["0s", "1h"], cuts=["0s", "0s"]),
        predictions=hw.precomputed(hw.batch("1d"), keys=["key"]),
    )
    with pytest.raises(
        UsageError,
        match="the level has precomputed predictions, and view 'view' is at measured ages",
    ):
        hw.dataset(model, output, level=level, manifest=manifest, resources=resources)
    with pytest.raises(DataError, match=r"no schema nowhere"):
        hw.dataset(model, output, manifest=manifest, resources=resources)
    assert not manifest.exists()
