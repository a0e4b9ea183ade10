"""Folders of files as one table: which files count, permitted differences, and refusals."""

import os
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError

START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = pl.DataFrame(
    {"user": ["a"] * 4, "x": [1, 2, 4, 8], "at": [START + timedelta(hours=n) for n in range(4)]}
)
LATER = START + timedelta(days=9)
NEW_YORK = pl.col("at").dt.convert_time_zone("America/New_York").dt.replace_time_zone(None)


def summed(history, key="user", asked="a", at=LATER, features=None, **source):
    """The features of one request, by default the sum of x."""
    visits = hw.Source("visits", history=history, timestamp_field="at", **source)
    view = hw.FeatureView(
        "v",
        source=visits,
        keys=[key],
        features=features or [hw.sum("x")],
        windows=["40d"],
        freshness=hw.on_request(),
    )
    found = hw.get_historical_features(view, pl.DataFrame({key: [asked], "timestamp": [at]})).row(
        0
    )[2:]
    return found[0] if features is None else found


def folder(root, **frames):
    """A folder with a parquet file for each frame; `__` in a name is a slash."""
    for name, frame in frames.items():
        path = Path(root, *name.split("__")).with_suffix(".parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)
    return str(root)


# ---------------------------------------------------------------- local times and UTC


@pytest.mark.parametrize("first", ["utc", "local"])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_local_times_beside_utc_are_refused_and_name_the_files(tmp_path, first, kind):
    """As one column, polars takes the local ones for UTC, so events of the next hours would
    count.
    """
    names = ["a", "b"] if first == "utc" else ["b", "a"]
    for name, frame in zip(names, (EVENTS[:2], EVENTS[2:].with_columns(NEW_YORK)), strict=True):
        path = tmp_path / f"{name}.{kind}"
        frame.write_parquet(path) if kind == "parquet" else frame.write_csv(path)
    table = hw.csv(tmp_path) if kind == "csv" else hw.parquet(tmp_path)
    for zone in (None, "America/New_York"):
        with pytest.raises(DataError) as raised:
            summed(table, timezone=zone)
        said = str(raised.value)
        utc, local = (f"{name}.{kind}" for name in names)
        # "have no time zone in ..., and have one in ..."
        assert said.index(local) < said.index(utc)
        assert "replace_time_zone" in said


# ---------------------------------------------------------------- other kinds of tables


def test_the_folder_of_a_delta_table_is_refused_and_names_the_reader(tmp_path):
    deltalake = pytest.importorskip("deltalake")
    path = tmp_path / "dl"
    deltalake.write_deltalake(
        str(path), EVENTS.with_columns(day=pl.col("at").dt.hour()).to_arrow(), partition_by=["day"]
    )
    deltalake.DeltaTable(str(path)).delete("x = 8")
    assert summed(hw.delta(str(path))) == 7
    for given in (path, f"{path}/*", f"{path}/day=1", tmp_path, f"{tmp_path}/*"):
        with pytest.raises(
            DataError, match=r"holds a Delta table: .*dl has a _delta_log.*Give hw\.delta\('.*dl'\)"
        ):
            summed(hw.parquet(given))


# ---------------------------------------------------------------- names


HIDDEN = [
    "_temporary__0__part-0",
    ".part-0",
    "_SUCCESS",
    "day__.tmp__part-0",
    "_delta__part-0",
    "__pycache__",
    "._mac",
]


@pytest.mark.parametrize("pattern", ["", "*", "**/*.parquet"])
def test_names_that_begin_with_an_underscore_or_a_dot_are_no_events(tmp_path, pattern):
    for name in HIDDEN:
        path = (
            tmp_path / "t" / f"{name.replace('__', '/') if name != '__pycache__' else name}.parquet"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        EVENTS.write_parquet(path)
    (tmp_path / "t" / "_SUCCESS").touch()
    table = f"{folder(tmp_path / 't', **{'part-0': EVENTS})}/{pattern}"
    assert summed(hw.parquet(table)) == 15


def test_a_folder_that_cannot_be_read_is_an_error_rather_than_no_rows():
    """Tried as another user where this one may read everything."""
    with tempfile.TemporaryDirectory() as name:
        path = folder(Path(name) / "t", a=EVENTS, below__b=EVENTS)
        Path(name).chmod(0o755)
        below = Path(path, "below")
        below.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)
        try:
            with pytest.raises(DataError, match="below: Permission denied"):
                summed(hw.parquet(path))
        finally:
            os.seteuid(user)
            below.chmod(0o700)


# ---------------------------------------------------------------- partitions


@pytest.mark.parametrize(
    "above",
    [
        "x=7",
        "day=1/x=7",
    ],
)
@pytest.mark.parametrize("given", ["a.parquet", "", "*.parquet", "**/*.parquet"])
def test_a_folder_above_the_path_is_no_partition(tmp_path, above, given):
    """The same definition gives the same values wherever a checkout lies."""
    path = folder(tmp_path / above / "export", a=EVENTS)
    assert summed(hw.parquet(f"{path}/{given}".rstrip("/"))) == 15


def test_a_partition_that_is_also_a_column_must_agree(tmp_path):
    frames = {
        f"status={name}__p": EVENTS.with_columns(status=pl.lit(name)) for name in ("ok", "no")
    }
    path = folder(tmp_path / "t", **frames)
    assert summed(hw.parquet(path), filter=pl.col("status") == "ok") == 15
    folder(
        tmp_path / "t",
        **{"status=ok__p": EVENTS.with_columns(status=pl.Series(["ok", "ok", "no", "ok"]))},
    )
    with pytest.raises(
        DataError,
        match=r"'status' is a partition and also a column of the files.*status=ok/p\.parquet has the value 'no'",
    ):
        summed(hw.parquet(path))


# ---------------------------------------------------------------- schemas that change


CHANGES = {
    "a column that was added": (
        EVENTS.drop("x"),
        EVENTS.with_columns(x=pl.col("x").cast(pl.Float64)),
        15.0,
    ),
    "a column that was dropped": (EVENTS, EVENTS.drop("x"), 15),
    "wider integers": (EVENTS.cast({"x": pl.Int16}), EVENTS, 30),
    "signed and unsigned": (EVENTS.cast({"x": pl.UInt32}), EVENTS.cast({"x": pl.Int32}), 30),
    "integers that a double holds": (
        EVENTS.cast({"x": pl.Int32}),
        EVENTS.cast({"x": pl.Float64}),
        30.0,
    ),
    "nulls alone": (EVENTS.with_columns(x=None), EVENTS, 15),
    "nanoseconds": (EVENTS, EVENTS.cast({"at": pl.Datetime("ns", "UTC")}), 30),
    "zones": (EVENTS, EVENTS.with_columns(pl.col("at").dt.convert_time_zone("Europe/Oslo")), 30),
    "fields of a struct": (
        EVENTS.with_columns(s=pl.struct(a=1)),
        EVENTS.with_columns(s=pl.struct(a=1, b=2)),
        30,
    ),
}


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_may_change_in_a_table(tmp_path, change, turned):
    """Also with a filter and a window that row groups can be left out by, which the new types must
    not change.
    """
    one, other, total = CHANGES[change]
    frames = (other, one) if turned else (one, other)
    path = tmp_path / "t"
    path.mkdir()
    for name, frame in zip("ab", frames, strict=True):
        frame.write_parquet(path / f"{name}.parquet", row_group_size=1)
    assert summed(hw.parquet(path)) == total
    assert summed(hw.parquet(path), filter=pl.col("x") > 2) == total * 12 / 15
    early = START + timedelta(hours=2)
    assert summed(hw.parquet(path), at=early) == total / 5


@pytest.mark.parametrize(
    "other",
    [
        pl.Float64,
    ],
    ids=[
        "floats",
    ],
)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
def test_a_column_that_no_type_holds_names_both_files(tmp_path, other, turned):
    """int64 and float64 too: a double of 2**53 + 1 is another id."""
    second = EVENTS.with_columns(
        pl.concat_list("x") if other == pl.List(pl.Int64) else pl.col("x").cast(other)
    )
    frames = (second, EVENTS) if turned else (EVENTS, second)
    path = folder(tmp_path / "t", a=frames[0], b=frames[1])
    with pytest.raises(DataError, match=r"'x' is .* in .*a\.parquet and .* in .*b\.parquet"):
        summed(hw.parquet(path))
    with pytest.raises(DataError, match=r"'x' is .* in .*a\.parquet and .* in .*b\.parquet"):
        summed(hw.parquet(path), features=[hw.count()], filter=pl.col("x") > 2)


# ---------------------------------------------------------------- CSV and JSON lines


NOON = "2026-01-01T12:00:00Z"


def csv_folder(root, *texts):
    root.mkdir()
    for number, text in enumerate(texts):
        (root / f"{number}.csv").write_text(text)
    return hw.csv(root)


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
@pytest.mark.parametrize(
    ("other", "total"),
    [
        ("user,x,at\n", 4),  # a header alone says nothing of types
        (f"user,x,at\na,,{NOON}\n", 4),
        (f"user,x,at\na,1.5,{NOON}\n", 5.5),
        ("user,x,at\na,1,2026-01-01T12:00:00+05:30\n", 5),
    ],
)
def test_csv_files_are_read_as_if_their_lines_were_in_one(tmp_path, other, total, turned):
    texts = [f"user,x,at\na,4,{NOON}\n", other]
    assert summed(csv_folder(tmp_path / "t", *(texts[::-1] if turned else texts))) == total


def test_a_date_beside_times_of_other_csv_files_is_refused(tmp_path):
    """A date is known at its end, and as a time it would be midnight."""
    table = csv_folder(tmp_path / "t", f"user,x,at\na,1,{NOON}\n", "user,x,at\na,1,2026-01-01\n")
    with pytest.raises(
        DataError, match=r"'at' is Datetime.*UTC.* in .*0\.csv and Date in .*1\.csv"
    ):
        summed(table)


@pytest.mark.parametrize(
    ("first", "later", "says"),
    [
        (NOON, "2026-01-01T13:00:00", "2026-01-01T13:00:00 has no UTC offset"),
        ("2026-01-01T13:00:00", NOON, f"{NOON} has a UTC offset"),
        (NOON, "2026-01-01", "2026-01-01 has no UTC offset"),
    ],
)
def test_a_later_csv_line_with_another_kind_of_time_is_an_error(tmp_path, first, later, says):
    """Beyond the lines that say what a column holds: local times are not taken for UTC."""
    lines = "".join(f"a,1,{first}\n" for _ in range(10_001))
    (tmp_path / "a.csv").write_text(f"user,x,at\n{lines}a,1,{later}\n")
    zone = None if first == NOON else "UTC"
    with pytest.raises(DataError, match=re.escape(says)):
        summed(hw.csv(tmp_path / "a.csv"), timezone=zone)


# ---------------------------------------------------------------- on an object store


def test_a_file_of_the_same_size_and_time_is_another(tmp_path, monkeypatch):
    """As rsync -t and cp -p leave it; nothing computed from the former file is used again."""
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    labels = hw.Labels(
        "l",
        table=pl.DataFrame({"user": ["a"], "timestamp": [LATER], "y": [1.0]}),
        timestamp_field="timestamp",
        label="y",
        known_after="1h",
    )
    path = tmp_path / "t.parquet"
    totals = []
    for factor in (1, 2, 1):
        EVENTS.with_columns(pl.col("x").reverse() * factor).write_parquet(
            path, compression="uncompressed", statistics=False
        )
        os.utime(path, (1_767_225_600, 1_767_225_600))
        visits = hw.Source("visits", history=hw.parquet(path), timestamp_field="at")
        view = hw.FeatureView(
            "v",
            source=visits,
            keys=["user"],
            features=[hw.sum("x")],
            windows=["40d"],
            freshness=hw.on_request(),
        )
        model = hw.Model(
            "m", task="regression", features=hw.FeatureService("f", [view]), labels=labels
        )
        rows = hw.dataset(model, tmp_path / "rows.parquet").rows.frame
        totals.append((rows["v__sum_x_40d"].item(), path.stat().st_size))
    assert [total for total, _ in totals] == [15, 30, 15]
    assert len({size for _, size in totals}) == 1
