"""A training set's manifest says what it was made of, and makes it again to the bit."""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.errors import DataError
from headwater.testing.examples import churn
from headwater.training.frame_digest import digest

UNTIL = "2024-05-15T00:00+00:00"
START = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path):
    """The model of `churn` over files, which a test may change."""
    rows = [
        {
            "user": i % 7,
            "at": START + timedelta(hours=i),
            "pages": 0.1 * (i * 7 % 13),
            "left": i % 5 == 0,
        }
        for i in range(300)
    ]
    frame = pl.DataFrame(rows)
    (tmp_path / "visits").mkdir()
    frame.drop("left")[:150].write_parquet(tmp_path / "visits" / "a.parquet")
    frame.drop("left")[150:].write_parquet(tmp_path / "visits" / "b.parquet")
    frame.select("user", "at", "left").write_csv(tmp_path / "labels.csv")

    def model(*features, name="user"):
        source = hw.Source("visits", history=hw.parquet(tmp_path / "visits"), timestamp_field="at")
        view = hw.FeatureView(
            name,
            source=source,
            keys=["user"],
            features=features or [hw.count(), hw.mean("pages")],
            windows=["1d"],
            freshness=hw.on_request(),
        )
        labels = hw.Labels(
            "leaving",
            table=hw.csv(tmp_path / "labels.csv"),
            timestamp_field="at",
            label="left",
            known_after="1d",
        )
        return hw.Model(
            "churn", features=hw.FeatureService("churn_v1", [view]), labels=labels, task="binary"
        )

    return model


def test_the_manifest_says_what_went_in(tmp_path, project):
    made = hw.dataset(
        project(),
        tmp_path / "out" / "rows.parquet",
        as_of=UNTIL,
        resources=hw.Resources(cache=False),
    )
    said = json.loads((tmp_path / "out" / "rows.manifest.json").read_text())
    assert said == made.manifest
    assert said["rows"] == 300
    assert said["digest"] == digest(pl.read_parquet(tmp_path / "out" / "rows.parquet"))
    assert set(said["tables"]["source visits"]["files"]) == {"a.parquet", "b.parquet"}
    assert said["events"] == {"visits": 299}, "the last event is outside every request"
    assert said["until"] == "2024-05-15T00:00:00+00:00"
    assert said["level"]["describe"] == "at request time"
    assert {"user", "churn_v1"} == {*said["views"], *said["feature_service"]}
    assert "polars" in said["versions"]


def test_a_training_set_is_made_again_to_the_bit(tmp_path, project):
    made = hw.dataset(
        project(),
        tmp_path / "rows.parquet",
        as_of=UNTIL,
        resources=hw.Resources(cache=hw.operations.Cache(tmp_path / "cache")),
    )
    again = hw.operations.reproduce(project(), made.manifest_path, tmp_path / "again.parquet")
    assert_frame_equal(
        pl.read_parquet(tmp_path / "again.parquet"),
        pl.read_parquet(tmp_path / "rows.parquet"),
        check_exact=True,
    )
    assert again.manifest == made.manifest
    assert json.loads((tmp_path / "again.manifest.json").read_text()) == made.manifest


def _defined_otherwise(tmp_path, project):
    return project(hw.count(), hw.sum("pages")), None, "the view 'user' is defined differently"


def _renamed(tmp_path, project):
    return project(name="users"), None, "no view 'user'; did you mean 'users'?"


def _other_level(tmp_path, project):
    return project(), hw.Level(hw.batch("1d")), "another level (at request time; now every 1d"


def _changed_file(tmp_path, project):
    frame = pl.read_parquet(tmp_path / "visits" / "a.parquet")
    frame.with_columns(pl.col("pages") + 1e-9).write_parquet(tmp_path / "visits" / "a.parquet")
    return project(), None, "source visits: 1 of its files is changed (a.parquet)"


def _more_files(tmp_path, project):
    pl.read_parquet(tmp_path / "visits" / "a.parquet").write_parquet(
        tmp_path / "visits" / "c.parquet"
    )
    return project(), None, "1 of its files is new (c.parquet)"


def _other_labels(tmp_path, project):
    pl.read_csv(tmp_path / "labels.csv")[:-1].write_csv(tmp_path / "labels.csv")
    return project(), None, "labels leaving: 1 of its files is changed (labels.csv)"


@pytest.mark.parametrize(
    "change",
    [_defined_otherwise, _renamed, _other_level, _changed_file, _more_files, _other_labels],
)
def test_what_has_changed_is_named(tmp_path, project, change):
    made = hw.dataset(
        project(), tmp_path / "rows.parquet", as_of=UNTIL, resources=hw.Resources(cache=False)
    )
    model, level, words = change(tmp_path, project)
    with pytest.raises(DataError, match="cannot be made again") as error:
        hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet", level=level)
    assert words in str(error.value)
    assert not (tmp_path / "again.parquet").exists()


def test_frames_are_compared_by_their_rows(tmp_path):
    made = hw.dataset(
        churn(),
        tmp_path / "rows.parquet",
        as_of="2024-07-01T00:00+00:00",
        resources=hw.Resources(cache=False),
    )
    with pytest.raises(DataError, match=r"the rows of labels leaving are not what they were"):
        hw.operations.reproduce(churn(events=330), made.manifest_path, tmp_path / "again.parquet")


def test_rows_that_differ_are_not_written(tmp_path, project):
    made = hw.dataset(
        project(), tmp_path / "rows.parquet", as_of=UNTIL, resources=hw.Resources(cache=False)
    )
    said = json.loads(made.manifest_path.read_text())
    made.manifest_path.write_text(
        json.dumps(said | {"digest": "0" * 64, "versions": said["versions"] | {"polars": "0.1"}})
    )
    with pytest.raises(DataError, match=r"300 rows came out that differ.*polars 0.1 then and"):
        hw.operations.reproduce(project(), made.manifest_path, tmp_path / "again.parquet")
    assert not (tmp_path / "again.parquet").exists()


VALUES = {
    pl.Float64: st.floats(),
    pl.Float32: st.floats(width=32),
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.UInt8: st.integers(0, 255),
    pl.Boolean: st.booleans(),
    pl.String: st.text(max_size=3),
    pl.Datetime("us", "UTC"): st.integers(-(2**50), 2**50).map(
        lambda t: START + timedelta(microseconds=t)
    ),
    pl.List(pl.String): st.lists(st.none() | st.text(max_size=2), max_size=3),
    pl.List(pl.Struct({"key": pl.String, "value": pl.Float64})): st.lists(
        st.fixed_dictionaries({"key": st.text(max_size=1), "value": st.none() | st.floats()}),
        max_size=2,
    ),
}


@given(st.data(), st.sampled_from(list(VALUES)))
def test_a_digest_is_of_what_is_there(data, dtype):
    values = data.draw(st.lists(st.none() | VALUES[dtype], max_size=6))
    series = pl.Series("a", values, dtype)
    cut = data.draw(st.integers(0, len(values)))
    pieces = pl.concat([series[:cut], series[cut:]], rechunk=False)
    assert digest(pieces.to_frame()) == digest(series.to_frame())
    other = pl.Series("a", data.draw(st.lists(st.none() | VALUES[dtype], max_size=6)), dtype)
    assert (repr(other.to_list()) == repr(series.to_list())) == (
        digest(other.to_frame()) == digest(series.to_frame())
    )
    assert digest(series.alias("b").to_frame()) != digest(series.to_frame())
