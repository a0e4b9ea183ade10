"""How a model is judged, from the command line: each option is a field of the project's
evaluation.
"""

import subprocess
import sys
from types import SimpleNamespace

import pytest

import headwater as hw
from headwater.backtesting.experiment_rows import judged_by
from headwater.cli.evaluation_options import (
    FLAGS,
    check_metrics,
    parse_costs,
    parse_value,
    with_options,
)
from headwater.errors import UsageError
from headwater.metrics import resolve
from headwater.testing.examples import churn

TWO_MODELS = """
import headwater as hw
from headwater.testing.examples import churn

model = churn()
second = hw.Model("churn_2", task=model.task, features=model.features, labels=model.labels)
project = hw.Project("shop", [model, second])
"""
NAMES = ["split", "min_lift", "seeds", "seed", *(flag.name for flag in FLAGS)]


def judged(evaluation=None, **given):
    return with_options(
        evaluation or hw.Evaluation(), SimpleNamespace(**{**dict.fromkeys(NAMES), **given})
    )


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        (
            {"metrics": "average_precision, precision@1%"},
            "metrics",
            ["average_precision", "precision@1%"],
        ),
        ({"headline": "average_precision"}, "headline", "average_precision"),
        (
            {"costs": "false_positive=5,false_negative=amount"},
            "costs",
            {"false_positive": 5.0, "false_negative": "amount"},
        ),
        ({"tune": 12}, "tune", 12),
        ({"blocks": "7d"}, "blocks", "7d"),
        ({"cold_start": 3}, "cold_start", 3),
        (
            {"acknowledge": ["a | b | c | d"]},
            "acknowledged",
            [hw.evaluation.Acknowledgement("a", "b", "c", "d")],
        ),
        ({"baseline": "daily"}, "baseline", "daily"),
        ({"baseline": "nothing"}, "baseline", None),
    ],
)
def test_each_option_is_a_field(given, field, value):
    assert getattr(judged(hw.Evaluation(baseline="hourly"), **given), field) == value


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("auk", "unknown metric 'auk'; did you mean 'auc'?"),
        ("auc,ndgc@10", "unknown metric 'ndgc@10'; did you mean 'ndcg@10'?"),
        ("", "unknown metric ''"),
    ],
)
def test_an_unknown_metric_is_named_before_a_model_is_chosen(metrics, message):
    with pytest.raises(UsageError) as refused:
        check_metrics(SimpleNamespace(metrics=metrics))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [("auk", "unknown metric 'auk'; did you mean 'auc'?"), ("auc", "churn, churn_2")],
)
def test_the_metric_comes_before_the_models_of_a_project(metrics, message, tmp_path):
    (tmp_path / "features.py").write_text(TWO_MODELS, encoding="utf-8")
    asked = [
        sys.executable,
        "-m",
        "headwater.cli",
        "backtest",
        "--project",
        "features.py",
        "--metrics",
        metrics,
    ]
    ran = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert message in " ".join(ran.stderr.split())


OTHER_SOURCE = """
import dataclasses
import headwater as hw
from headwater.testing.examples import churn

model = churn()
view = model.features.views[0]
other = dataclasses.replace(view, name="caller", source=dataclasses.replace(view.source, name="calls"))
second = hw.Model("churn_2", task=model.task, features=hw.FeatureService("s", [other]), labels=model.labels)
project = hw.Project("shop", [model, second])
"""


def backtested(folder, project, *arguments):
    (folder / "features.py").write_text(project, encoding="utf-8")
    asked = [
        sys.executable,
        "-m",
        "headwater.cli",
        "backtest",
        "--model",
        "churn",
        "--yes",
        "--refits",
        "0",
        *arguments,
    ]
    ran = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    return ran.returncode, " ".join((ran.stdout + ran.stderr).split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "answer", "says"),
    [
        (
            "backtest",
            "own outcomes | visits | why | Ada",
            "no check has this name; did you mean 'own outcome'?",
        ),
        (
            "backtest",
            "own outcome | vists | why | Ada",
            "model 'churn' has nothing of this name; did you mean 'visits'?",
        ),
        (
            "backtest",
            "own outcome | calls | why | Ada",
            "model 'churn' has nothing of this name; known: ",
        ),
        (
            "backtest",
            "promise against delivery | chrun | why | Ada",
            "a withdrawal is named like 'churn, week of 2024-06-03'",
        ),
        (
            "assess",
            "own outcome | vists | why | Ada",
            "model 'churn' has nothing of this name; did you mean 'visits'?",
        ),
        ("backtest", "own outcome | visits | Ada", "give 'CHECK | SUBJECT | REASON | AUTHOR'"),
    ],
)
def test_a_wrong_acknowledgement_is_refused_before_the_run(verb, answer, says, tmp_path):
    (tmp_path / "features.py").write_text(OTHER_SOURCE, encoding="utf-8")
    asked = [
        sys.executable,
        "-m",
        "headwater.cli",
        verb,
        "--model",
        "churn",
        "--yes",
        "--acknowledge",
        answer,
    ]
    ran = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert says in " ".join(ran.stderr.split())
    assert not {file.name for file in tmp_path.iterdir()} & {"report.html", "assess.html"}


@pytest.mark.slow
def test_an_acknowledgement_of_the_project_may_be_of_its_other_model(tmp_path):
    known = (
        'evaluation=hw.Evaluation(acknowledged=[hw.evaluation.Acknowledgement("own outcome", '
        '"{}", "booked before", "Ada")])'
    )
    code, said = backtested(
        tmp_path,
        OTHER_SOURCE.replace("[model, second]", f"[model, second], {known.format('calls')}"),
    )
    assert (code, "calls" in said) == (0, False)
    code, said = backtested(
        tmp_path,
        OTHER_SOURCE.replace("[model, second]", f"[model, second], {known.format('cals')}"),
    )
    assert code == 2
    assert "acknowledged 'own outcome' of 'cals': model 'churn' has nothing of this name" in said


@pytest.mark.slow
def test_an_acknowledgement_of_the_command_line_answers(tmp_path):
    code, said = backtested(
        tmp_path,
        TWO_MODELS,
        "--acknowledge",
        "label rows | visits | pages are known immediately | Ada",
    )
    assert code == 0, said
    assert "matches no finding" in said or "Ada: pages are known immediately" in said


def test_metrics_of_any_task_are_known_before_a_model_is_chosen():
    check_metrics(SimpleNamespace(metrics="auc, mae,ndcg@7,precision@1%,AP,pinball@0.9"))
    check_metrics(SimpleNamespace(metrics=None))


def test_the_project_is_kept_where_no_option_is_given():
    own = hw.Evaluation(metrics=["auc"], blocks="2d", baseline="daily", tune=3, cold_start=2)
    assert judged(own) == own


def test_the_worth_of_a_decision_is_read():
    value = parse_value("volume=10000,acted_on=0.02,hit=100,false_alarm=5,late=0.01")
    # 200 acted on x 105 x 0.1 x 0.99
    assert (value.metric, round(value.of_gain(0.1))) == ("precision@2%", 2079)
    assert judged(value="volume=100,acted_on=0.1,hit=3").value == hw.DecisionValue(100.0, 0.1, 3.0)


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_value, "volume=100,hit=3", "acted_on is lacking"),
        (parse_value, "volume=100,acted=3", "did you mean 'acted_on'"),
        (parse_value, "volume=many,acted_on=0.1,hit=1", "give a number"),
        (parse_value, "volume=100,acted_on=3,hit=1", "give a share above 0"),
        (parse_value, "volume", "is not NAME=VALUE"),
        (parse_costs, "false_postive=5", "did you mean 'false_positive'"),
    ],
)
def test_what_cannot_be_is_refused(parse, text, words):
    with pytest.raises(UsageError, match=words):
        parse(text)


@pytest.mark.parametrize("name", ["average_precision", "average precision", "AP"])
def test_average_precision_goes_by_name(name):
    assert resolve([name], "binary")[0].name == "average_precision"


def test_the_headline_is_the_one_that_was_named():
    model = churn()
    assert judged_by(model, hw.Evaluation()).headline.name == "auc"
    assert (
        judged_by(model, hw.Evaluation(headline="average_precision")).headline.name
        == "average_precision"
    )
    assert (
        judged_by(model, hw.Evaluation(metrics=["auc"], headline="AP")).metrics[0].name
        == "average_precision"
    )
    value = hw.DecisionValue(1_000, 0.05, 10)
    assert judged_by(model, hw.Evaluation(value=value)).headline.name == "precision@5%"
