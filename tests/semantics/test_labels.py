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


@pytest.mark.parametrize(
    ("aggregation", "values"),
    [
        (hw.count(), [2.0, 0.0, 0.0]),
        (hw.sum("x"), [3.0, 0.0, 0.0]),
        (hw.max("x"), [2.0]),
        (hw.first("x"), [1.0]),
        (hw.mean("x"), [1.5]),
    ],
    ids=lambda a: a.function if hasattr(a, "function") else "",
)
def test_a_request_without_an_outcome_has_the_empty_value_and_is_left_out_if_that_is_null(
    aggregation, values
):
    found, left_out = _outcomes(_labels([NOON, NOON + MICROSECOND], aggregation, keys=(1, 2, None)))
    assert found == values
    assert left_out == ({} if len(values) == 3 else {"labels: no clicked": 2})


def test_rows_without_a_label_are_left_out_and_counted():
    nan, inf = float("nan"), float("inf")
    times = [NOON, NOON, None, NOON, NOON, NOON]
    table = pl.DataFrame(
        {
            "asked": times,
            "y": [1.0, None, 1.0, nan, inf, 0.0],
            "known": [NOON, NOON, NOON, NOON, NOON, None],
        }
    )
    labels = hw.Labels(
        "y_label", table=table, timestamp_field="asked", label="y", known_at_field="known"
    )
    found, left_out = _outcomes(labels, "y")
    assert found == [1.0]
    assert left_out == {
        "labels: no asked": 1,
        "labels: no y": 3,
        "labels: no known, so never known": 1,
    }


K = NOON - timedelta(seconds=10)


@pytest.mark.parametrize("other", [None, "in order", "late"])
@pytest.mark.parametrize(
    "rules",
    [{"known_at_field": "known"}, {"known_at_field": "known", "id_field": "id"}],
    ids=["", "ids"],
)
def test_moving_an_outcome_past_k_changes_no_feature(rules, other):
    """What a row's features say must not depend on anything known after K: neither that it is
    there, nor what it says.
    """
    fixed = {
        None: [],
        "in order": [
            (NOON - timedelta(minutes=m), NOON - timedelta(minutes=m), 1.0, m) for m in (5, 4, 3)
        ],
        "late": [
            (NOON - timedelta(minutes=m), NOON - timedelta(minutes=9 - m), 1.0, m)
            for m in (6, 5, 4, 3)
        ],
    }[other]
    seen = {}
    for name, moved in {
        "absent": [],
        "after K": [(NOON - timedelta(minutes=1), K + MICROSECOND, 100.0, 99)],
        "much later": [(NOON - timedelta(minutes=1), K + timedelta(days=9), -5.0, 99)],
        "a copy of another": [(NOON - timedelta(minutes=1), K + MICROSECOND, 100.0, 4)],
        "at K": [(NOON - timedelta(minutes=1), K, 100.0, 99)],
    }.items():
        history = pl.DataFrame(
            [*fixed, *moved],
            schema={
                "at": pl.Datetime("us", "UTC"),
                "known": pl.Datetime("us", "UTC"),
                "x": pl.Float64,
                "id": pl.Int64,
            },
            orient="row",
        ).with_columns(key=1)
        features = [
            hw.count(),
            hw.sum("x"),
            hw.max("x"),
            hw.last("x"),
            hw.latest("x"),
            hw.since_last(),
            hw.std("x"),
        ]
        source = hw.Source(
            "events", history=history, timestamp_field="at", select=["key", "x"], **rules
        )
        view = hw.FeatureView(
            "view",
            source=source,
            keys=["key"],
            features=features,
            windows=["10m", "lifetime"],
            freshness=hw.streaming("10s"),
        )
        seen[name] = (
            hw.get_historical_features(view, pl.DataFrame({"key": [1], "timestamp": [NOON]}))
            .select(view.feature_names)
            .row(0)
        )
    assert seen["absent"] == seen["after K"] == seen["much later"] == seen["a copy of another"]
    assert seen["at K"] != seen["absent"]
