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
from headwater.testing.examples import churn
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


def test_a_ranking_has_an_outcome_for_each_candidate(tmp_path):
    views = dict.fromkeys(["user"], "f")
    of = EntryContext(
        "rank",
        "shop",
        "user_v1",
        "churn",
        "1",
        features=(VISITS,),
        views=views,
        request=("user", "item"),
    )
    write(
        tmp_path,
        many(
            of,
            1,
            [[1, 2, 3]],
            request={"user": [4, 4, 4], "item": ["a", "b", "c"]},
            prediction=[0.3, 0.2, 0.1],
        ),
    )
    table = pl.DataFrame({"user": [1], "item": ["a"], "at": [at(0)], "left": [True]})
    made = model(table=table)
    post(
        tmp_path,
        *({"request_id": "r1", "item": item, "outcome": item == "b"} for item in "ab"),
        of=made,
        keys=("user", "item"),
    )
    got = logged(made, FromLog.find(tmp_path, made), 2**61)
    assert list(
        zip(got.requests.frame["item"], got.features[VISITS], got.requests.label, strict=True)
    ) == [("a", 1, 0), ("b", 2, 1)]


def test_versions_that_lack_a_feature_are_left_out_and_said(tmp_path):
    made = model(features=[hw.count(name="visits"), hw.sum("pages", name="pages")])
    old = about([VISITS], version="1")
    write(
        tmp_path,
        one(old, 1, (5,)),
        one(old, 2, (6,)),
        one(of_model(made, version="2"), 3, (7, 1.5)),
    )
    post(tmp_path, *(outcome(n, True, 100) for n in (1, 2, 3)), of=made)
    got = logged(made, FromLog.find(tmp_path, made), micros(1000))
    assert got.left_out == {"served by version 1 without user__pages_1d": 2}
    assert got.features.rows() == [(7, 1.5)]
    assert got.versions == {"2": 1}
    more = model(features=[hw.count(name="visits"), hw.count(name="vists")])
    with pytest.raises(
        DataError, match="1 of its 2 features were never served, such as 'user__vists_1d'"
    ):
        logged(more, FromLog.find(tmp_path, more), micros(1000))


def test_a_model_without_predictions_takes_what_its_service_served(tmp_path):
    made = model(name="new")
    of = EntryContext.for_service("features", "shop", made.features)
    write(tmp_path, one(of, 1, prediction=None, how=None))
    post(tmp_path, outcome(1, True, 100))
    assert logged(made, FromLog.find(tmp_path, made), micros(1000)).features[VISITS].to_list() == [
        3
    ]


def test_an_outcome_made_of_events_is_computed_for_what_was_served(tmp_path):
    clicks = pl.DataFrame({"user": [1, 1, 2], "at": [at(15), at(10 + 3600), at(12)]})
    source = hw.Source("clicks", history=clicks, timestamp_field="at", select=["user"])
    base = model()
    labels = hw.Labels(
        "clicked",
        table=pl.DataFrame({"user": [1], "at": [at(0)]}),
        timestamp_field="at",
        label=hw.outcome(source, hw.count(), keys=["user"], within="1h"),
    )
    made = hw.Model("churn", features=base.features, labels=labels, task="regression")
    write(
        tmp_path,
        one(of_model(), 1, second=10, request={"user": 1}),
        one(of_model(), 2, second=13, request={"user": 2}),
    )
    got = logged(made, FromLog.find(tmp_path, made), micros(3610))
    assert (got.requests.label.to_list(), got.left_out) == ([1.0], {NO_OUTCOME: 1})


@pytest.mark.parametrize(
    ("aggregation", "labels", "left_out"),
    [(hw.count(), [1.0, 0.0], {}), (hw.mean("price"), [3.0], {NO_OUTCOME: 1})],
    ids=str,
)
def test_a_served_row_whose_outcome_is_null_is_left_out(tmp_path, aggregation, labels, left_out):
    clicks = hw.Source(
        "clicks",
        history=pl.DataFrame({"user": [1], "at": [at(15)], "price": [3.0]}),
        timestamp_field="at",
    )
    table = pl.DataFrame({"user": [1], "at": [at(0)]})
    label = hw.outcome(clicks, aggregation, keys=["user"], within="1h")
    clicked = hw.Labels("clicked", table=table, timestamp_field="at", label=label)
    made = hw.Model("churn", features=model().features, labels=clicked, task="regression")
    write(
        tmp_path,
        one(of_model(), 1, second=10, request={"user": 1}),
        one(of_model(), 2, second=13, request={"user": 2}),
    )
    done = hw.dataset(made, tmp_path / "rows.parquet", as_of=LATER, from_log=tmp_path)
    assert (done.rows.frame["clicked"].to_list(), done.manifest["left_out"]) == (labels, left_out)


def test_a_model_is_trained_on_what_was_served(tmp_path):
    write(tmp_path, *(one(of_model(), n, (n % 10,)) for n in range(400)))
    post(tmp_path, *(outcome(n, n % 10 > 4, 1000) for n in range(400)))
    trained = hw.train(model(), as_of=LATER, from_log=tmp_path)
    assert trained.rows == 400
    scores = trained.fitted.score(pl.DataFrame({VISITS: [0, 9]}))
    assert scores[0] < 0.2
    assert scores[1] > 0.8


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


def test_an_answer_without_features_trains_nothing_and_is_said(tmp_path):
    write(
        tmp_path,
        one(of_model(), 1),
        one(of_model().bare, 2, (), prediction=0.1, how="default", moments=[]),
    )
    post(tmp_path, outcome(1, True, 100), outcome(2, True, 100))
    got = logged(model(), FromLog.find(tmp_path, model()), micros(1000))
    assert got.left_out == {"served by version 1 without any feature": 1}
    assert hw.operations.served(tmp_path, model="churn").sort("headwater_at").collect()[
        "headwater_prediction"
    ].to_list() == [0.25, 0.1]


@pytest.mark.parametrize(("label", "posted"), [(["no", "yes"], "yes"), ([1, 2], 2)])
def test_classes_stay_what_they_are(tmp_path, label, posted):
    table = pl.DataFrame({"user": [1, 2], "at": [at(0)] * 2, "left": label})
    made = model(table=table, task="multiclass")
    write(tmp_path, one(of_model(made), 1))
    post(tmp_path, outcome(1, posted, 100), of=made)
    assert logged(made, FromLog.find(tmp_path, made), micros(1000)).requests.label.to_list() == [
        posted
    ]


def test_nothing_served_and_nothing_posted(tmp_path):
    with pytest.raises(DataError, match="no serving log at"):
        FromLog.find(tmp_path, model())
    write(tmp_path, one(of_model(), 1))
    with pytest.raises(DataError, match="no outcome of labels 'leaving' was posted"):
        FromLog.find(tmp_path, model())


@pytest.mark.slow
def test_the_command(tmp_path, run):
    (tmp_path / "features.py").write_text(
        "import headwater as hw\nfrom headwater.testing.examples import churn\nproject = "
        "hw.Project('shop', [churn()])\n"
    )
    made = churn()
    of = EntryContext.for_service("predict", "shop", made.features, model="churn", version="3")
    write(
        tmp_path,
        *(
            one(of, n, (n, 1.5, n, None), statuses=["present", "present", "present", "empty"])
            for n in range(4)
        ),
    )
    post(tmp_path, *(outcome(n, True, 50) for n in range(3)))
    done = run("dataset", "--from-log", tmp_path, "--output", "rows.parquet", "--as-of", LATER)
    assert done.returncode == 0, done.stderr
    assert "3 rows in rows.parquet" in done.stdout
    assert f"left out: 1 {NO_OUTCOME}" in done.stderr
    assert (
        run("dataset", "--reproduce", "rows.manifest.json", "--output", "again.parquet").returncode
        == 0
    )
    assert run("dataset", "--from-log", "--output", "rows.parquet").returncode == 1, (
        "headwater's home has none"
    )
    daily = run(
        "dataset",
        "--from-log",
        tmp_path,
        "--level",
        "daily",
        "--as-of",
        LATER,
        "--output",
        "rows.parquet",
    )
    assert daily.returncode == 1
    assert "left out: 4 served at another level, or as views were defined before" in daily.stderr
