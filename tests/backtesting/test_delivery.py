"""Promise against delivery: no miss of an honest backtest, a miss of one with a leak that no audit
sees, and few false ones.
"""

import datetime as dt
import json
import math
import shutil
import socket
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

import headwater as hw
from bench.validation.promises import RHOS, missed
from headwater.backtesting.delivery_weeks import allowed, shortfall_of
from headwater.errors import DataError, UsageError
from headwater.journal.fetching import fetch
from headwater.journal.shipping import ship
from headwater.models.promises import delivery_of, promise_of_version
from headwater.models.registry import ModelRegistry
from headwater.results.estimate import Estimate
from headwater.results.promise_result import Promise
from headwater.serving.metrics.delivery_metrics import DeliveryMetrics
from tests.backtesting.delivery_world import LIVE, SERVED, SPLIT, kept, play, project, tables
from tests.cli.conftest import run  # noqa: F401 (a fixture)
from tests.connectors.conftest import s3  # noqa: F401 (a fixture)
from tests.effort import FULL
from tests.journal.conftest import about, many, model, one

ROOT = Path(__file__).resolve().parents[2]
DAY = 86_400_000_000
MATURED = LIVE + dt.timedelta(days=SERVED + 2)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(
    scope="module",
    params=[pytest.param("late", marks=pytest.mark.slow), "early"],
    ids=["honest", "leaking"],
)
def served(request, tmp_path_factory):
    """A model that was backtested, trained with its promise, and served for six weeks; (which
    reviews, folder, project, backtest).
    """
    folder = tmp_path_factory.mktemp(request.param)
    requests, readings, reviews = tables()
    past = [
        frame.filter(pl.col(at) < LIVE)
        for frame, at in ((requests, "known"), (readings, "at"), (reviews[request.param], "at"))
    ]
    bank = project(folder, *past)
    tested = hw.backtest(bank.models[0], bank.named_levels, bank.evaluation)
    kept(bank, folder, tested)
    bank = project(folder, requests, readings, reviews["late"])
    play(bank, requests, folder, free_port())
    return request.param, folder, bank, tested


def watched(served, at=MATURED, **more):
    _, folder, bank, _ = served
    return hw.operations.watch(
        bank.models[0], data_dir=folder, models=folder / "models", at=at, **more
    )


# ---------------------------------------------------------------- the walk through


@pytest.mark.slow
def test_a_leak_that_no_audit_sees_breaks_its_promise_in_production(served):
    which, folder, _, tested = served
    assert tested.result.audit.leaks == []
    assert tested.result.recommendation.level == "live"
    found = watched(served)
    assert found.withdrawn == (which == "early")
    judged = found.result.judged
    assert [week.week for week in judged] == ["2024-05-06", "2024-05-13", "2024-05-20"]
    assert [week.state for week in found.result.weeks[:3]] == ["not judged"] * 3
    assert (
        "a verdict takes 4 weeks with their outcomes, and this is number 3"
        in found.result.weeks[2].reason
    )
    assert {week.with_outcome for week in judged} == {560}
    registry = ModelRegistry(folder / "models")
    assert delivery_of(registry, "risk", "as defined").to_dict() == found.to_dict()
    (metrics,) = [
        list(family.samples)
        for family in DeliveryMetrics(folder / "models", ["risk"]).collect()
        if "withdrawn" in family.name
    ]
    assert [sample.value for sample in metrics] == [float(which == "early")]
    if which == "early":
        assert found.result.since == "2024-05-06"
        assert found.result.first_line.startswith("Withdrawn: production delivers AUC 0.6")
        assert "where the backtest promised 0.9" in found.result.first_line
    else:
        assert found.result.first_line.startswith("No miss shown: production delivers AUC 0.7")
        assert all(week.shortfall.low < 0 < week.shortfall.high for week in judged)


@pytest.mark.slow
def test_each_rendering_carries_the_verdict(served, tmp_path):
    found = watched(served)
    line = found.result.first_line
    assert line in " ".join(repr(found).split())
    assert found.to_markdown().startswith("# " + line.split(":")[0])
    assert found.to_dict()["first_line"] == line
    page = found.write_html(tmp_path / "page.html").read_text()
    assert line.split(":")[0] in page
    assert ("<s>" in page) == found.withdrawn
    assert ("Check first" in found._repr_html_()) == found.withdrawn


def test_the_command_has_an_exit_code(served, run):
    which, folder, _, tested = served
    backtest = folder / "backtest.json"
    backtest.write_text(json.dumps(tested.to_dict()))
    (folder / "features.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\nfrom "
        "tests.backtesting.delivery_world import *\nrequests, readings, reviews = "
        "tables()\nproject = project(Path(__file__).parent, requests, readings, "
        "reviews['late'])\n"
    )
    where = [
        "--project",
        folder / "features.py",
        "--models",
        folder / "models",
        "--data-dir",
        folder,
    ]
    done = run(
        "watch",
        *where,
        "--at",
        MATURED.isoformat(),
        "--output",
        folder / "page.html",
        "--markdown",
        folder / "page.md",
        "--json",
    )
    assert done.returncode == (1 if which == "early" else 0), done.stderr
    assert json.loads(done.stdout)["state"] == (
        "withdrawn" if which == "early" else "no miss shown"
    )
    assert done.stderr == ""  # the alert is in the data, and is said once
    given = run(
        "watch",
        *where,
        "--promise",
        backtest,
        "--promise-level",
        "daily",
        "--at",
        MATURED.isoformat(),
        "--output",
        folder / "p.html",
    )
    assert "is withdrawn" not in given.stdout, (
        "what the daily level promised is less than the live one delivers"
    )
    assert given.returncode == (1 if which == "early" else 0), (
        "the stamps of the leaking source moved too, and the kept promise was missed"
    )
    assert ("Alert: " in given.stdout and "user__count_1h (PSI" in given.stdout) == (
        which == "early"
    )
    promoted = run(
        "models", "promote", "1", *where[:4], "--promise", backtest, "--promise-level", "live"
    )
    assert "promise of live: auc 0." in promoted.stderr
    assert (
        json.loads(run("models", *where[:4], "--json").stdout)["versions"][0]["promise"]["metric"]
        == "auc"
    )
    shown = run("status", *where, "--store", f"lmdb:{folder / 'online'}?size=1GB")
    assert ("Withdrawn" if which == "early" else "No miss shown") in shown.stdout, shown.stderr


def test_weeks_count_only_when_every_outcome_could_be_known(served):
    """Outcomes come an hour after the request; requests before the end of the week and that hour is
    not judged.
    """
    _, _, _, tested = served
    end = dt.datetime(2024, 5, 13, tzinfo=dt.UTC)
    promise = hw.evaluation.promised(tested, "live")
    for at, states in (
        (end + dt.timedelta(minutes=59), ["not judged", "not matured"]),
        (end + dt.timedelta(minutes=61), ["not judged", "no miss shown"]),
    ):
        found = watched(
            served,
            at=at,
            promise=msgspec.structs.replace(promise, promised=Estimate(0.7, 0.6, 0.8)),
        )
        assert [week.state for week in found.result.weeks][2:4] == states
        assert found.result.state == ("too early" if "not matured" in states else "no miss shown")


@pytest.mark.slow
def test_outcomes_that_nobody_posted_are_those_of_the_labels_table(served, tmp_path):
    """The same weeks as with posted outcomes; a few that were posted come first."""
    _, folder, bank, tested = served
    shutil.copytree(folder / "served", tmp_path / "served")
    promise = hw.evaluation.promised(tested, "live")
    posted = watched(served, promise=promise).result
    alone = hw.operations.watch(
        bank.models[0], promise=promise, data_dir=tmp_path, models=folder / "models", at=MATURED
    )
    assert [week.to_dict() for week in alone.result.weeks] == [
        week.to_dict() for week in posted.weeks
    ]
    assert posted.from_table == {}
    assert alone.result.from_table == {"at the same time": SERVED * 80}
    assert (
        f"from the labels' table, by keys and time: {SERVED * 80:,} at the same time."
        in " ".join(alone.to_markdown().split())
    )


@pytest.mark.slow
def test_a_later_backtest_and_an_assessment_read_the_withdrawal(served, tmp_path):
    """It stands first on both pages; the backtest from before it is read with it, and nothing is
    claimed where no registry is.
    """
    which, folder, bank, tested = served
    line = (
        "The recommendation on data until 2024-04-14 was withdrawn: promised AUC 0.901, delivered "
        "0.698 in the weeks from 2024-04-15"
    )
    assert watched(served).withdrawn == (which == "early")
    again = hw.backtest(
        bank.models[0],
        bank.named_levels,
        hw.Evaluation(split=SPLIT, resamples=50, refits=1),
        models=folder / "models",
    )
    places = hw.operations.Locations(models=folder / "models", data_dir=folder)
    assessed = hw.operations.assess(bank, backtest=tested.to_dict(), locations=places)
    pages = [
        again.write_html(tmp_path / "b.html").read_text(),
        assessed.write_html(tmp_path / "a.html").read_text(),
    ]
    for verdict in (
        again.result.verdict,
        assessed.verdict,
        assessed.to_markdown().split("\n")[0].removeprefix("# "),
    ):
        assert verdict.startswith(line) == (which == "early"), verdict
    for page in pages:
        assert (line in page) == (which == "early")
    assert "promise against delivery" in again.result.audit.checks_run
    elsewhere = hw.operations.assess(
        bank,
        backtest=tested.to_dict(),
        locations=hw.operations.Locations(models=tmp_path / "none", data_dir=folder),
    )
    assert elsewhere.verdict == tested.result.verdict or line not in elsewhere.verdict
    assert "promise against delivery" not in str(elsewhere.backtest.audit.to_dict())


@pytest.mark.slow
def test_a_judged_week_stays_as_it_was_judged(served):
    early = watched(served, at=dt.datetime(2024, 5, 14, tzinfo=dt.UTC))
    later = watched(served)
    assert early.result.judged
    assert [week.to_dict() for week in later.result.judged[: len(early.result.judged)]] == [
        week.to_dict() for week in early.result.judged
    ]


def test_a_version_takes_over_the_promise_of_the_same_definitions(served, tmp_path):
    _, folder, bank, tested = served
    registry = ModelRegistry(tmp_path / "models")
    trained = hw.train(bank.models[0], as_of=LIVE)
    first = trained.register(registry)
    assert promise_of_version(first) is None
    with pytest.raises(
        DataError, match="nothing was promised of risk as defined, version 1: keep the backtest"
    ):
        hw.operations.watch(bank.models[0], data_dir=folder, models=tmp_path / "models")
    second = trained.register(registry, promise=hw.evaluation.promised(tested, "live"))
    third = trained.register(registry)
    assert promise_of_version(third).to_dict() == promise_of_version(second).to_dict()
    other = msgspec.structs.replace(hw.evaluation.promised(tested), fingerprint="another")
    with pytest.raises(UsageError, match="was of other definitions"):
        trained.register(registry, promise=other)
    assert len(registry.versions("risk")) == 3, "a refused promise leaves no version behind"


def test_a_level_is_chosen_by_name_by_freshness_or_by_recommendation(served):
    _, _, bank, tested = served
    assert hw.evaluation.promised(tested).level == "live"
    assert hw.evaluation.promised(tested, "daily").level == "daily"
    assert (
        hw.evaluation.promised(tested, describes=hw.Level().describe(bank.models[0])).level
        == "live"
    )
    with pytest.raises(UsageError, match="has no level 'liv'; did you mean 'live'"):
        hw.evaluation.promised(tested, "liv")
    with pytest.raises(UsageError, match="no level as fresh as the one that is served"):
        hw.evaluation.promised(tested, describes="every 5m")
    with pytest.raises(UsageError, match="scores that were made elsewhere"):
        hw.evaluation.promised(msgspec.structs.replace(tested.result, fingerprint=""))


# ---------------------------------------------------------------- other tasks, and rows that cannot be judged


def written(folder, entries, outcomes, of):
    with hw.operations.ServedLog(folder) as log:
        for entry in entries:
            log.put(entry)
    assert log.counts().dropped == {}
    posted = hw.operations.Outcomes(folder, of.labels, keys=())
    assert posted.add(outcomes).refused == ()
    posted.close()


def promise_of(metric, value, *, higher=True, width=0.02, **more):
    given = {"blocks": 30, "unit": "days", "on": "", "margin": 0.005} | more
    return Promise(
        "churn", "live", "", metric, higher, Estimate(value, value - width, value + width), given["margin"], given["blocks"], given["unit"],
        given["on"], "2024-03-01", "2024-04-01", 1000, 86_400.0, "f", "leaving", "Build a stream.",
    )  # fmt: skip


def labelled(dtype, task):
    values = {"text": ["a", "b", "c"], "number": [1.5, 2.5, 3.5], "flag": [True, False, True]}[
        dtype
    ]
    table = pl.DataFrame(
        {"user": [1, 2, 3], "at": [dt.datetime(2024, 5, 1, tzinfo=dt.UTC)] * 3, "left": values}
    )
    return model(task=task, table=table)


def moment(n, per_day=12):
    """Seconds after the first of May, a Wednesday, of request n."""
    return n * 86_400 / per_day


def rows_of(of, predictions, outcomes, folder, *, without=frozenset(), how=None):
    context = about(model=of.name)
    entries = [
        one(
            context,
            n,
            second=moment(n),
            prediction=prediction,
            how="on_request" if how is None else how[n],
        )
        for n, prediction in enumerate(predictions)
    ]
    posted = [
        {
            "request_id": f"r{n}",
            "outcome": outcome,
            "known_at": (
                dt.datetime(2024, 5, 2, tzinfo=dt.UTC) + dt.timedelta(seconds=moment(n))
            ).isoformat(),
        }
        for n, outcome in enumerate(outcomes)
        if n not in without
    ]
    written(folder, entries, posted, of)


N = 12 * 35
AT = "2024-06-10T00:00Z"


def test_a_regression_is_judged_by_its_error(tmp_path):
    rng = np.random.default_rng(1)
    y = rng.normal(size=N)
    of = labelled("number", "regression")
    rows_of(of, y + rng.normal(size=N), y.tolist(), tmp_path)
    kept_, missed = (
        hw.operations.watch(
            of,
            promise=promise_of("mae", value, higher=False),
            data_dir=tmp_path,
            models=tmp_path / "none",
            at=AT,
        )
        for value in (0.8, 0.4)
    )
    assert not kept_.withdrawn
    assert missed.withdrawn
    assert missed.result.judged[-1].shortfall.value > 0.3, (
        "an error that is larger than promised is a shortfall"
    )
    assert kept_.result.versions == ["1"]


def test_classes_are_judged_by_accuracy_and_new_ones_are_counted(tmp_path):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, N)
    right = np.where(rng.random(N) < 0.7, y, (y + 1) % 3)
    scores = np.full((N, 3), 0.2)
    scores[np.arange(N), right] = 0.6
    of = labelled("text", "multiclass")
    names = ["abc"[k] for k in y]
    rows_of(of, scores.tolist(), names, tmp_path)
    found = hw.operations.watch(
        of, promise=promise_of("accuracy", 0.95), data_dir=tmp_path, models=tmp_path / "none", at=AT
    )
    assert found.withdrawn
    assert found.result.judged[-1].delivered.value == pytest.approx(0.7, abs=0.06)


def ranking(tmp_path, posted, *, days=35, items=4):
    """Lists of `items` returned items, two a day, the second one is wanted; (outcomes of a list) by
    `posted`.
    """
    shown = pl.DataFrame(
        {"user": [1], "item": ["a"], "at": [dt.datetime(2024, 5, 1, tzinfo=dt.UTC)], "left": [True]}
    )
    of = model(table=shown, task=hw.Ranking(group="user", item="item"))
    context, outcomes = about(kind="rank", request=("user", "item")), []
    with hw.operations.ServedLog(tmp_path) as log:
        for n in range(2 * days):
            names = [f"i{k}" for k in range(items)]
            request = {"user": [n] * items, "item": names}
            second = moment(n, per_day=2)
            log.put(
                many(
                    context,
                    n,
                    [[1] * items],
                    request=request,
                    prediction=[1.0 - k / 10 for k in range(items)],
                    second=second,
                )
            )
            known = (
                dt.datetime(2024, 5, 2, tzinfo=dt.UTC) + dt.timedelta(seconds=second)
            ).isoformat()
            outcomes += [
                {
                    "request_id": f"r{n}",
                    "item": name,
                    "outcome": float(name == "i1"),
                    "known_at": known,
                }
                for name in names
                if posted(n, name)
            ]
    journal = hw.operations.Outcomes(tmp_path, of.labels, keys=("item",))
    assert journal.add(outcomes).refused == ()
    journal.close()
    return hw.operations.watch(
        of, promise=promise_of("ndcg@10", 0.4), data_dir=tmp_path, models=tmp_path / "none", at=AT
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("posted", "value", "says"),
    [
        (
            lambda n, item: True,
            1 / math.log2(3),
            "14 of 14 lists have an outcome for every returned item",
        ),
        (lambda n, item: n % 2 == 0, 1 / math.log2(3), "7 of 14 lists"),
        (lambda n, item: item == "i1", math.nan, "0 of 14 lists"),
    ],
)
def test_a_ranking_is_shown_and_not_judged(tmp_path, posted, value, says):
    """Its lists are those that the model chose to show, so neither a high nor a low value says
    anything of the promise.
    """
    found = ranking(tmp_path, posted)
    assert (found.result.state, found.withdrawn) == ("not judged", False)
    assert found.result.first_line.startswith(
        "Not judged: churn is a ranking, and the serving log has outcomes of the returned items "
        "only"
    )
    week = found.result.weeks[1]
    assert week.value == pytest.approx(value, nan_ok=True)
    assert says in week.reason
    assert not found.result.judged
    assert "the first ones are chosen more often" in " ".join(found.to_markdown().split())


def test_a_week_with_missing_outcomes_is_not_judged(tmp_path):
    """An application that posts only what went wrong would look worse or better than it is."""
    rng = np.random.default_rng(3)
    y = rng.random(N) < 0.5
    of = labelled("flag", "binary")
    rows_of(of, rng.random(N), y.tolist(), tmp_path, without={n for n in range(N) if not y[n]})
    found = hw.operations.watch(
        of, promise=promise_of("auc", 0.9), data_dir=tmp_path, models=tmp_path / "none", at=AT
    )
    assert found.result.state == "too early"
    assert all(
        "have no outcome" in week.reason
        for week in found.result.weeks
        if week.state == "not judged"
    )


def test_defaults_count_and_are_counted(tmp_path):
    rng = np.random.default_rng(4)
    y = rng.random(N) < 0.5
    of = labelled("flag", "binary")
    rows_of(
        of,
        np.where(rng.random(N) < 0.5, y, 0.5),
        y.tolist(),
        tmp_path,
        how=["default" if n % 4 == 0 else "on_request" for n in range(N)],
    )
    found = hw.operations.watch(
        of, promise=promise_of("auc", 0.7), data_dir=tmp_path, models=tmp_path / "none", at=AT
    )
    assert sum(week.defaults for week in found.result.weeks) == N // 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("promise", "says"),
    [
        (
            promise_of("auc", 0.9, on="on these 2 days"),
            "the backtest's interval holds on these 2 days only",
        ),
        (promise_of("auc", 0.9, width=math.nan), "the backtest's interval holds only"),
    ],
)
def test_an_interval_that_covers_no_other_days_promises_nothing(tmp_path, promise, says):
    rng = np.random.default_rng(5)
    of = labelled("flag", "binary")
    rows_of(of, rng.random(N), (rng.random(N) < 0.5).tolist(), tmp_path)
    found = hw.operations.watch(
        of, promise=promise, data_dir=tmp_path, models=tmp_path / "none", at=AT
    )
    assert found.result.state == "too early"
    assert says in found.result.weeks[-2].reason.replace("  ", " ")


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("recall", "needs a threshold chosen in training"),
        ("cost", "has no costs"),
        ("nothing", "unknown metric 'nothing'"),
    ],
)
def test_a_metric_that_a_log_cannot_show_is_refused(tmp_path, metric, says):
    with pytest.raises(UsageError, match=says):
        hw.operations.watch(
            labelled("flag", "binary"),
            promise=promise_of(metric, 0.9),
            data_dir=tmp_path,
            models=tmp_path / "none",
        )


def test_nothing_served_and_other_levels_are_errors(tmp_path):
    of = labelled("flag", "binary")
    with pytest.raises(DataError, match="no serving log"):
        hw.operations.watch(
            of, promise=promise_of("auc", 0.9), data_dir=tmp_path, models=tmp_path / "none"
        )
    rows_of(of, [0.1, 0.2], [True, False], tmp_path)
    with pytest.raises(
        DataError,
        match=r"none of the 2 served rows is a prediction at .live.; left out: 2 served at another level",
    ):
        hw.operations.watch(
            of, "live", promise=promise_of("auc", 0.9), data_dir=tmp_path, models=tmp_path / "none"
        )
    with pytest.raises(UsageError, match="the promise is of model 'churn', and this is 'other'"):
        hw.operations.watch(model(name="other"), promise=promise_of("auc", 0.9), data_dir=tmp_path)


@pytest.mark.slow
def test_other_blocks_take_more_weeks(tmp_path):
    """Where the backtest resampled weeks, eight of them are needed."""
    rng = np.random.default_rng(6)
    n = 12 * 70
    y = rng.random(n) < 0.5
    of = labelled("flag", "binary")
    rows_of(of, np.where(rng.random(n) < 0.5, y, rng.random(n)), y.tolist(), tmp_path)
    found = hw.operations.watch(
        of,
        promise=promise_of("auc", 0.76, unit="blocks of 7d"),
        data_dir=tmp_path,
        models=tmp_path / "none",
        at="2024-07-20T00:00Z",
    )
    assert len(found.result.judged) == 5
    assert found.result.judged[0].week == "2024-06-10"
    column = hw.operations.watch(
        of,
        promise=promise_of("auc", 0.76, unit="values of 'user'"),
        data_dir=tmp_path,
        models=tmp_path / "none",
        at="2024-07-20T00:00Z",
    )
    assert len(column.result.judged) > 4


# ---------------------------------------------------------------- the rule


def test_all_looks_together_spend_five_per_cent():
    assert sum(allowed(look) for look in range(1, 1_000_000)) == pytest.approx(0.05, abs=1e-5)


def test_the_shortfall_has_the_uncertainty_of_both():
    promise = promise_of("auc", 0.8, width=0.02)
    sure, unsure = (
        shortfall_of(promise, Estimate(0.75, 0.73, 0.77), error, 28) for error in (0.001, 0.03)
    )
    assert sure.estimate.value == unsure.estimate.value == pytest.approx(0.05)
    assert sure.estimate.high - sure.estimate.value == pytest.approx(0.02, rel=0.01)
    assert unsure.estimate.high - unsure.estimate.value > 0.06
    assert sure.p < 0.001 < unsure.p
    assert shortfall_of(promise, Estimate(0.85, 0.8, 0.9), 0.001, 28).p > 0.99, (
        "delivering more is not a miss"
    )


def test_errors_over_days_have_as_many_degrees_of_freedom_as_waves():
    """A t of 2.7 is a miss of the first look with 26 degrees of freedom, and none with the six that
    an error over 28 days has.
    """
    promise = msgspec.structs.replace(promise_of("auc", 0.8, width=0.0001, margin=0.0), freedom=6.0)
    delivered, error = Estimate(0.773, 0.74, 0.8), 0.01
    assert (
        shortfall_of(promise, delivered, error, 27).p
        < allowed(1)
        < shortfall_of(promise, delivered, error, 6).p
    )


def test_the_promised_error_is_read_with_its_own_degrees_of_freedom(served):
    tested = served[3].result
    (live,) = [level for level in tested.levels if level.name == "live"]
    assert hw.evaluation.promised(tested, "live").freedom == live.freedom
    assert 0 < live.freedom < tested.blocks.count - 1, "28 days have six waves"
    wide = msgspec.structs.replace(hw.evaluation.promised(tested, "live"), freedom=1000.0)
    shorts = [
        shortfall_of(p, Estimate(0.5, 0.4, 0.6), 1e-9, 6).estimate
        for p in (hw.evaluation.promised(tested, "live"), wide)
    ]
    assert shorts[0].high - shorts[0].value == pytest.approx(
        live.metrics["auc"].high - live.metrics["auc"].value, rel=1e-3
    )


@pytest.mark.long
@pytest.mark.parametrize("rho", RHOS)
def test_a_kept_promise_is_rarely_withdrawn_and_a_leak_nearly_always(rho):
    """Over half a year; `python -m bench.validation.promises` runs more worlds."""
    found = np.array([missed(seed, rho, 26) for seed in range(20_000, 20_100)]) > 0
    assert found[:, 0].mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)
    assert found[:, 2].mean() >= 0.85
    assert found[:, 3].mean() >= 0.98


# ---------------------------------------------------------------- the logs of machines elsewhere


@pytest.fixture(params=["folder", "s3"] if FULL else ["folder"])
def destination(request, tmp_path, monkeypatch):
    """Where machines ship their logs to, with nothing in it."""
    if request.param == "folder":
        return f"file://{tmp_path}/shared"
    for name, value in request.getfixturevalue("s3").options.items():
        monkeypatch.setenv(name.upper(), value)
    return f"s3://shop/{tmp_path.name}"


@pytest.mark.slow
def test_what_was_fetched_is_watched_like_the_log_of_one_machine(served, destination, tmp_path):
    """Two machines served; on a third one, the weeks, the drift and the verdict are those of a log
    that was never shipped.
    """
    _, folder, bank, _ = served
    days = sorted(path.name for path in (folder / "served").glob("headwater_date=*"))
    for machine in (0, 1):
        for day in days[machine::2]:
            shutil.copytree(folder / "served" / day, tmp_path / f"m{machine}" / "served" / day)
    shutil.copytree(folder / "outcomes", tmp_path / "m0" / "outcomes")
    for machine in ("m0", "m1"):
        assert ship(tmp_path / machine, destination, most=1 << 30).error is None
    fetched = fetch(tmp_path / "together", destination)
    assert fetched.rows == hw.operations.served(folder).select(pl.len()).collect().item()
    model, models = bank.models[0], folder / "models"
    found = hw.operations.watch(model, data_dir=tmp_path / "together", models=models, at=MATURED)
    assert found.to_dict() == watched(served).to_dict()
    assert (
        hw.operations.drift(
            model, data_dir=tmp_path / "together", models=models, at=MATURED
        ).to_dict()
        == hw.operations.drift(model, data_dir=folder, models=models, at=MATURED).to_dict()
    )
