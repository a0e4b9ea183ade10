"""Outcomes of served requests from the labels' table: by id, by keys and time, nearly at the same
time, twice, late and not at all.
"""

import polars as pl
import pytest

import headwater as hw
from headwater.backtesting.delivered_rows import ServedAs, delivered_rows
from headwater.definitions.level import AS_DEFINED
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
