"""Folders of files as one table: which files count, permitted differences, and refusals."""

import os
import re
import shutil
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError
from tests.warm_commands import run_command

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


def test_rows_and_labels_over_such_a_folder_are_refused_too(tmp_path):
    rows = pl.DataFrame({"user": ["a", "a"], "timestamp": [LATER, LATER], "y": [True, False]})
    local = pl.col("timestamp").dt.convert_time_zone("Asia/Kolkata").dt.replace_time_zone(None)
    path = folder(tmp_path / "rows", a=rows, b=rows.with_columns(local))
    view = hw.FeatureView(
        "v",
        source=hw.Source("p", history=EVENTS, timestamp_field="at"),
        keys=["user"],
        features=[hw.count()],
        freshness=hw.on_request(),
    )
    labels = hw.Labels("l", table=path, timestamp_field="timestamp", label="y", known_after="1h")
    for asked in (path, labels):
        with pytest.raises(
            DataError, match=r"have no time zone in .*b\.parquet, and have one in .*a\.parquet"
        ):
            hw.get_historical_features(view, asked)


def init(table):
    """The exit code of `headwater init` in this folder, and what it says."""
    done = run_command(["init", table, "--label", "none", "--yes"], Path.cwd())
    return done.returncode, " ".join(done.stderr.split())


def test_init_refuses_such_a_folder(tmp_path, monkeypatch):
    folder(tmp_path / "mixed", a=EVENTS[:2], b=EVENTS[2:].with_columns(NEW_YORK))
    monkeypatch.chdir(tmp_path)
    code, said = init("mixed")
    assert code == 1
    assert "have no time zone in mixed/b.parquet" in said
    assert not (tmp_path / "features.py").exists()


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


def test_init_writes_the_reader_of_a_delta_table(tmp_path, monkeypatch):
    deltalake = pytest.importorskip("deltalake")
    monkeypatch.chdir(tmp_path)
    many = pl.DataFrame(
        {
            "user": ["a", "b"] * 50,
            "x": range(100),
            "at": [START + timedelta(hours=n) for n in range(100)],
        }
    )
    deltalake.write_deltalake("dl", many.to_arrow())
    deltalake.DeltaTable("dl").delete("x >= 50")
    code, said = init("dl")
    assert code == 0, said
    written = Path("features.py").read_text(encoding="utf-8")
    assert 'hw.delta("dl")' in written
    assert "50 rows" in written


@pytest.mark.parametrize("below", ["", "data", "data/day=1"])
def test_the_folder_of_an_iceberg_table_is_refused(tmp_path, monkeypatch, below):
    (tmp_path / "t" / "metadata").mkdir(parents=True)
    (tmp_path / "t" / "metadata" / "00000-abc.metadata.json").write_text("{}")
    folder(tmp_path / "t", **{"data__day=1__a": EVENTS})
    with pytest.raises(
        DataError, match=r"holds an Iceberg table: .*Give hw\.iceberg\('namespace\.table'"
    ):
        summed(hw.parquet(tmp_path / "t" / below))
    monkeypatch.chdir(tmp_path)
    code, said = init(f"t/{below}")
    assert code == 1
    assert "hw.iceberg(" in said


def test_a_single_file_is_read_wherever_it_lies(tmp_path):
    (tmp_path / "_delta_log").mkdir()
    folder(tmp_path, **{"_x=7__a": EVENTS})
    assert summed(hw.parquet(tmp_path / "_x=7" / "a.parquet")) == 15


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


def test_a_table_may_lie_below_such_a_name_and_a_pattern_may_ask_for_one(tmp_path):
    assert summed(hw.parquet(folder(tmp_path / ".cache" / "_stage", a=EVENTS))) == 15
    path = folder(tmp_path / "t", _part=EVENTS, part_1=EVENTS)
    assert summed(hw.parquet(f"{path}/_*.parquet")) == 15
    (tmp_path / "t" / "part_1.parquet").unlink()
    with pytest.raises(
        DataError, match=r"holds _part\.parquet; names that begin with _ or \. are left out"
    ):
        summed(hw.parquet(path))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_without_bytes_is_named(tmp_path, kind):
    for n in range(3):
        EVENTS.write_parquet(tmp_path / f"{n}.parquet") if kind == "parquet" else EVENTS.write_csv(
            tmp_path / f"{n}.csv"
        )
    (tmp_path / f"1.{kind}").write_bytes(b"")
    with pytest.raises(
        DataError, match=rf"1\.{kind} is empty: it has no bytes.*write it again, or remove it"
    ):
        summed(hw.csv(tmp_path) if kind == "csv" else hw.parquet(tmp_path))


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


@pytest.mark.parametrize("above", ["x=7", "user=bob", "day=1/x=7"])
@pytest.mark.parametrize("given", ["a.parquet", "", "*.parquet", "**/*.parquet"])
def test_a_folder_above_the_path_is_no_partition(tmp_path, above, given):
    """The same definition gives the same values wherever a checkout lies."""
    path = folder(tmp_path / above / "export", a=EVENTS)
    assert summed(hw.parquet(f"{path}/{given}".rstrip("/"))) == 15


@pytest.mark.parametrize("above", ["t", "day=9/t", "user=bob/t"])
@pytest.mark.parametrize("given", ["", "day=*/*.parquet"])
def test_folders_below_the_path_are_columns(tmp_path, above, given):
    frames = {f"day={n}__p": EVENTS[n : n + 1] for n in range(4)}
    path = f"{folder(tmp_path / above, **frames)}/{given}".rstrip("/")
    assert summed(hw.parquet(path), filter=pl.col("day") >= 2) == 12
    assert summed(hw.parquet(path), key="day", asked=3) == 8
    assert summed(hw.parquet(path), select=["user", "x"]) == 15


def test_partitions_have_the_types_of_their_values(tmp_path):
    """Dates with the month first are not guessed; what Spark writes for null is null."""
    values = {"n": "07", "day": "2026-01-02", "us": "01-02-2026", "city": "S%C3%A3o Paulo"}
    for above in ("t", "x=1/t"):
        for name, more in (
            ("a", values),
            ("b", dict.fromkeys(values, "__HIVE_DEFAULT_PARTITION__")),
        ):
            place = tmp_path.joinpath(
                above, *(f"{column}={value}" for column, value in more.items())
            )
            place.mkdir(parents=True)
            EVENTS.write_parquet(place / f"{name}.parquet")
        got = summed(
            hw.parquet(tmp_path / above),
            features=[f(name) for name in values for f in (hw.last, hw.count)],
        )
        assert got == (7, 4, date(2026, 1, 2), 4, "01-02-2026", 4, "São Paulo", 4)


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


def test_files_beside_partitions_are_refused(tmp_path):
    path = folder(tmp_path / "t", **{"a": EVENTS, "day=1__b": EVENTS})
    with pytest.raises(DataError, match="put all files below folders of the same columns"):
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
    "unsigned of 64 bits": (EVENTS.cast({"x": pl.UInt64}), EVENTS, 30),
    "wider floats": (EVENTS.cast({"x": pl.Float32}), EVENTS.cast({"x": pl.Float64}), 30.0),
    "wider decimals": (
        EVENTS.cast({"x": pl.Decimal(10, 0)}),
        EVENTS.cast({"x": pl.Decimal(20, 0)}),
        30,
    ),
    "nulls alone": (EVENTS.with_columns(x=None), EVENTS, 15),
    "nanoseconds": (EVENTS, EVENTS.cast({"at": pl.Datetime("ns", "UTC")}), 30),
    "milliseconds": (EVENTS.cast({"at": pl.Datetime("ms", "UTC")}), EVENTS, 30),
    "zones": (EVENTS, EVENTS.with_columns(pl.col("at").dt.convert_time_zone("Europe/Oslo")), 30),
    "names of UTC": (EVENTS, EVENTS.with_columns(pl.col("at").dt.convert_time_zone("Etc/UTC")), 30),
    "categories": (EVENTS.cast({"user": pl.Categorical}), EVENTS, 30),
    "order of columns": (EVENTS, EVENTS.select("at", "x", "user"), 30),
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


def test_files_of_two_tables_are_refused(tmp_path):
    path = folder(
        tmp_path / "t",
        events=EVENTS,
        labels=pl.DataFrame({"user": ["a"], "asked": [LATER], "y": [1]}),
    )
    with pytest.raises(
        DataError,
        match=r"no file has all of them: .*events\.parquet has no asked, y; .*labels\.parquet has no x, at",
    ):
        summed(hw.parquet(path))


def test_types_that_have_nothing_in_common_fail_where_they_are_read(tmp_path):
    path = folder(tmp_path / "t", a=EVENTS, b=EVENTS.with_columns(x=pl.lit("one")))
    assert summed(hw.parquet(path), features=[hw.count()]) == (8,)
    with pytest.raises(
        DataError,
        match=r"'x' is Int64 in .*a\.parquet and String in .*b\.parquet, and no type holds",
    ):
        summed(hw.parquet(path))


@pytest.mark.parametrize(
    "other",
    [pl.Float64, pl.Boolean, pl.Decimal(20, 2), pl.List(pl.Int64)],
    ids=["floats", "booleans", "decimals", "lists"],
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


def test_names_with_the_signs_of_patterns_are_names(tmp_path):
    assert summed(hw.parquet(folder(tmp_path / "t[1]", **{"a[b]": EVENTS, "c?": EVENTS}))) == 30


# ---------------------------------------------------------------- CSV and JSON lines


def test_csv_files_may_have_their_columns_in_another_order_or_lack_some(tmp_path):
    (tmp_path / "a.csv").write_text("user,x,at\na,1,2026-01-01T00:00:00Z\n")
    (tmp_path / "b.csv").write_text("x,at,user\n2,2026-01-01T01:00:00Z,a\n")
    assert summed(hw.csv(tmp_path)) == 3
    (tmp_path / "c.csv").write_text("user,at\na,2026-01-01T02:00:00Z\n")
    assert summed(hw.csv(tmp_path), features=[hw.sum("x"), hw.count()]) == (3, 3)
    (tmp_path / "d.csv").write_text("user,y,at\na,1,2026-01-01T02:00:00Z\n")
    with pytest.raises(DataError, match="no file has all of them"):
        summed(hw.csv(tmp_path))


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


def test_codes_of_one_file_are_strings_in_all(tmp_path):
    table = csv_folder(tmp_path / "t", f"user,x,at\n007,1,{NOON}\n", f"user,x,at\nA07,1,{NOON}\n")
    assert summed(table, asked="007") == 1


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


def test_declared_types_and_words_for_null_of_csv(tmp_path):
    lines = f"007,1,{NOON}\n" * 10_001
    (tmp_path / "a.csv").write_text(f"user,x,at\n{lines}007,1.5,{NOON}\n007,NA,{NOON}\n")
    table = hw.csv(tmp_path / "a.csv", types={"user": str, "x": float}, null_values=["NA"])
    assert summed(table, asked="007") == 10_002.5
    exact = hw.csv(tmp_path / "a.csv", types={"x": pl.Decimal(10, 2)}, null_values=["NA"])
    assert summed(exact, asked=7) == 10_002.5
    with pytest.raises(DataError, match=r"hw\.csv\(path, types=\{'amount': float\}\)"):
        summed(hw.csv(tmp_path / "a.csv", null_values=["NA"]), asked=7)
    with pytest.raises(DataError) as caught:
        summed(hw.csv(tmp_path / "a.csv", types={"x": int}), asked=7)
    assert "current offset" not in str(caught.value)
    with pytest.raises(DataError, match=r"types= names 'usr'.*did you mean 'user'"):
        summed(hw.csv(tmp_path / "a.csv", types={"usr": str}))
    assert len({t.fingerprint for t in (table, exact, hw.csv(tmp_path / "a.csv"))}) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"types": {"at": datetime}},
        {"types": {"at": pl.Datetime("us", "UTC")}},
        {"types": {"x": pl.List(pl.Int64)}},
        {"types": {"x": "int"}},
        {"types": {}},
        {"types": ["x"]},
        {"null_values": "NA"},
        {"null_values": [None]},
        {"null_values": 5},
    ],
)
def test_other_types_and_words_are_refused(wrong):
    with pytest.raises(DefinitionError, match=r"csv\(\): "):
        hw.csv("a.csv", **wrong)


AT = pl.from_epoch("at").dt.replace_time_zone("UTC").alias("at")


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
@pytest.mark.parametrize(
    ("other", "total"), [('"x": 1.5, ', 5.5), ('"x": null, ', 4), ("", 4), ('"x": 1, "y": 2, ', 5)]
)
def test_json_lines_files_may_lack_columns_and_have_other_numbers(tmp_path, other, total, turned):
    lines = [f'{{"user": "a", {x}"at": 1767225600}}\n' for x in ('"x": 4, ', other)]
    for number, line in enumerate(lines[::-1] if turned else lines):
        (tmp_path / f"{number}.jsonl").write_text(line)
    assert summed(hw.json_lines(tmp_path), select=["user", "x", AT]) == total


def test_a_json_column_may_be_null_in_the_first_lines(tmp_path):
    line = '{"user": "a", "x": null, "at": 1767225600}\n'
    (tmp_path / "a.jsonl").write_text(line * 10_001 + line.replace("null", "3"))
    assert summed(hw.json_lines(tmp_path / "a.jsonl"), select=["user", "x", AT]) == 3


def test_json_files_of_unlike_types_are_named(tmp_path):
    for name, value in (("a", '"4"'), ("b", "4")):
        line = f'{{"user": "a", "x": {value}, "at": 1767225600}}\n'
        (tmp_path / f"{name}.jsonl").write_text(line)
    with pytest.raises(DataError, match=r"'x' is String in .*a\.jsonl and Int64 in .*b\.jsonl"):
        summed(hw.json_lines(tmp_path), select=["user", "x", AT])


def test_json_lines_that_are_hidden_do_not_count(tmp_path):
    line = '{"user": "a", "x": 5, "at": 1767225600}\n'
    for name in ("a.jsonl", ".b.jsonl", "_c.jsonl"):
        (tmp_path / name).write_text(line)
    (tmp_path / "empty.jsonl").write_text("")
    at = pl.from_epoch("at").dt.replace_time_zone("UTC")
    assert summed(hw.json_lines(tmp_path), select=["user", "x", at.alias("at")]) == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            b"user,x,at\n\xe4,1,2026-01-01T00:00:00Z\n",
            "Write the file again in UTF-8, such as iconv",
        ),
        (
            b"user,x,at\n"
            + b"a,1,2026-01-01T00:00:00Z\n" * 10_001
            + b"a,NULL,2026-01-01T00:00:00Z\n",
            "leave the field empty for a",
        ),
    ],
)
def test_errors_of_the_reader_have_a_remedy_of_ours(tmp_path, text, says):
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(DataError) as raised:
        summed(hw.csv(tmp_path / "a.csv"))
    assert says in str(raised.value)
    assert "infer_schema" not in str(raised.value)


# ---------------------------------------------------------------- on an object store


def test_the_same_rules_hold_on_a_store(s3):
    def put(prefix, *names, frame=EVENTS):
        for name in names:
            s3.put(f"{prefix}/{name}", frame)
        return hw.parquet(f"s3://shop/{prefix}/", storage_options=s3.options)

    assert (
        summed(
            put(
                "rules/hidden",
                "a.parquet",
                "_temporary/0/a.parquet",
                ".a.parquet",
                "day/_x/a.parquet",
            )
        )
        == 15
    )
    assert summed(hw.parquet("s3://shop/rules/hidden/*.parquet", storage_options=s3.options)) == 15
    assert summed(put("rules/x=7/t", "a.parquet")) == 15
    assert summed(put("rules/x=7/h", "user=a/a.parquet", frame=EVENTS.drop("user"))) == 15
    local = put("rules/mixed", "a.parquet")
    put("rules/mixed", "b.parquet", frame=EVENTS.with_columns(NEW_YORK))
    with pytest.raises(
        DataError, match=r"have no time zone in .*b\.parquet, and have one in .*a\.parquet"
    ):
        summed(local)
    put("rules/added", "b.parquet")
    assert summed(put("rules/added", "a.parquet", frame=EVENTS.drop("x"))) == 15
    delta = put("rules/delta", "a.parquet", "day=1/b.parquet")
    s3.put("rules/delta/_delta_log/00000000000000000000.json", b"{}\n")
    for table in (
        delta,
        hw.parquet("s3://shop/rules/delta/day=1/*.parquet", storage_options=s3.options),
    ):
        with pytest.raises(DataError, match=r"hw\.delta\('s3://shop/rules/delta'\)"):
            summed(table)
    ice = put("rules/ice", "data/a.parquet")
    s3.put("rules/ice/metadata/v1.metadata.json", b"{}\n")
    with pytest.raises(DataError, match=r"holds an Iceberg table"):
        summed(ice)
    for name in ("a", "_hidden/a"):
        s3.put(f"rules/csv/{name}.csv", EVENTS)
    assert summed(hw.csv("s3://shop/rules/csv/", storage_options=s3.options)) == 15
    for name in ("a", ".b"):
        s3.put(f"rules/json/{name}.jsonl", b'{"user": "a", "x": 5, "at": 1767225600}\n')
    at = pl.from_epoch("at").dt.replace_time_zone("UTC").alias("at")
    assert (
        summed(
            hw.json_lines("s3://shop/rules/json/", storage_options=s3.options),
            select=["user", "x", at],
        )
        == 5
    )


def test_a_replaced_table_is_read_again(tmp_path):
    path = folder(tmp_path / "t", a=EVENTS, b=EVENTS)
    assert summed(hw.parquet(path)) == 30
    folder(tmp_path / "t", b=EVENTS.with_columns(y=1))
    assert summed(hw.parquet(path), features=[hw.sum("y")]) == (4,)
    shutil.rmtree(path)
    folder(tmp_path / "t", a=EVENTS)
    assert summed(hw.parquet(path)) == 15


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
