"""Training on exactly what was served: the very values, statuses and times, and the outcomes that
were known by then.
"""

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.errors import DataError
from headwater.journal.serving_log_rows import EntryContext
from headwater.training.from_log import NO_OUTCOME, TOO_LATE, FromLog, logged
from tests.journal.conftest import about, at, home, many, micros, model, one, run  # noqa: F401 (fixtures)

LATER = "2024-06-01T00:00Z"
VISITS = "user__visits_1d"


def write(folder, *entries):
    with hw.operations.ServedLog(folder) as log:
        for entry in entries:
            log.put(entry)
    assert log.counts().dropped == {}


def post(folder, *rows, of=None, keys=("user",)):
    posted = hw.operations.Outcomes(folder, (of or model()).labels, keys=keys)
    assert posted.add(list(rows)).refused == ()
    posted.close()


@pytest.mark.slow
def test_a_log_that_is_still_written_is_trained_on(tmp_path):
    with hw.operations.ServedLog(tmp_path) as log:
        log.write([one(of_model(), n) for n in range(4)])
        assert log.flush()
        post(tmp_path, *(outcome(n, n % 2 == 0, 100) for n in range(6)))
        files = FromLog.find(tmp_path, model()).served
        assert [path.suffix for path in files] == [".parquet"], (
            "files that stay as they are, for the manifest"
        )
        log.write([one(of_model(), n) for n in range(4, 6)])
        assert log.flush()
        assert (
            hw.dataset(model(), tmp_path / "rows.parquet", as_of=LATER, from_log=tmp_path).manifest[
                "rows"
            ]
            == 6
        )
    assert hw.operations.served(tmp_path).collect().height == 6


def of_model(made=None, **more):
    made = made or model()
    return EntryContext.for_service(
        "predict", "shop", made.features, model=made.name, **({"version": "1"} | more)
    )


def outcome(number, value, second, **more):
    return {"request_id": f"r{number}", "outcome": value, "known_at": at(second).isoformat()} | more


def test_a_training_set_is_what_was_served_bit_for_bit(tmp_path):
    values = [0.1 + 0.2, None, -0.0, 1e-300, float("nan"), 5e15]
    made = model(features=[hw.mean("pages", name="visits")])
    entries = [
        one(of_model(made), n, (value,), statuses=["present" if value is not None else "empty"])
        for n, value in enumerate(values)
    ]
    write(tmp_path, *reversed(entries))
    post(tmp_path, *(outcome(n, n % 2 == 0, 100 + n) for n in range(6)))
    done = hw.dataset(made, tmp_path / "rows.parquet", as_of=LATER, from_log=tmp_path)
    frame = pl.read_parquet(tmp_path / "rows.parquet")
    assert [repr(v) for v in frame[VISITS].to_list()] == [repr(v) for v in values]
    assert frame[VISITS].dtype == pl.Float64
    assert frame[f"{VISITS}__status"].to_list() == ["present", "empty", *["present"] * 4]
    assert frame["at"].to_list() == [at(n) for n in range(6)]
    assert frame["user"].to_list() == list(range(6))
    assert frame["left"].to_list() == [1.0, 0.0] * 3
    assert frame["headwater_request"].to_list() == [f"r{n}" for n in range(6)]
    assert done.manifest["rows"] == 6
    assert done.manifest["served_by"] == {"1": 6}
    assert done.rows.requests.t.tolist() == [micros(n) for n in range(6)]


def test_a_training_set_from_the_log_is_made_again_to_the_bit(tmp_path):
    write(tmp_path, one(of_model(), 1), one(of_model(), 2))
    post(tmp_path, outcome(1, True, 100), outcome(2, False, 100))
    made = hw.dataset(model(), tmp_path / "rows.parquet", as_of=LATER, from_log=tmp_path)
    write(tmp_path, one(of_model(), 3))  # the log goes on
    post(tmp_path, outcome(1, False, 200), outcome(3, True, 100))
    again = hw.operations.reproduce(model(), made.manifest_path, tmp_path / "again.parquet")
    assert again.manifest["digest"] == made.manifest["digest"]
    assert_frame_equal(
        pl.read_parquet(tmp_path / "again.parquet"),
        pl.read_parquet(tmp_path / "rows.parquet"),
        check_exact=True,
    )
    assert (
        hw.dataset(model(), tmp_path / "new.parquet", as_of=LATER, from_log=tmp_path).manifest[
            "rows"
        ]
        == 3
    )
    assert {
        name.split("/")[0]
        for name in json.loads(made.manifest_path.read_text())["tables"]["serving log"]["files"]
    } == {
        "served",
        "outcomes",
    }
    (path,) = [
        tmp_path / name
        for name in made.manifest["tables"]["serving log"]["files"]
        if name.startswith("served")
    ]
    path.unlink()
    with pytest.raises(DataError, match="serving log: 1 of its files is gone"):
        hw.operations.reproduce(model(), made.manifest_path, tmp_path / "third.parquet")


def test_only_what_was_known_by_then(tmp_path):
    write(tmp_path, *(one(of_model(), n) for n in range(4)))
    post(
        tmp_path,
        outcome(0, True, 100),
        outcome(1, True, 100),
        outcome(1, False, 300),
        outcome(2, True, 500),
    )
    found = {}
    for second in (100, 299, 300, 500):
        got = logged(model(), FromLog.find(tmp_path, model()), micros(second))
        found[second] = dict(
            zip(got.requests.frame["headwater_request"], got.requests.label, strict=True)
        )
        assert got.left_out[NO_OUTCOME] == 4 - len(found[second])
    assert found == {
        100: {"r0": 1, "r1": 1},
        299: {"r0": 1, "r1": 1},
        300: {"r0": 1, "r1": 0},
        500: {"r0": 1, "r1": 0, "r2": 1},
    }
    with pytest.raises(DataError, match="no outcome of the 4 rows served was known by"):
        logged(model(), FromLog.find(tmp_path, model()), micros(99))


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([{"user": 1, "outcome": True}], {"r1": 1, "r3": 1}),
        ([{"user": 1, "timestamp": at(3).isoformat(), "outcome": True}], {"r3": 1}),
        (
            [
                {"user": 1, "outcome": True},
                {"user": 1, "timestamp": at(3).isoformat(), "outcome": False},
            ],
            {"r1": 1, "r3": 0},
        ),
        (
            [{"user": 1, "outcome": True}, {"request_id": "r1", "outcome": False}],
            {"r1": 0, "r3": 1},
        ),
        (
            [
                {"user": 1, "timestamp": at(3).isoformat(), "outcome": True},
                {"request_id": "r3", "outcome": False},
            ],
            {"r3": 0},
        ),
        ([{"user": 9, "outcome": True}, {"request_id": "r2", "outcome": True}], {"r2": 1}),
        (
            [
                {"request_id": "r1", "user": 2, "outcome": True},
                {"request_id": "r2", "outcome": True},
            ],
            {"r2": 1},
        ),
    ],
    ids=[
        "by keys",
        "by keys and time",
        "the more exact",
        "an id first",
        "an id before a time",
        "no one's",
        "an id of another key",
    ],
)
def test_outcomes_find_their_rows(tmp_path, rows, labels):
    of = of_model()
    write(tmp_path, *(one(of, n, request={"user": user}) for n, user in ((1, 1), (2, 2), (3, 1))))
    post(tmp_path, *rows)
    got = logged(model(), FromLog.find(tmp_path, model()), 2**61)
    assert (
        dict(zip(got.requests.frame["headwater_request"], got.requests.label, strict=True))
        == labels
    )


def test_a_request_that_came_after_its_outcome_was_known_is_left_out(tmp_path):
    write(tmp_path, *(one(of_model(), n, request={"user": 1}) for n in (1, 5, 9)))
    post(
        tmp_path,
        {"user": 1, "outcome": True, "known_at": at(5).isoformat()},
        {"user": 1, "outcome": False, "known_at": at(20).isoformat()},
    )
    got = logged(model(), FromLog.find(tmp_path, model()), micros(100))
    assert got.requests.frame["headwater_request"].to_list() == ["r1"]
    assert got.requests.label.to_list() == [0], "corrected"
    assert got.left_out == {TOO_LATE: 2}


def test_rows_of_a_level_are_those_that_were_served_at_it(tmp_path):
    made, daily = model(), hw.Level(hw.batch("1d"))
    fast, slow = (
        of_model(made),
        EntryContext.for_service(
            "predict", "shop", daily.service(made), model="churn", version="1", level="daily"
        ),
    )
    write(tmp_path, one(fast, 1), one(slow, 2), one(slow, 3))
    post(tmp_path, *(outcome(n, True, 100) for n in (1, 2, 3)))
    found = {}
    for name, level in (("all", None), ("daily", daily), ("as defined", hw.Level())):
        hw.dataset(made, tmp_path / "rows.parquet", level=level, as_of=LATER, from_log=tmp_path)
        frame = pl.read_parquet(tmp_path / "rows.parquet")
        found[name] = list(zip(frame["headwater_request"], frame["headwater_level"], strict=True))
        hw.operations.reproduce(
            made, tmp_path / "rows.manifest.json", tmp_path / "again.parquet", level=level
        )
    assert found == {
        "all": [("r1", None), ("r2", "daily"), ("r3", "daily")],
        "daily": [("r2", "daily"), ("r3", "daily")],
        "as defined": [("r1", None)],
    }
    with pytest.raises(DataError, match="made at another level"):
        hw.operations.reproduce(
            made, tmp_path / "rows.manifest.json", tmp_path / "again.parquet", level=daily
        )
