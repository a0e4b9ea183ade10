"""Keys of entities of any length, and the longest names of projects, sources, partitions and
prefixes, in every store.
"""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError, UsageError
from headwater.testing.stores import RECORD

KINDS = [
    "lmdb",
    *(pytest.param(kind, marks=pytest.mark.services) for kind in ("redis", "postgres", "cluster")),
]
LETTERS = [("é", 200), ("日", 133), ("日", 700), ("🙂", 2000), ("x", 399), ("x", 400), ("x", 2000)]
USERS = ["", *(letter * count + end for letter, count in LETTERS for end in ("", "1", "2"))]
LONGEST_NAME = 100
NAME = "n" * LONGEST_NAME
ROOM = 450 - 2 - LONGEST_NAME  # bytes of a partition's name


def project_of(path, source):
    stream = hw.appended(str(path), schema={"user": str, "n": int, "at": pl.Datetime("us", "UTC")})
    view = hw.FeatureView(
        "user",
        source=hw.Source(source, timestamp_field="at", stream=stream),
        keys=["user"],
        windows=["1h"],
        features=[hw.sum("n")],
        freshness=hw.streaming("10m"),
        on_incomplete="value",
    )
    table = pl.DataFrame({"user": ["u"], "asked": [datetime(2024, 1, 1, tzinfo=UTC)], "y": [1]})
    labels = hw.Labels("left", table=table, timestamp_field="asked", label="y", known_after="1d")
    model = hw.Model("m", task="binary", features=hw.FeatureService("s", [view]), labels=labels)
    return hw.Project(NAME, [model]), view


def ingest(project, store, folder):
    options = hw.operations.IngestOptions(allow_unapplied=True)
    hw.ingest(project, store, data_dir=folder, once=True, listen=None, options=options)


def written(folder, size):
    """A file of events whose path has so many bytes, most of them of letters that are not ASCII."""
    left = size - len(bytes(folder)) - len("//log.ndjson")
    folders = [*["é" * 30] * (left // 61 - 1), "d" * (left % 61 + 61)]
    path = folder.joinpath(*folders, "log.ndjson")
    assert len(bytes(path)) == size
    path.parent.mkdir(parents=True)
    now = datetime.now(UTC)
    rows = [
        {"user": user, "n": n, "at": (now - timedelta(seconds=60)).isoformat()}
        for n, user in enumerate(USERS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def url(make_store):
    """With the longest prefix."""
    (url,) = make_store.args
    before, sign, after = url.partition("prefix=")
    return url if not sign else before + sign + "p" * (63 - len(after.partition("&")[0])) + after


@pytest.mark.parametrize("make_store", KINDS, indirect=True)
def test_the_longest_names_and_keys_of_any_length(make_store, url, tmp_path):
    path = written(tmp_path, ROOM)
    project, view = project_of(path, NAME)
    with closing(hw.operations.open_store(url)) as store:
        ingest(project, store, tmp_path / "data")
        found = hw.get_online_features(view, [{"user": user} for user in USERS], store=store)
    assert found["user__sum_n_1h"].to_list() == list(range(len(USERS)))
    files = list((tmp_path / "data" / "archive" / NAME).rglob("*.parquet"))
    rows = pl.concat(pl.read_parquet(file, hive_partitioning=False) for file in files)
    assert sorted(rows["n"]) == list(range(len(USERS)))


@pytest.mark.parametrize("make_store", KINDS, indirect=True)
def test_a_partition_with_a_longer_name_is_refused(make_store, url, tmp_path):
    path = written(tmp_path, ROOM + 1)
    with closing(hw.operations.open_store(url)) as store:
        with pytest.raises(
            UsageError,
            match=rf"source '{NAME}': its partition '.*'... has a name of {ROOM + 1} bytes, and keys .* take {ROOM}. Give",
        ):
            ingest(project_of(path, NAME)[0], store, tmp_path / "data")
        assert not list(store.scan(RECORD))


def test_a_longer_name_is_refused():
    with pytest.raises(
        DefinitionError,
        match=r"a source has a name of 101 characters, 'n{40}'...; give one of at most 100",
    ):
        project_of("log.ndjson", NAME + "n")
