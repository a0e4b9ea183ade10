"""Keys without a precomputed prediction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from headwater.backtesting.slices import Slice
from headwater.definitions.checks import DAY
from headwater.definitions.level import Level
from headwater.definitions.model import Model, Precomputed
from headwater.kernel.arrays import Bool
from headwater.results.backtest_result import NewKeys
from headwater.training.requests import Requests

NAME = "new keys"


def precomputed_level(model: Model, levels: Mapping[str, Level]) -> tuple[str, Precomputed] | None:
    """The first level with precomputed predictions, and how they are precomputed; None if there is
    none.
    """
    return next(
        (
            (name, precomputed)
            for name, level in levels.items()
            if (precomputed := level.precomputed(model)) is not None
        ),
        None,
    )


def newcomers(precomputed: Precomputed, has_prediction: Bool) -> Slice:
    """The requests without a precomputed prediction: `known` is bool (test rows), whether there was
    one.
    """
    return Slice(
        NAME, f"no precomputed prediction for their {', '.join(precomputed.keys)}", ~has_prediction
    )


def count(precomputed: Precomputed, has_prediction: Bool, test_requests: Requests) -> NewKeys:
    """How many keys are new a day (UTC), over the days of the test.

    A key is new on the first day with a request for it and no precomputed prediction.

    Args:
        made: how predictions are precomputed.
        known: bool (requests), whether there was one.
        asked: the requests of the test.
    """
    new = (
        test_requests.frame.select(precomputed.keys)
        .filter(pl.Series(~has_prediction))
        .unique()
        .height
    )
    days = len(np.unique(test_requests.t // DAY))
    requests = int((~has_prediction).sum())
    return NewKeys(
        precomputed.keys, new / max(days, 1), requests, requests / max(len(test_requests.t), 1)
    )
