"""No events, no verdict: empty tables, keys that match nothing, times far apart; in every rendering
and from the command line.
"""

import datetime as dt
import html
import io
import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import headwater as hw
from tests.backtesting.audit.planted import moments
from tests.backtesting.world import logistic

N = 3000
RNG = np.random.default_rng(1)
PAID = pl.DataFrame(
    {
        "card": RNG.integers(0, 60, N),
        "amount": RNG.exponential(40, N).round(2),
        "kind": RNG.choice(["shop", "web"], N),
        "at": moments(np.sort(RNG.random(N)) * 30 * 24 * 60),
        "fraud": RNG.random(N) < 0.2,
    }
)
TEXTS = PAID.with_columns(card=pl.format("c{}", "card"))
LEVELS = {"daily": hw.batch("1d"), "live": hw.streaming("2s")}
NEVER = "No verdict: no event of 'paid' counts for any request."


def moved(days):
    return PAID.with_columns(pl.col("at") + dt.timedelta(days=days))


def by_card(history, name="paid", features=(), windows=("1h",), **rules):
    source = hw.Source(
        name, history=history, timestamp_field="at", select=["card", "amount", "kind"], **rules
    )
    features = list(features) or [hw.count(), hw.mean("amount")]
    return hw.FeatureView(
        f"by_{name}",
        source=source,
        keys=["card"],
        features=features,
        windows=windows and list(windows),
        freshness=hw.batch("1d"),
    )


def model(rows, *members):
    outcome = hw.Labels("frauds", table=rows, timestamp_field="at", label="fraud", known_after="5m")
    service = hw.FeatureService("s", [*members, hw.RequestField("amount", float)])
    return hw.Model("fraud", task="binary", features=service, labels=outcome, estimator=logistic())


@pytest.fixture(autouse=True)
def warned():
    """A warning says so too, as in training."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hw.errors.HeadwaterWarning)
        yield


def judged(of, levels=None):
    return hw.backtest(
        of, levels or LEVELS, hw.Evaluation(baseline="daily", resamples=20, min_lift=0.02)
    )


def severities(found):
    return [
        (f.severity, f.subject)
        for f in found.result.audit.findings
        if f.check == "events of requests"
    ]


NOTHING = {
    "an empty table": (PAID, by_card(PAID.clear())),
    "an empty table with a lifetime": (PAID, by_card(PAID.clear(), windows=None)),
    "labels of other years, later": (moved(900), by_card(PAID)),
    "labels of other years, before": (moved(-900), by_card(PAID, windows=None)),
    "keys that match nothing": (PAID, by_card(PAID.with_columns(pl.col("card") + 1000))),
    "strings that match nothing": (
        TEXTS,
        by_card(TEXTS.with_columns(card=pl.col("card").str.to_uppercase())),
    ),
    "known years later": (PAID, by_card(PAID, known_after="900d", windows=None)),
    "counts alone": (PAID, by_card(PAID.clear(), features=[hw.count()])),
    "lists": (
        PAID,
        by_card(PAID.clear(), features=[hw.last_n("kind", k=3), hw.count_distinct("amount")]),
    ),
    "a filter that keeps nothing": (PAID, by_card(PAID, filter=pl.col("amount") < 0)),
}


@pytest.mark.parametrize("case", NOTHING)
def test_without_events_there_is_no_verdict(case):
    rows, view = NOTHING[case]
    found = judged(model(rows, view))
    assert found.result.verdict == NEVER
    assert found.result.recommendation.withheld
    assert severities(found) == [("EMPTY", "paid")]
    (finding,) = found.result.audit.blocking
    assert "have no value for any of the 3,000 requests" in finding.evidence
    assert ("the source has no events" in finding.evidence) == (
        "empty" in case or case in ("counts alone", "lists", "a filter that keeps nothing")
    )
    assert "Compare the keys and times" in finding.remedy


def test_events_that_end_years_before_are_no_news_though_a_lifetime_holds_them():
    found = judged(model(moved(900), by_card(PAID, windows=None)))
    assert (
        found.result.verdict
        == "No verdict: the events of 'paid' end long before the first request."
    )
    assert severities(found) == [("EMPTY", "paid")]


def test_events_that_end_before_the_test_are_no_verdict_or_a_question():
    early = PAID.filter(pl.col("at") < moments([15 * 24 * 60])[0])
    found = judged(model(PAID, by_card(early)))
    assert found.result.verdict == "No verdict: no event of 'paid' counts for any test request."
    long = judged(model(PAID, by_card(early, windows=["60d"])))
    assert severities(long) == [("SUSPECT", "paid")]
    assert not long.result.recommendation.withheld
    late = PAID.filter(pl.col("at") > moments([25 * 24 * 60])[0])
    assert (
        judged(model(PAID, by_card(late))).result.verdict
        == "No verdict: no event of 'paid' counts for any training request."
    )


def test_one_source_of_two_without_any_event_is_a_question_and_both_are_no_verdict():
    found = judged(model(PAID, by_card(PAID), by_card(PAID.clear(), "returned")))
    assert severities(found) == [("SUSPECT", "returned")]
    assert not found.result.recommendation.withheld
    assert "Holds if it is right that no event of 'returned' counts for any request" in " ".join(
        repr(found).split()
    )
    both = judged(model(moved(900), by_card(PAID), by_card(PAID.clear(), "returned")))
    assert (
        both.result.verdict
        == "No verdict: no event of 'paid' or 'returned' counts for any request."
    )


def test_one_source_of_two_that_ends_early_is_a_question():
    early = PAID.filter(pl.col("at") < moments([15 * 24 * 60])[0])
    found = judged(model(PAID, by_card(PAID), by_card(early, "returned")))
    assert severities(found) == [("SUSPECT", "returned")]
    assert not found.result.recommendation.withheld
    assert (
        "Holds if it is right that no event of 'returned' counts for any test request"
        in " ".join(repr(found).split())
    )


def test_rare_events_and_a_static_table_are_honest():
    few = PAID.gather_every(300)
    users = pl.DataFrame(
        {"card": range(60), "amount": RNG.random(60), "kind": "shop", "at": moments([-60 * 24])[0]}
    )
    found = judged(
        model(
            PAID,
            by_card(PAID),
            by_card(few, "returned", windows=["30d"]),
            by_card(users, "cards", [hw.last("amount")], None),
        )
    )
    assert severities(found) == []
    assert severities(judged(model(PAID, by_card(users, "cards", [hw.last("amount")], None)))) == []


def test_a_level_that_reads_nothing_is_asked_nothing():
    found = judged(model(PAID, by_card(PAID.clear())), {"daily": hw.Level(hw.never())})
    assert severities(found) == []
    assert "events of requests" in {check.check for check in found.result.audit.checks_not_run}


def test_every_rendering_says_so_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_RUNS", "on")
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    of = model(moved(900), by_card(PAID))
    found = judged(of)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(found.table())
    page, summary = (
        found.write_html(tmp_path / "report.html"),
        found.write_summary(tmp_path / "summary.html"),
    )
    renderings = {
        "repr": repr(found),
        "table": console.export_text(),
        "page": page.read_text("utf-8"),
        "summary page": summary.read_text("utf-8"),
        "summary": found.summary(),
        "notebook": found._repr_html_(),
        "run": str(hw.runs()[0].record.sentence) + json.dumps(hw.runs()[0].result.to_dict()),
        "JSON": json.dumps(found.to_dict()),
    }
    for name, rendering in renderings.items():
        text = " ".join(html.unescape(rendering).split())
        assert NEVER in text, name
        assert "have no value for any of the 3,000 requests" in text, name
        assert "do not build a stream" not in text, name
    assessed = hw.operations.assess(
        hw.Project("shop", [of], levels=LEVELS),
        backtest=found.to_dict(),
        locations=hw.operations.Locations(data_dir=tmp_path),
    )
    assert assessed.verdict.startswith(NEVER)
    assert "do not build" not in assessed.summary()


@pytest.mark.slow
def test_from_the_command_line_it_is_a_result_as_any_other(tmp_path):
    PAID.write_parquet(tmp_path / "paid.parquet")
    moved(900).write_parquet(tmp_path / "labels.parquet")
    (tmp_path / "features.py").write_text(
        "import headwater as hw\n"
        'source = hw.Source("paid", history=hw.parquet("paid.parquet"), timestamp_field="at", '
        'select=["card", "amount"])\nview = hw.FeatureView("v", source=source, keys=["card"], '
        'features=[hw.count()], windows=["1h"], freshness=hw.batch("1d"))\nlabels = '
        'hw.Labels("frauds", table=hw.parquet("labels.parquet"), timestamp_field="at", '
        'label="fraud", known_after="5m")\nmodel = hw.Model("fraud", task="binary", '
        'features=hw.FeatureService("s", [view]), labels=labels)\nproject = hw.Project("shop", '
        '[model], levels={"daily": hw.batch("1d"), "live": hw.streaming("2s")})\n',
        encoding="utf-8",
    )
    asked = [sys.executable, "-m", "headwater.cli", "backtest", "--yes", "--refits", "0"]
    ran = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert NEVER in " ".join(ran.stdout.split())
    assert "have no value for any of the 3,000 requests" in " ".join(ran.stdout.split())
