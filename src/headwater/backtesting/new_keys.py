"""Who is new to predictions that are made ahead, and what the two transitions give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from headwater.backtesting.slices import Slice
from headwater.definitions.durations import DAY
from headwater.definitions.level import Level
from headwater.definitions.model import Model, Precomputed
from headwater.kernel.arrays import Bool
from headwater.results.backtest_result import LevelResult, NewKeys, SliceResult, Transition
from headwater.training.requests import Requests

NAME = "new keys"


def ahead(model: Model, levels: Mapping[str, Level]) -> tuple[str, Precomputed] | None:
    """The first level whose predictions are made ahead, and how; None where there is none."""
    return next(((name, made) for name, level in levels.items() if (made := level.scoring(model)) is not None), None)


def newcomers(made: Precomputed, known: Bool) -> Slice:
    """The requests that nothing was made ahead for: `known` is bool (test rows), whether there was."""
    return Slice(NAME, f"nothing was made ahead for their {', '.join(made.keys)}", ~known)


def count(made: Precomputed, known: Bool, asked: Requests) -> NewKeys:
    """How many keys are new a day (UTC), over the days of the test.

    A key is new on the first day on which it asks and nothing was made ahead for it.

    Args:
        made: how predictions are made ahead.
        known: bool (requests), whether there was one.
        asked: the requests of the test.
    """
    new = asked.frame.select(made.keys).filter(pl.Series(~known)).unique().height
    days = len(np.unique(asked.t // DAY))
    requests = int((~known).sum())
    return NewKeys(made.keys, new / max(days, 1), requests, requests / max(len(asked.t), 1))


def steps(model: Model, levels: Mapping[str, Level], everything: Sequence[LevelResult], slices: Sequence[SliceResult]) -> list[Transition]:
    """The steps of the two transitions among neighbouring levels, where there is a level with predictions made ahead."""
    fresh = next((part for part in slices if part.name == NAME), None)
    overall = {level.name: level.coverage for level in everything}
    of_new = {level.name: level.coverage for level in fresh.levels} if fresh else {}
    found: list[Transition] = []
    for from_, to in pairwise(levels):
        before, after = levels[from_].scoring(model), levels[to].scoring(model)
        if after is not None or (before is None and not found):
            continue
        both = [(cover.get(from_, float("nan")), cover.get(to, float("nan"))) for cover in (overall, of_new)]
        found.append(Transition(1 if before is not None else 2, from_, to, *both))
    return found
