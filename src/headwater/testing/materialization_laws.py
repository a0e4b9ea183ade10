"""What an aggregation must obey where its values are kept: in the records of an online store, cut
by cut.

@pytest.mark.parametrize("seed", range(20))
def test_my_aggregation_in_cuts(seed, tmp_path):
    with closing(open_store(f"lmdb:{tmp_path}")) as store:
        cuts.cuts_are_naive(my_aggregation("real"), Random(seed), store)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import cast

import polars as pl

from headwater.aggregations.reference import as_micros
from headwater.aggregations.table import TABLE
from headwater.definitions.checks import Size
from headwater.definitions.feature_view import Aggregation
from headwater.definitions.freshness import Batch, batch
from headwater.errors import NoEventsWarning, RowsLeftOutWarning
from headwater.jobs.materialize import materialize_view
from headwater.online.view_reader import OnlineView
from headwater.stores import OnlineStore
from headwater.testing.cases import Case, case
from headwater.testing.naive import agree, evaluate
from headwater.testing.naive_time import as_of
from headwater.training.historical import get_historical_features
from headwater.training.resources import Resources

FRESHNESSES: Sequence[Batch] = (
    batch("1h", delay="15m", wait="5m"),
    batch("1m", delay="60s"),
    batch("1m", delay="5m", wait="1us"),
    batch("1d", delay="4h", wait="1h"),
    batch("1d", at="02:30", timezone="America/New_York", delay="10m", wait="1us"),
    batch("1h", timezone="Australia/Lord_Howe", delay="3h", wait="10m"),
)
"""Cuts that are published immediately, late, and later than the next ones are made; by clocks that
change.
"""


_ROWS = 5


def cuts_are_naive(
    aggregation: Aggregation,
    random: Random,
    store: OnlineStore,
    *,
    memories: Sequence[Size | None] = (None,),
) -> None:
    """Every value served of a cut, and its status, is what the naive reference says, and what
    training computes.

    Args:
        aggregation: over the columns of `cases.SCHEMA`.
        random: where the case is drawn from: late and corrected events, copies, times at every
            edge.
        store: an online store; its contents stay.
        memories: memory limits, one for each run; work on disk lies in headwater's home.

    Raises:
        AssertionError: the first value that differs, with both and the case.
    """
    drawn = case(random, [aggregation])
    freshness = random.choice(FRESHNESSES)
    renamed = replace(
        drawn, view=replace(drawn.view, name=f"view{random.randrange(2**60)}", freshness=freshness)
    )
    answers = evaluate(renamed.view, renamed.events, renamed.rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RowsLeftOutWarning)  # some events have no time on purpose
        warnings.simplefilter("ignore", NoEventsWarning)  # and some rows ask before any event
        trained = get_historical_features(renamed.readable(), renamed.asked, statuses=True)
    online = OnlineView(renamed.readable(), store)
    for row in sorted(
        range(len(renamed.rows)), key=lambda i: cast("float", renamed.rows[i]["timestamp"])
    )[:_ROWS]:
        t = as_micros(renamed.rows[row]["timestamp"])  # type: ignore[arg-type]
        T, K = cast("tuple[int, int]", as_of(freshness, t))
        for moment in [
            random.choice([K - 1, K - 3_600_000_000]),
            random.choice([K, (K + t) // 2, t]),
            t,
        ][random.randrange(2) :]:
            materialize_view(
                online.view, store, moment, resources=Resources(memory=random.choice(memories))
            )
        keys = pl.DataFrame({"key": [renamed.rows[row]["key"]]}, schema={"key": pl.Int64})
        served = online.read(keys, t)
        assert (served.read_version.T, served.read_version.K, served.read_version.stale) == (
            T,
            K,
            False,
        ), f"{served} is served, not ({T}, {K}); {renamed}"
        for name, values, statuses in zip(
            renamed.view.feature_names, served.features, served.statuses, strict=True
        ):
            answer, value, status = answers[row][name], values.to_list()[0], statuses[0]
            _same(renamed, name, answer.status, status)
            _same(renamed, name, trained[f"{name}__status"][row], status)
            if not agree(answer, value, squared=TABLE[aggregation.function].squared):
                raise AssertionError(
                    f"{name} of row {row} is served as {value!r}, and should be {answer}; {renamed}"
                )


def _same(drawn: Case, name: str, expected: object, served: object) -> None:
    if served != expected:
        raise AssertionError(f"{name} is served as {served!r}, and should be {expected!r}; {drawn}")
