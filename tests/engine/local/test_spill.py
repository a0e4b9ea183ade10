"""History in buckets on disk gives the bits of history in memory, for any buckets, and a run that
was killed goes on.
"""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st

import headwater as hw
from headwater.definitions.feature_service import as_service
from headwater.engine.local import compute, spill
from headwater.engine.local.spill import BucketPlan
from headwater.errors import DataError, HeadwaterWarning, UsageError
from headwater.events.read_events import Notes
from headwater.testing import cases, conformance
from headwater.training.feature_frames import feature_frames
from headwater.training.requests import read_rows

RANDOM = st.randoms(use_true_random=False)
AGGREGATIONS = cases.aggregations()
AMPLE = "100GB"

pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def split(monkeypatch):
    """For any size, split into so many buckets, and hold so many events in memory."""

    def into(count, capacity=1_000_000, everyone=0.7):
        monkeypatch.setattr(spill, "planned", lambda *_: BucketPlan(count, capacity))
        monkeypatch.setattr(spill, "_MOST", everyone)

    return into


def _both(view, rows, **more):
    """The features in memory and in buckets, with the notes of both."""
    found = []
    for memory in (None, AMPLE):
        notes = Notes()
        frames = feature_frames(
            as_service(view),
            read_rows(rows, "timestamp"),
            {"": hw.Level()},
            notes,
            hw.Resources(memory=memory, **more),
        )
        found.append((conformance.bits(frames[""]), notes.left_out))
    return found


# ---------------------------------------------------------------- the same bits


def _world(seed, events=3000, rows=400, *, ids=False):
    """Composite keys of text and number, half of all events of one key; late; ids that stand under
    several keys.
    """
    random = np.random.default_rng(seed)

    def keys(n):
        hot = random.random(n) < 0.5
        return {
            "who": pl.Series(
                np.where(hot, "hot", [f"w{i}" for i in random.integers(0, 40, n)])
            ).set(pl.Series(random.random(n) < 0.02), None),
            "place": pl.Series(np.where(hot, 0, random.integers(0, 5, n))).cast(pl.Int32),
        }

    def moments(n):
        return pl.Series(random.integers(0, 40 * 86_400, n) * 1_000_000).cast(
            pl.Datetime("us", "UTC")
        )

    at = moments(events)
    table = pl.DataFrame(
        {
            **keys(events),
            "at": at.set(pl.Series(random.random(events) < 0.02), None),
            "known": (
                at
                + pl.Series(random.exponential(3e9, events).astype(np.int64)).cast(
                    pl.Duration("us")
                )
            ).set(pl.Series(random.random(events) < 0.02), None),
            "id": random.integers(0, events * 3 // 4, events),
            "amount": random.normal(size=events),
            "word": random.choice(["a", "bb", "a text that is too long for a view", ""], events),
        }
    )
    asked = pl.DataFrame({**keys(rows), "timestamp": moments(rows)}).with_columns(
        pl.col("place").cast(pl.Int64)
    )
    rules = {"id_field": "id", "id_horizon": "100d"} if ids else {}
    return table, asked, rules


def _view(history, keys=("who", "place"), windows=("1d", "7d"), freshness=None, **rules):
    source = hw.Source(
        "events",
        history=history,
        timestamp_field="at",
        select=["who", "place", "amount", "word"],
        **rules,
    )
    features = [
        hw.count(),
        hw.sum("amount"),
        hw.std("amount"),
        hw.max("amount"),
        hw.last_n("word", k=3),
        hw.count_distinct("word"),
    ]
    return hw.FeatureView(
        "view",
        source=source,
        keys=list(keys),
        features=features,
        windows=windows,
        freshness=freshness or hw.on_request(),
    )


# ---------------------------------------------------------------- slices of time


@pytest.mark.parametrize(
    ("windows", "rules"),
    [(["lifetime"], {}), (["1d"], {"known_at_field": "known"})],
    ids=["lifetime", "late"],
)
def test_what_cannot_be_cut_is_said(split, windows, rules):
    table, asked, _ = _world(5)
    split(2, 400)
    with pytest.warns(HeadwaterWarning, match="the budget allows 400"):
        whole, parts = _both(_view(table, windows=windows, **rules), asked)
    assert parts == whole


# ---------------------------------------------------------------- reads


def _days(folder, days=10, *, zone="UTC", unit="us", events=50):
    """A hive of files, a day each, with row groups of ten events; keys grow from day to day."""
    for day in range(days):
        at = pl.Series(
            [
                cases.BASE.replace(hour=0, minute=0)
                + timedelta(days=day, minutes=i * 1440 / events)
                for i in range(events)
            ]
        )
        moments = at.dt.cast_time_unit(unit)
        moments = (
            moments.dt.replace_time_zone(None)
            if zone is None
            else moments.dt.convert_time_zone(zone)
        )
        place = folder / f"date={day:02}"
        place.mkdir(parents=True)
        frame = pl.DataFrame(
            {
                "who": [f"w{i % 7}" for i in range(events)],
                "place": [100 * day + i for i in range(events)],
                "at": moments,
            }
        )
        frame.with_columns(amount=pl.lit(1.5), word=pl.lit("x"), known=pl.col("at")).write_parquet(
            place / "part.parquet", row_group_size=10
        )
    return folder


def _spoil(file):
    """Make every page unreadable, and leave the file's footer as it is."""
    data = bytearray(file.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[4:footer] = b"\xff" * (footer - 4)
    file.write_bytes(data)


@pytest.mark.parametrize("memory", [None, AMPLE])
@pytest.mark.parametrize(
    ("zone", "unit", "rules"),
    [
        ("UTC", "us", {}),
        ("America/New_York", "ns", {}),
        ("UTC", "ms", {"known_at_field": "known"}),
        ("UTC", "us", {"known_at_field": "known", "window_on": "known_at"}),
        (None, "us", {"timezone": "Asia/Tokyo"}),
    ],
    ids=str,
)
def test_files_out_of_reach_are_not_read(tmp_path, split, memory, zone, unit, rules):
    folder = _days(tmp_path / "events", zone=zone, unit=unit)
    asked = pl.DataFrame(
        {
            "who": ["w1", "w2"],
            "timestamp": [cases.BASE + timedelta(days=5), cases.BASE + timedelta(days=5, hours=3)],
        }
    )
    split(2)
    view = _view(hw.parquet(folder), ["who"], ["1d"], **rules)
    before = conformance.bits(hw.get_historical_features(view, asked))
    local_time = pl.col("at").dt.replace_time_zone("Asia/Tokyo") if zone is None else pl.col("at")
    at = pl.read_parquet(folder / "**/*.parquet").with_columns(
        local_time.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    )
    expected = [
        at.filter(
            (pl.col("who") == who) & (pl.col("at") < t) & (pl.col("at") >= t - timedelta(days=1))
        ).height
        for who, t in asked.rows()
    ]
    for day in (0, 1, 2, 8, 9):
        _spoil(folder / f"date={day:02}" / "part.parquet")
    assert (
        conformance.bits(
            hw.get_historical_features(view, asked, resources=hw.Resources(memory=memory))
        )
        == before
    )
    assert before[2] == expected
    assert min(expected) > 0
    _spoil(folder / "date=05" / "part.parquet")
    with pytest.raises(DataError, match="cannot be read"):
        hw.get_historical_features(view, asked, resources=hw.Resources(memory=memory))


@pytest.mark.parametrize("memory", [None, AMPLE])
def test_files_without_a_key_asked_for_are_not_read(tmp_path, split, memory):
    folder = _days(tmp_path / "events")
    asked = pl.DataFrame(
        {"place": [510, 535, None], "timestamp": [cases.BASE + timedelta(days=9)] * 3}
    )
    split(2)
    view = _view(hw.parquet(folder), ["place"], ["30d"])
    for day in (0, 4, 6, 9):
        _spoil(folder / f"date={day:02}" / "part.parquet")
    found = hw.get_historical_features(view, asked, resources=hw.Resources(memory=memory))
    assert found["view__count_30d"].to_list() == [1, 1, 0]


def test_events_of_keys_that_nobody_asks_for_are_not_written(tmp_path, split, monkeypatch):
    folder = _days(tmp_path / "events")
    asked = pl.DataFrame({"who": ["w3"], "timestamp": [cases.BASE + timedelta(days=9)]})
    written = []
    original = compute.answer
    monkeypatch.setattr(
        compute, "answer", lambda *a, **k: written.append(a[1].height) or original(*a, **k)
    )
    split(3)
    hw.get_historical_features(
        _view(hw.parquet(folder), ["who"], ["30d"]), asked, resources=hw.Resources(memory=AMPLE)
    )
    theirs = (
        pl.read_parquet(folder / "**/*.parquet")
        .filter((pl.col("who") == "w3") & (pl.col("at") < asked["timestamp"][0]))
        .height
    )
    assert written == [0, theirs]  # the check of types, and one bucket


def test_rows_without_a_time_are_counted_in_files_that_are_read(tmp_path, split):
    folder = _days(tmp_path / "events")
    file = folder / "date=00" / "part.parquet"
    pl.read_parquet(file).with_columns(
        at=pl.when(pl.col("place") == 3).then(None).otherwise("at")
    ).write_parquet(file)
    asked = pl.DataFrame({"who": ["w1"], "timestamp": [cases.BASE + timedelta(days=5)]})
    split(2)
    whole, parts = _both(_view(hw.parquet(folder), ["who"], ["1d"]), asked)
    assert parts == whole
    assert whole[1] == {"source events: no at": 1}


def test_csv_and_frames_and_nothing(tmp_path, split):
    table, asked, _ = _world(6)
    table.drop_nulls("at").select("who", "place", "at", "amount", "word").write_csv(
        tmp_path / "events.csv", datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ"
    )
    split(3)
    for history in (hw.csv(tmp_path / "events.csv"), table, table.clear()):
        whole, parts = _both(_view(history), asked)
        assert parts == whole


# ---------------------------------------------------------------- how much memory


@pytest.mark.parametrize(
    ("given_", "bytes_"),
    [("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("512mb", 512 * 10**6), (2_000_000, 2_000_000)],
)
def test_sizes(given_, bytes_):
    from headwater.definitions.checks import in_bytes

    assert in_bytes(given_, "memory") == bytes_


@pytest.mark.parametrize("bad", ["4", "GB", "4 gigs", -1, 0, "10KB", True, 1.5, "", "4EB"])
def test_what_is_no_size_is_refused(bad):
    table, asked, _ = _world(0, 10, 10)
    with pytest.raises(UsageError, match="memory is"):
        hw.get_historical_features(_view(table), asked, resources=hw.Resources(memory=bad))


def test_a_history_that_fits_is_not_split(home):
    table, asked, _ = _world(0)
    hw.get_historical_features(_view(table), asked, resources=hw.Resources(memory=AMPLE))
    assert not home.exists()


PEAK = """
import sys
import numpy as np, polars as pl
import headwater as hw
folder, memory = sys.argv[1], int(sys.argv[2])
random = np.random.default_rng(0)
n = 20_000
at = pl.Series(random.integers(0, 30 * 86_400, n) * 1_000_000).cast(pl.Datetime("us", "UTC"))
asked = pl.DataFrame({"user": random.integers(0, 3000, n), "timestamp": at})
def features(history, **more):
    source = hw.Source("events", history=history, timestamp_field="at", select=["user", "amount"])
    made = [hw.count(), hw.sum("amount"), hw.mean("amount"), hw.max("amount")]
    view = hw.FeatureView("user", source=source, keys=["user"], features=made, windows=["1h", "1d"], freshness=hw.on_request())
    return hw.get_historical_features(view, asked, **more)
peak = lambda: 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])  # getrusage begins with the parent's
features(pl.DataFrame({"user": [1], "at": asked["timestamp"][:1], "amount": [1.0]}))  # kernels are loaded
base = peak()
features(hw.parquet(folder), **({"resources": hw.Resources(memory=base + memory)} if memory else {}))
print(peak() - base)
"""


@pytest.mark.slow
def test_the_peak_is_what_was_allowed(tmp_path):
    random = np.random.default_rng(1)
    folder = tmp_path / "events"
    folder.mkdir()
    for part in range(5):
        n = 3_000_000
        at = pl.Series(
            np.sort(random.integers(0, 6 * 86_400, n) + part * 6 * 86_400) * 1_000_000
        ).cast(pl.Datetime("us", "UTC"))
        pl.DataFrame(
            {"user": random.integers(0, 3000, n), "at": at, "amount": random.exponential(size=n)}
        ).write_parquet(folder / f"{part}.parquet")
    allowed = 400_000_000
    grown = {}
    for memory in (0, allowed):
        command = [sys.executable, "-c", PEAK, str(folder), str(memory)]
        grown[memory] = int(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
    assert grown[allowed] < allowed * 1.15
    assert grown[0] > grown[allowed] * 1.3, (
        "fifteen million events fit into what was allowed: the test says nothing"
    )


# ---------------------------------------------------------------- after a kill

KILLED = """
import os, signal, sys
import headwater as hw
from headwater.engine.local import spill as buckets, compute as local
from headwater.engine.local.spill import BucketPlan
from tests_buckets import _view
import polars as pl
where, after = sys.argv[1], int(sys.argv[2])
buckets.planned = lambda *_: BucketPlan(8, 1_000_000)
def dies(original):
    calls = [0]
    def call(*args, **more):
        calls[0] += 1
        if calls[0] > after:
            print("now", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **more)
    return call
if where == "bucket":
    local.answer = dies(local.answer)
elif where == "split":
    original = buckets._up_to
    buckets._up_to = lambda *args: dies(original(args[0], lambda *_: None))
hw.get_historical_features(_view(hw.parquet("events.parquet"), known_at_field="known"), hw.parquet("asked.parquet"), resources=hw.Resources(memory="100GB"))
"""


def _killed(folder, home, where, after):
    (folder / "tests_buckets.py").write_text(
        Path(__file__).read_text(encoding="utf-8"), encoding="utf-8"
    )
    environment = os.environ | {
        "HEADWATER_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED, where, str(after)],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
def stopped(tmp_path, home, monkeypatch, split):
    """A folder with events and rows to ask, and what was left of a run that was killed."""
    monkeypatch.chdir(tmp_path)
    table, asked, _ = _world(7)
    table.write_parquet("events.parquet")
    asked.write_parquet("asked.parquet")
    split(8)

    def kill(where, after):
        _killed(tmp_path, home, where, after)
        return sorted(home.glob("work/*/*/answers/*/*"))

    return kill


def _again(counted, monkeypatch):
    original = compute.answer
    monkeypatch.setattr(compute, "answer", lambda *a, **k: counted.append(1) or original(*a, **k))
    view = _view(hw.parquet("events.parquet"), known_at_field="known")
    found = hw.get_historical_features(
        view, hw.parquet("asked.parquet"), resources=hw.Resources(memory=AMPLE)
    )
    monkeypatch.setattr(compute, "answer", original)
    return conformance.bits(found), conformance.bits(
        hw.get_historical_features(view, hw.parquet("asked.parquet"))
    )


def test_files_that_change_while_they_are_read_are_refused(split, monkeypatch, home):
    table, asked, _ = _world(8)
    split(3)
    states = iter([["before"], ["after"]])
    monkeypatch.setattr(spill, "state", lambda _: next(states))
    with pytest.raises(DataError, match="changed while they were read"):
        hw.get_historical_features(_view(table), asked, resources=hw.Resources(memory=AMPLE))
    assert list((home / "work").iterdir()) == []


@pytest.mark.slow
def test_two_processes_are_not_at_one_work(stopped, home, tmp_path, monkeypatch):
    stopped("bucket", 2)
    (lock,) = home.glob("work/*/lock")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import fcntl, sys, time; f = open(sys.argv[1], 'ab'); fcntl.flock(f, "
                "fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
            ),
            str(lock),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another process computes the same features"):
            _again([], monkeypatch)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    found, whole = _again([], monkeypatch)
    assert found == whole


def test_an_interrupted_run_keeps_what_is_done_and_a_refused_one_does_not(split, monkeypatch, home):
    table, asked, _ = _world(9)
    split(3)

    def fails(error):
        def split_(*_):
            raise error

        monkeypatch.setattr(spill, "split", split_)
        with pytest.raises(type(error)):
            hw.get_historical_features(_view(table), asked, resources=hw.Resources(memory=AMPLE))
        return list(home.glob("work/*"))

    assert fails(KeyboardInterrupt()) != []
    assert fails(DataError("no")) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            pl.exceptions.ComputeError(
                "parquet: underlying IO error: No space left on device (os error 28)"
            ),
            "its disk is full",
        ),
        (OSError(13, "Permission denied"), "permission denied"),
    ],
)
def test_a_work_folder_that_cannot_be_written(split, monkeypatch, home, error, said):
    table, asked, _ = _world(9)
    split(3)

    def split_(*_, **__):
        raise error

    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", split_)
    with pytest.raises(UsageError, match=f"cannot be written: {said}.*HEADWATER_HOME"):
        hw.get_historical_features(_view(table), asked, resources=hw.Resources(memory=AMPLE))


def test_a_home_that_is_a_file(split, home):
    table, asked, _ = _world(9)
    home.write_text("", encoding="utf-8")
    split(3)
    with pytest.raises(UsageError, match="cannot be written"):
        hw.get_historical_features(_view(table), asked, resources=hw.Resources(memory=AMPLE))


def test_progress(split):
    table, asked, _ = _world(10)
    split(3)
    seen = {}
    feature_frames(
        as_service(_view(table, windows=["lifetime"])),
        read_rows(asked, "timestamp"),
        {"": hw.Level()},
        Notes(),
        hw.Resources(
            memory=AMPLE,
            progress=lambda what, done, total: seen.setdefault(what, []).append((done, total)),
        ),
    )
    assert list(seen) == ["reading events", "view"]
    for steps in seen.values():
        assert steps == sorted(steps)
        assert steps[-1][0] > 0
        assert steps[-1][0] <= steps[-1][1]
    assert seen["view"][-1] == (asked.height, asked.height)
