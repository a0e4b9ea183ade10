"""An item that is repeated in its group counts once, in training and in metrics of lists, and is
counted as left out.
"""

from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.training.positive_log import model_labels
from headwater.training.resources import Resources

START = datetime(2024, 5, 1, tzinfo=UTC)


def log(lists: int = 200) -> pl.DataFrame:
    random = Random(3)
    rows = [
        {
            "request": n,
            "item": item,
            "asked": START + timedelta(hours=2 * n),
            "chosen": int(item == n % 5),
        }
        for n in range(lists)
        for item in random.sample(range(8), 6)
    ]
    return pl.DataFrame(rows)


def ranker(table, group="request"):
    sold = (
        table.unique(["request", "item"], keep="first", maintain_order=True)
        .filter(pl.col("chosen") == 1)
        .select("item", at=pl.col("asked") + timedelta(hours=1))
    )
    source = hw.Source("sold", history=sold, timestamp_field="at")
    item = hw.FeatureView(
        "item",
        source=source,
        keys=["item"],
        features=[hw.count()],
        windows=["2d"],
        freshness=hw.on_request(),
    )
    labels = hw.Labels(
        "choices", table=table, timestamp_field="asked", label="chosen", known_after="1h"
    )
    return hw.Model(
        "rank",
        features=hw.FeatureService("s", [item]),
        labels=labels,
        task=hw.Ranking(group=group, item="item"),
    )


def ndcg(model):
    evaluation = hw.Evaluation(split=START + timedelta(days=12), metrics=["ndcg@3"], refits=1)
    result = hw.backtest(
        model,
        {"daily": hw.Level(hw.batch("1d")), "live": hw.Level(hw.on_request())},
        evaluation,
        resources=Resources(progress=False),
    )
    return [level.metrics["ndcg@3"].value for level in result.result.levels]


def test_a_repeated_row_changes_no_metric():
    table = log()
    repeated = pl.concat([table, table.filter(pl.col("chosen") == 1), table.head(30)])
    assert ndcg(ranker(repeated)) == ndcg(ranker(table))


def test_the_first_row_in_time_counts_and_the_others_are_counted():
    table = log(20)
    later = table.head(7).with_columns(asked=pl.col("asked") + timedelta(minutes=5))
    rows = model_labels(ranker(pl.concat([later, table])))
    assert rows.left_out["labels: item repeated in its request"] == 7
    assert rows.frame.sort("request", "item").equals(table.sort("request", "item"))
    once = model_labels(ranker(table))
    assert once.left_out == {}
    assert once.frame.equals(table)


def test_different_labels_of_one_item_in_one_list_are_refused():
    table = log(20)
    other = table.head(3).with_columns(chosen=1 - pl.col("chosen"))
    with pytest.raises(
        DataError,
        match=r"labels 'choices': 3 of 120 pairs of 'request' and 'item' have rows with different labels",
    ):
        model_labels(ranker(pl.concat([table, other])))
