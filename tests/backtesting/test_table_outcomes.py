"""Outcomes of served requests from the labels' table: by id, by keys and time, nearly at the same
time, twice, late and not at all.
"""

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting.delivered_rows import ServedAs, delivered_rows
from headwater.definitions.level import AS_DEFINED
from headwater.errors import DataError
from headwater.training.resources import DEFAULT_RESOURCES
from tests.journal.conftest import about, at, micros, model, one

EARLY, LATE = micros(0), micros(30 * 86_400)


def table(rows, dtype=pl.Int64, known=True):
    """Rows of (user, second, outcome, hours until it is known)."""
    users, seconds, left, hours = zip(*rows, strict=True)
    columns = {
        "user": pl.Series(users, dtype=dtype),
        "at": [at(s) for s in seconds],
        "left": list(left),
    }
    made = pl.DataFrame(columns)
    return (
        made.with_columns(
            known=pl.Series([at(s + 3600 * h) for s, h in zip(seconds, hours, strict=True)])
        )
        if known
        else made
    )


def labelled(rows, *, task="binary", **more):
    made = rows if isinstance(rows, pl.DataFrame) else table(rows)
    return model(task=task, table=made, **({"known_after": None, "known_at_field": "known"} | more))


def log_of(folder, requests, **more):
    """A serving log with one request for each (user, second)."""
    context = about()
    with hw.operations.ServedLog(folder) as log:
        for n, (user, second) in enumerate(requests):
            log.put(
                one(context, n, second=second, request={"user": user}, prediction=0.1 * n, **more)
            )
    assert log.counts().dropped == {}


def read(of, folder, until=LATE):
    return delivered_rows(ServedAs(of, AS_DEFINED, None, until), folder, DEFAULT_RESOURCES)


def test_keys_and_time_find_the_row(tmp_path):
    log_of(tmp_path, [(1, 10), (2, 10), (1, 500)])
    rows = read(
        labelled([(1, 10, True, 1), (2, 10, False, 1), (1, 500, False, 1), (3, 10, True, 1)]),
        tmp_path,
    )
    assert rows.y.tolist() == [1.0, 0.0, 0.0]
    assert dict(rows.from_table) == {"at the same time": 3}


@pytest.mark.parametrize(("shift", "found"), [(0.4, True), (-59.0, True), (61.0, False)])
def test_a_time_at_most_a_minute_apart_is_the_same_request(tmp_path, shift, found):
    log_of(tmp_path, [(1, 100 + shift)])
    rows = read(labelled([(1, 100, True, 1)]), tmp_path)
    assert rows.known.tolist() == [found]
    assert dict(rows.from_table) == (
        {"less than a minute apart": 1} if found else {"without a row": 1}
    )


def test_each_of_two_near_requests_gets_its_own_row(tmp_path):
    log_of(tmp_path, [(1, 100.3), (1, 110.2), (1, 120.4)])
    rows = read(labelled([(1, 100, True, 1), (1, 110, False, 1), (1, 120, True, 1)]), tmp_path)
    assert rows.y.tolist() == [1.0, 0.0, 1.0]


def test_a_request_that_was_served_twice_counts_once(tmp_path):
    log_of(tmp_path, [(1, 100), (1, 103), (2, 100)])
    rows = read(labelled([(1, 100, True, 1), (2, 100, False, 1)]), tmp_path)
    assert rows.y.tolist() == [1.0, 0.0]
    assert rows.left_out["served again within a minute"] == 1


def test_the_row_that_was_known_last_by_then_counts(tmp_path):
    log_of(tmp_path, [(1, 100)])
    of = labelled([(1, 100, False, 1), (1, 100, True, 48)])
    first, last = read(of, tmp_path, micros(86_400)), read(of, tmp_path, micros(3 * 86_400))
    assert (first.y.tolist(), last.y.tolist()) == ([0.0], [1.0])
    assert last.from_table["rows of the table with a later row of the same request"] == 1


def test_what_is_not_known_yet_is_counted(tmp_path):
    log_of(tmp_path, [(1, 100), (2, 200)])
    rows = read(labelled([(1, 100, True, 1), (2, 200, True, 72)]), tmp_path, micros(86_400))
    assert rows.known.tolist() == [True, False]
    assert rows.from_table["with an outcome that was not known yet"] == 1


def test_a_request_after_its_outcome_was_known_is_left_out(tmp_path):
    log_of(tmp_path, [(1, 130), (2, 200)])
    late = pl.DataFrame(
        {
            "user": [1, 2],
            "at": [at(100), at(200)],
            "left": [True, False],
            "known": [at(120), at(300)],
        }
    )
    rows = read(labelled(late), tmp_path)
    assert rows.y.tolist() == [0.0]
    assert rows.left_out["requested after its outcome was known"] == 1


def test_posted_outcomes_come_before_the_table(tmp_path):
    of = labelled([(1, 100, False, 1), (2, 200, True, 1)])
    log_of(tmp_path, [(1, 100), (2, 200)])
    posted = hw.operations.Outcomes(tmp_path, of.labels, keys=())
    posted.add([{"request_id": "r0", "outcome": True, "known_at": at(3700).isoformat()}])
    posted.close()
    rows = read(of, tmp_path)
    assert rows.y.tolist() == [1.0, 1.0]
    assert dict(rows.from_table) == {"at the same time": 1}


def test_an_id_in_the_table_comes_before_times(tmp_path):
    log_of(tmp_path, [(1, 100), (1, 5000)])
    rows = table([(1, 4000, True, 4), (1, 9000, False, 4)]).with_columns(
        headwater_request=pl.Series(["r1", "r0"])
    )
    found = read(labelled(rows), tmp_path)
    assert found.y.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt64, pl.String])
def test_keys_may_be_of_another_dtype(tmp_path, dtype):
    made = table([(1, 100, True, 1)]).with_columns(pl.col("user").cast(dtype))
    log_of(tmp_path, [(1, 100)])
    assert read(labelled(made), tmp_path).y.tolist() == [1.0]


def test_classes_are_strings_and_the_delay_may_be_one_for_all(tmp_path):
    made = table([(n, 100 * n, "abc"[n % 3], 1) for n in range(6)], known=False)
    of = model(task="multiclass", table=made)
    with hw.operations.ServedLog(tmp_path) as log:
        for n in range(6):
            log.put(one(about(), n, second=100 * n, prediction=[0.2, 0.3, 0.5]))
    rows = delivered_rows(
        ServedAs(of, AS_DEFINED, None, LATE, ("a", "b", "c")), tmp_path, DEFAULT_RESOURCES
    )
    assert rows.y.tolist() == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]


def test_nothing_in_the_table_is_said_and_no_table_is_an_error(tmp_path):
    log_of(tmp_path, [(7, 100), (8, 200)])
    rows = read(labelled([(1, 100, True, 1)]), tmp_path)
    assert not rows.known.any()
    assert dict(rows.from_table) == {"without a row": 2}
    with pytest.raises(DataError):
        read(model(table=tmp_path / "absent.parquet"), tmp_path)


def test_keys_of_many_requests_are_told_apart_by_their_fields(tmp_path):
    """Two customers of one machine in the same minute: their amounts decide; without one, neither
    row is guessed.
    """
    of = labelled(
        table([(1, 100, True, 1), (1, 130, False, 1)]).with_columns(amount=pl.Series([5.0, 9.0]))
    )
    fields = hw.FeatureService("user_v1", [*of.features.features, hw.RequestField("amount", float)])
    of = hw.Model("churn", task="binary", features=fields, labels=of.labels)
    context = about(request=("user", "amount"))
    with hw.operations.ServedLog(tmp_path) as log:
        for n, (second, amount) in enumerate([(101, 9.0), (131, 5.0), (133, 7.0)]):
            log.put(one(context, n, second=second, request={"user": 1, "amount": amount}))
    rows = read(of, tmp_path)
    assert rows.known.tolist() == [True, True, False]
    assert rows.y[:2].tolist() == [0.0, 1.0]


def test_every_served_row_of_many_keys_is_found_once(tmp_path):
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.random(400)) * 86_400
    users = rng.integers(0, 20, 400)
    left = rng.random(400) < 0.5
    shift = rng.random(400) * 0.9
    log_of(
        tmp_path, [(int(u), float(s + d)) for u, s, d in zip(users, seconds, shift, strict=True)]
    )
    made = table(
        [(int(u), float(s), bool(b), 1) for u, s, b in zip(users, seconds, left, strict=True)]
    )
    rows = read(labelled(made.sample(fraction=1.0, shuffle=True, seed=1)), tmp_path)
    order = np.argsort(seconds + shift, kind="stable")
    assert rows.known.mean() > 0.98
    assert (rows.y[rows.known] == left[order][rows.known]).mean() > 0.98
