"""Rows whose features an engine computes where they are."""

import numpy as np
import polars as pl

import headwater as hw
from headwater.kernel.as_of import NEVER, as_of
from headwater.training.replayed_rows import ends_of
from headwater.training.requests import ASKED_AT


def test_t_and_k_of_all_rows_are_between_those_of_the_ends():
    """At measured ages, those of a later row may be the earlier ones."""
    way = hw.measured(["0s", "3h", None, "20s"], cuts=["0s", "2h", "0s", "10s"])
    t = np.arange(1_000) * 60_000_000 + 10**15
    ends = ends_of(pl.DataFrame({ASKED_AT: t}), [way])[ASKED_AT].to_numpy()
    assert len(ends) <= 5
    for every, some in zip(as_of(way, t), as_of(way, ends), strict=True):
        assert every.max() == some.max()
    assert min(T for T in as_of(way, t)[0] if T > NEVER) == min(
        T for T in as_of(way, ends)[0] if T > NEVER
    )
