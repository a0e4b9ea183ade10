"""Features of history that nearly say the outcome: a question."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from headwater.backtesting.audit import NotRun, strong_features
from headwater.definitions.model import TASKS

TELLTALE = {
    "a number": (
        pl.when("bad").then(pl.col("noise") + 9).otherwise("noise"),
        "AUC 1.000 by itself",
    ),
    "a number that falls": (
        -pl.when("bad").then(pl.col("noise") + 9).otherwise("noise"),
        "AUC 1.000 by itself",
    ),
    "a boolean": (pl.col("bad"), "AUC 1.000 by itself"),
    "a text": (
        pl.when("bad")
        .then(pl.lit("late"))
        .otherwise(pl.concat_str(pl.lit("on time "), pl.col("row") % 3)),
        "AUC 1.000 by itself",
    ),
    "being there": (pl.when("bad").then("noise"), "AUC 1.000 by being there or not"),
}
HONEST = {
    "noise": pl.col("noise"),
    "a hint": pl.when("bad").then(pl.col("noise") + 0.3).otherwise("noise"),
    "a text of its own in every row": pl.concat_str(pl.lit("row "), "row"),
    "one value": pl.col("noise") * 0,
    "nothing": pl.when(pl.col("noise") > 2).then(1.0),
    "a list": pl.concat_list("noise"),
}


def _looked(expression, task="binary", n=1000):
    rng = np.random.default_rng(0)
    y = rng.random(n) < 0.3
    frame = pl.DataFrame({"bad": y, "noise": rng.random(n), "row": range(n)}).select(
        expression.alias("feature")
    )
    return strong_features.check(
        SimpleNamespace(
            training=np.arange(n),
            frame=frame,
            y=y.astype(float),
            model=SimpleNamespace(
                task_type=TASKS[task],
                features=SimpleNamespace(request_fields=(), request_features=()),
            ),
        )
    )


# in regression: the ranks of a number within the outcome's two values do not follow it
RANKED = ("a boolean", "a text", "being there")


@pytest.mark.parametrize(
    ("case", "task"), [*((c, "binary") for c in TELLTALE), *((c, "regression") for c in RANKED)]
)
def test_a_feature_that_nearly_says_the_outcome_is_flagged(case, task):
    expression, says = TELLTALE[case]
    (found,) = _looked(expression, task)
    assert (found.check, found.severity, found.columns) == (
        "strong feature",
        "question",
        ["feature"],
    )
    assert (says if task == "binary" else "rank correlation 1.000") in found.message


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_feature_is_not(case):
    assert _looked(HONEST[case]) == []


def test_a_hundred_rows_are_needed():
    assert isinstance(_looked(TELLTALE["a boolean"][0], n=99), NotRun)
