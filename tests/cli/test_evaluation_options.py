"""How a model is judged, from the command line: each option is a field of the project's
evaluation.
"""

import subprocess
import sys
from types import SimpleNamespace

import pytest

import headwater as hw
from headwater.cli.evaluation_options import (
    FLAGS,
    with_options,
)

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
            "assess",
            "own outcome | vists | why | Ada",
            "model 'churn' has nothing of this name; did you mean 'visits'?",
        ),
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


def test_the_project_is_kept_where_no_option_is_given():
    own = hw.Evaluation(metrics=["auc"], blocks="2d", baseline="daily", tune=3, cold_start=2)
    assert judged(own) == own
