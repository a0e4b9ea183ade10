"""What follows a request: outcomes in [t, t + within), when they are known, and what moving one can
change.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HALF_HOUR = timedelta(minutes=30)


NOBODY = pl.DataFrame({"at": [NOON]})
NEVER = hw.FeatureView(
    "never",
    source=hw.Source("nobody", history=NOBODY, timestamp_field="at"),
    keys=[],
    features=[hw.count()],
    freshness=hw.never(),
)


def _outcomes(labels, name="clicked"):
    """The outcomes of the rows that have one, and which rows are left out."""
    found = hw.get_historical_features(NEVER, labels)
    return found[name].to_list(), found.left_out


def _labels(events, aggregation, keys=(1,), **rules):
    history = pl.DataFrame(
        {
            "key": [1] * len(events),
            "x": [float(i + 1) for i in range(len(events))],
            **_columns(events),
        }
    )
    source = hw.Source("clicks", history=history, timestamp_field="at", **rules)
    table = pl.DataFrame({"key": pl.Series(keys, dtype=pl.Int64), "asked": [NOON] * len(keys)})
    return hw.Labels(
        "clicked",
        table=table,
        timestamp_field="asked",
        label=hw.outcome(source, aggregation, keys=["key"], within="30m"),
    )


def _columns(events):
    if events and isinstance(events[0], tuple):
        return {"at": [e[0] for e in events], "known": [e[1] for e in events]}
    return {"at": pl.Series(events, dtype=pl.Datetime("us", "UTC"))}


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        (-MICROSECOND, False),
        (timedelta(0), True),
        (MICROSECOND, True),
        (HALF_HOUR - MICROSECOND, True),
        (HALF_HOUR, False),
    ],
    ids=str,
)
def test_an_outcome_counts_from_t_to_before_the_horizon(after, counts):
    assert _outcomes(_labels([NOON + after], hw.count()))[0] == [float(counts)]


def test_the_window_of_an_outcome_has_no_hop():
    """An hour and seven minutes from 7 s past noon: not on any grid."""
    at = [NOON + timedelta(seconds=s) for s in (6, 7, 67 * 60 + 6, 67 * 60 + 7)]
    table = pl.DataFrame({"key": [1], "asked": [NOON + timedelta(seconds=7)]})
    clicks = hw.Source("clicks", history=pl.DataFrame({"key": 1, "at": at}), timestamp_field="at")
    labels = hw.Labels(
        "clicked",
        table=table,
        timestamp_field="asked",
        label=hw.outcome(clicks, hw.count(), keys=["key"], within="67m"),
    )
    assert _outcomes(labels)[0] == [2.0]


@pytest.mark.parametrize(("known", "counts"), [(HALF_HOUR, True), (HALF_HOUR + MICROSECOND, False)])
def test_an_outcome_known_after_the_horizon_does_not_count(known, counts):
    labels = _labels([(NOON, NOON + known)], hw.count(), known_at_field="known")
    assert _outcomes(labels)[0] == [float(counts)]
