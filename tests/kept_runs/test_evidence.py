"""A backtest and an experiment of one model: the page of each shows what the other found, as kept
runs have it.
"""

import re
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

import headwater as hw
from headwater.cli import main
from headwater.console.console_app import console_app
from headwater.console.console_context import ConsoleContext
from headwater.experiments.experiment_money import ExperimentEvidence
from tests.backtesting.world import LEVELS, model, world
from tests.experiments.analysis_world import World


def backtest():
    """Of a model of the name that the experiment's arms have; hourly features gain over daily ones,
    and instant ones little more.
    """
    how = hw.Evaluation(split="2024-03-20T00:00Z", baseline="daily", min_lift=0.15, resamples=50)
    levels = {name: LEVELS[name] for name in ("daily", "hourly", "instant")}
    return hw.backtest(replace(model(world(flip=0.05)), name="taste"), levels, how)


def experiment(*arms):
    return World(seed=3, users=3_000, effect=0.4, arms=arms)


def words(page):
    """The text of a page, of a table or of Markdown."""
    without_scripts = re.sub(r"<(script|style)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", without_scripts).replace("\\", "").split())


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """A home with a backtest, then an experiment, then the backtest again."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HEADWATER_RUNS", "on")
        patch.setenv("HEADWATER_HOME", str(home))
        patch.delenv("HEADWATER_DATA_DIR", raising=False)
        before = backtest()
        assert before.result.verdict.startswith("Run it hourly")
        assert not before.result.experiments
        yield home, before, experiment("daily", "hourly", "streaming").analyse(home), backtest()


def test_the_decision_page_has_the_recommendation_and_says_which_arm_tests_it(evidence, tmp_path):
    _, before, analysis, _ = evidence
    page = analysis.write_html(tmp_path / "experiment.html").read_text(encoding="utf-8")
    for text in map(words, (page, repr(analysis), analysis.to_markdown(), analysis._repr_html_())):
        assert f"says: {before.result.verdict}" in text
        assert (
            "Arm hourly is one of the arms: this experiment tests hourly and streaming against "
            "daily."
        ) in text


def test_a_backtest_has_the_verdict_of_the_experiment(evidence, tmp_path):
    _, _, analysis, after = evidence
    report = after.write_html(tmp_path / "report.html").read_text(encoding="utf-8")
    summary = after.write_summary(tmp_path / "summary.html").read_text(encoding="utf-8")
    tested = (
        "Experiment fresh (A/B test by user, as of 2026-03-15) tested hourly and streaming "
        "against daily"
    )
    for text in map(words, (report, summary, after.summary(), after._repr_html_())):
        assert f"{tested}: {analysis.result.first_line}" in text
    assert hw.runs(kind="backtest")[0].result.experiments[0].sentence == analysis.result.first_line


def test_pages_of_a_run_that_was_kept_before_the_experiment_have_its_verdict_too(
    evidence, tmp_path, capsys
):
    home, _, analysis, _ = evidence
    first = hw.runs(kind="backtest")[-1]
    assert (
        main(
            [
                "runs",
                "show",
                first.id,
                "--output",
                str(tmp_path / "page.html"),
                "--data-dir",
                str(home),
            ]
        )
        == 0
    ), capsys.readouterr()
    assert analysis.result.first_line in words((tmp_path / "page.html").read_text(encoding="utf-8"))
    context = ConsoleContext(World().project(), home, store=f"lmdb:{tmp_path}/online", models=home)
    client = TestClient(console_app(context, None), base_url="http://127.0.0.1:8330")
    for path in (f"/runs/{first.id}", "/decide?model=taste", ""):
        assert analysis.result.first_line in words(client.get(f"/console{path}").text)
    context.close()


def test_an_experiment_without_the_recommended_level_says_so(evidence, tmp_path):
    _, before, _, _ = evidence
    given = ExperimentEvidence(before.result)
    analysis = experiment("daily", "streaming").analyse(tmp_path / "without", break_even=given)
    assert (
        "No arm serves hourly, so this experiment does not test that recommendation: it tests "
        "streaming against daily."
    ) in words(repr(analysis))


def test_the_arm_of_the_recommended_level_is_compared_with_other_arms(evidence, tmp_path):
    _, before, analysis, _ = evidence
    over = analysis.result.backtest.over["streaming"]
    assert over.low < 0 < over.high
    text = words(repr(analysis)).replace("\u2212", "-")
    assert f"streaming against hourly: orders {100 * over.value:+.1f} % (between " in text
    assert "streaming is not shown to be better than hourly." in text
    names = {"daily": "hourly", "hourly": "each hour"}
    control = experiment("daily", "streaming").analyse(
        tmp_path, break_even=ExperimentEvidence(before.result, names=names)
    )
    assert "Arm daily, which serves hourly, is the control" in words(repr(control))


def test_nothing_is_said_where_nothing_is_kept(tmp_path):
    analysis = experiment("daily", "streaming").analyse(tmp_path)
    assert analysis.result.backtest is None
    assert "The backtest of" not in words(repr(analysis))
