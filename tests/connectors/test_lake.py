"""Delta and Iceberg tables: the rows of a snapshot, read without the files and columns that are not
needed, and named in manifests.
"""

import json
import shutil
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.connectors.snapshots import one_version
from headwater.errors import ConnectError, DataError
from tests.connectors.lake_deletes import delete_file, deletion_vector, positions

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 4


def rows(day, count=40):
    at = [START + timedelta(days=day, minutes=30 * n) for n in range(count)]
    users = [n % 5 for n in range(count)]
    return pl.DataFrame(
        {
            "user": users,
            "at": at,
            "amount": [float(day * 100 + n) for n in range(count)],
            "note": ["x" * 40] * count,
        }
    )


EVERY = pl.concat([rows(day) for day in range(DAYS)])


class Delta:
    """A Delta table of a file a day."""

    def __init__(self, folder):
        pytest.importorskip("deltalake", reason="needs the extra delta")
        self.path = str(folder / "events")
        for day in range(DAYS):
            self.append(rows(day))

    def append(self, frame, **options):
        frame.write_delta(self.path, mode="append", **options)

    def table(self, version=None):
        return hw.delta(self.path, version=version)

    def delete(self, condition):
        from deltalake import DeltaTable

        DeltaTable(self.path).delete(condition)

    def rename(self):
        EVERY.rename({"amount": "price"}).write_delta(
            self.path, mode="overwrite", delta_write_options={"schema_mode": "overwrite"}
        )

    def recreate(self):
        shutil.rmtree(self.path)
        for day in range(DAYS):
            self.append(rows(day))

    def forget(self):
        """Keep the latest version alone."""
        from deltalake import DeltaTable

        table = DeltaTable(self.path)
        table.optimize.compact()
        table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)

    def files(self):
        return sorted(Path(self.path).glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)


class Iceberg:
    """An Iceberg table of a file a day, in a catalog of SQLite."""

    def __init__(self, folder):
        catalogs = pytest.importorskip("pyiceberg.catalog", reason="needs the extra iceberg")
        self.folder = folder
        self.properties = {
            "type": "sql",
            "uri": f"sqlite:///{folder}/catalog.db",
            "warehouse": f"file://{folder}/warehouse",
        }
        (folder / "warehouse").mkdir()
        self.catalog = catalogs.load_catalog("lake", **self.properties)
        self.catalog.create_namespace("shop")
        self.create()

    def create(self):
        self.iceberg = self.catalog.create_table(
            "shop.events", schema=rows(0).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        )
        for day in range(DAYS):
            self.append(rows(day))

    def append(self, frame):
        self.iceberg.append(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def table(self, version=None):
        return hw.iceberg(
            "shop.events", catalog="lake", properties=self.properties, snapshot_id=version
        )

    def delete(self, condition):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that some deletes match nothing
            self.iceberg.refresh().delete(condition)

    def rename(self):
        with self.iceberg.refresh().update_schema() as change:
            change.rename_column("amount", "price")
        self.append(rows(9).rename({"amount": "price"}))

    def recreate(self):
        self.catalog.drop_table("shop.events")
        self.create()

    def forget(self):
        kept = self.iceberg.refresh().current_snapshot().snapshot_id
        old = [
            snapshot.snapshot_id
            for snapshot in self.iceberg.metadata.snapshots
            if snapshot.snapshot_id != kept
        ]
        self.iceberg.maintenance.expire_snapshots().by_ids(old).commit()

    def files(self):
        return sorted(
            (self.folder / "warehouse").rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns
        )


@pytest.fixture(params=[Delta, Iceberg], ids=["delta", "iceberg"])
def lake(request, tmp_path):
    return request.param(tmp_path)


def model_of(table):
    events = hw.Source("events", history=table, timestamp_field="at", known_after="0s")
    view = hw.FeatureView(
        "user",
        source=events,
        keys=["user"],
        features=[hw.sum("amount"), hw.count()],
        windows=["6h"],
        freshness=hw.on_request(),
    )
    asked = [START + timedelta(days=1, hours=hour) for hour in range(40)]
    table = pl.DataFrame(
        {
            "user": [n % 5 for n in range(40)],
            "asked": asked,
            "left": [n % 3 == 0 for n in range(40)],
        }
    )
    labels = hw.Labels("left", table=table, timestamp_field="asked", label="left", known_after="1h")
    return hw.Model(
        "leaving", features=hw.FeatureService("all", [view]), labels=labels, task="binary"
    )


def sorted_rows(table):
    return table.scan().collect().sort("at", "user")


# ---------------------------------------------------------------- rows


def test_rows_are_those_that_were_written(lake):
    assert_frame_equal(sorted_rows(lake.table()), EVERY.sort("at", "user"))


def test_deleted_rows_are_left_out(lake):
    lake.delete("user = 3" if isinstance(lake, Delta) else "user == 3")
    assert_frame_equal(
        sorted_rows(lake.table()), EVERY.filter(pl.col("user") != 3).sort("at", "user")
    )


def test_rows_under_a_deletion_vector_are_left_out(tmp_path):
    pytest.importorskip("deltalake", reason="needs the extra delta")
    lake = Delta(tmp_path)
    deletion_vector(lake.path, lake.files()[1].name, [0, 3, 39])
    gone = rows(1)[[0, 3, 39]]
    assert_frame_equal(
        sorted_rows(lake.table()),
        EVERY.join(gone, on=["at", "user"], how="anti").sort("at", "user"),
    )
    assert lake.table().scan().filter(pl.col("amount") == 103).collect().height == 0
    assert_frame_equal(sorted_rows(lake.table(3)), EVERY.sort("at", "user"))


def test_rows_of_position_deletes_are_left_out(tmp_path):
    pytest.importorskip("pyiceberg", reason="needs the extra iceberg")
    lake = Iceberg(tmp_path)
    path = next(
        task.file.file_path
        for task in lake.iceberg.scan(row_filter=f"amount == {rows(1)['amount'][0]}").plan_files()
    )
    delete_file(lake.iceberg, positions(path, [0, 3, 39]))
    gone = rows(1)[[0, 3, 39]]
    assert_frame_equal(
        sorted_rows(lake.table()),
        EVERY.join(gone, on=["at", "user"], how="anti").sort("at", "user"),
    )
    assert lake.table().scan().filter(pl.col("amount") == 103).collect().height == 0


def test_deletes_by_value_are_refused(tmp_path):
    pytest.importorskip("pyiceberg", reason="needs the extra iceberg")
    lake = Iceberg(tmp_path)
    users = pa.table(
        {"user": [3]},
        schema=pa.schema([pa.field("user", pa.int64(), metadata={"PARQUET:field_id": "1"})]),
    )
    delete_file(lake.iceberg, users, equality=[1])
    with pytest.raises(DataError, match="equality delete"):
        hw.get_historical_features(
            hw.FeatureService("all", model_of(lake.table()).views_within),
            pl.DataFrame({"user": [1], "timestamp": [START + timedelta(days=1)]}),
        )


def test_an_earlier_version_has_its_rows_and_columns(lake):
    before = lake.table().version_read()
    lake.rename()
    assert "price" in lake.table().scan().collect_schema()
    assert_frame_equal(sorted_rows(lake.table(before)), EVERY.sort("at", "user"))


def test_features_are_those_of_a_frame(lake):
    request = pl.DataFrame(
        {"user": [0, 1, 7], "timestamp": [START + timedelta(days=2, hours=5)] * 3}
    )
    views = [
        hw.FeatureService("all", model_of(table).views_within) for table in (lake.table(), EVERY)
    ]
    assert_frame_equal(*[hw.get_historical_features(view, request) for view in views])


# ---------------------------------------------------------------- reads


def test_files_out_of_reach_are_not_opened(lake):
    for path in lake.files()[:-1]:
        path.unlink()
    last = lake.table().scan().filter(pl.col("at") >= START + timedelta(days=DAYS - 1))
    assert last.collect().height == rows(0).height
    with pytest.raises((OSError, pl.exceptions.PolarsError)):
        lake.table().scan().collect()


# ---------------------------------------------------------------- versions


def test_a_call_reads_one_version(lake):
    table = lake.table()
    with one_version():
        first = table.contents()
        lake.append(rows(8))
        assert table.contents() == first
        assert table.scan().collect().height == EVERY.height
    assert table.scan().collect().height == EVERY.height + 40
    assert table.state() != [first]


def test_a_data_set_is_made_again_from_the_version_that_its_manifest_names(lake, tmp_path):
    model = model_of(lake.table())
    made = hw.dataset(model, tmp_path / "rows.parquet", as_of=START + timedelta(days=9))
    entry = json.loads(made.manifest_path.read_text())["tables"]["source events"]
    assert entry["version"] == lake.table().version_read()
    lake.append(pl.concat([rows(1), rows(2)]))
    later = hw.dataset(model, tmp_path / "later.parquet", as_of=START + timedelta(days=9))
    assert later.manifest["digest"] != made.manifest["digest"]
    again = hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    assert_frame_equal(pl.read_parquet(again.path), pl.read_parquet(made.path))


def test_a_version_that_is_gone_is_named(lake, tmp_path):
    model = model_of(lake.table())
    made = hw.dataset(model, tmp_path / "rows.parquet", as_of=START + timedelta(days=9))
    lake.append(rows(8))
    lake.forget()
    version = made.manifest["tables"]["source events"]["version"]
    with pytest.raises(
        DataError,
        match=(
            f"version {version} of .* cannot be read any more|has no snapshot {version}; the last "
            "of its 1 "
        ),
    ):
        hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")


def test_another_table_of_the_same_name_is_no_version_of_it(lake, tmp_path):
    model = model_of(lake.table())
    made = hw.dataset(model, tmp_path / "rows.parquet", as_of=START + timedelta(days=9))
    lake.recreate()
    with pytest.raises(DataError, match="source events is another table of that name"):
        hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")


# ---------------------------------------------------------------- object stores


def test_delta_on_s3(s3, request):
    pytest.importorskip("deltalake", reason="needs the extra delta")
    url = f"s3://shop/lake/{request.node.name}"
    for day in range(2):
        rows(day).write_delta(url, mode="append", storage_options=s3.options)
    table = hw.delta(url, storage_options=s3.options)
    assert sorted_rows(table).height == 80
    assert table.scan().filter(pl.col("at") >= START + timedelta(days=1)).collect().height == 40
    assert hw.delta(url, version=0, storage_options=s3.options).scan().collect().height == 40
    assert table.contents()["store"] == f"aws_endpoint_url={s3.url}"
    with pytest.raises(ConnectError, match="refuses") as raised:
        hw.delta(url, storage_options=s3.options | {"aws_access_key_id": "AKIAWRONG"}).scan()
    assert "the-secret-of-the-test" not in str(raised.value)
    with pytest.raises(DataError, match="no Delta table at s3://shop/nothing"):
        hw.delta("s3://shop/nothing", storage_options=s3.options).scan()


def test_iceberg_on_s3(s3, tmp_path):
    catalogs = pytest.importorskip("pyiceberg.catalog", reason="needs the extra iceberg")
    properties = {
        "type": "sql",
        "uri": f"sqlite:///{tmp_path}/catalog.db",
        "warehouse": "s3://shop/warehouse",
        "s3.endpoint": s3.url,
        "s3.region": "us-east-1",
        "s3.access-key-id": s3.options["aws_access_key_id"],
        "s3.secret-access-key": s3.options["aws_secret_access_key"],
    }
    catalog = catalogs.load_catalog("lake", **properties)
    catalog.create_namespace("shop")
    table = catalog.create_table(
        "shop.events", schema=rows(0).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    )
    for day in range(2):
        table.append(rows(day).to_arrow(compat_level=pl.CompatLevel.oldest()))
    read = hw.iceberg("shop.events", catalog="lake", properties=properties)
    assert sorted_rows(read).height == 80
    assert read.scan().filter(pl.col("at") >= START + timedelta(days=1)).collect().height == 40
    assert hw.iceberg(table.metadata_location, properties=properties).scan().collect().height == 80
    wrong = hw.iceberg(
        "shop.events", catalog="lake", properties=properties | {"s3.access-key-id": "AKIAWRONG"}
    )
    with pytest.raises(ConnectError) as raised:
        wrong.scan()
    assert "the-secret-of-the-test" not in str(raised.value)


# ---------------------------------------------------------------- errors


def test_a_schema_that_changed_without_a_write_is_the_schema(tmp_path):
    """The current snapshot is read with the columns of the table today, as pyiceberg does; a fixed
    one with those of its time.
    """
    table = Iceberg(tmp_path)
    from pyiceberg.types import DoubleType

    fixed = table.table(table.iceberg.refresh().current_snapshot().snapshot_id)

    def summed(column, of=None):
        source = hw.Source(
            "events", history=of or table.table(), timestamp_field="at", select=["user", column]
        )
        view = hw.FeatureView(
            "v",
            source=source,
            keys=["user"],
            features=[hw.count(column)],
            windows=["40d"],
            freshness=hw.on_request(),
        )
        asked = pl.DataFrame({"user": [1], "timestamp": [START + timedelta(days=30)]})
        return hw.get_historical_features(view, asked)[f"v__count_{column}_40d"].to_list()

    assert summed("amount") == [32]
    with table.iceberg.refresh().update_schema() as change:
        change.rename_column("amount", "price")
    assert summed("price") == [32]
    with pytest.raises(DataError, match="no column 'amount'"):
        summed("amount")
    with table.iceberg.refresh().update_schema() as change:
        change.delete_column("price")
    with table.iceberg.refresh().update_schema() as change:
        change.add_column("price", DoubleType())
    assert summed("price") == [0], (
        "a column that was dropped and added again has none of its old values"
    )
    assert summed("amount", fixed) == [32]
    table.append(rows(9).rename({"amount": "price"}))
    assert summed("price") == [8]
