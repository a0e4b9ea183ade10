"""Corrections and deletions: what an image takes back counts no longer from its known time on, to
the microsecond.
"""

import itertools
from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl
import pytest

import headwater as hw
from headwater.testing import cases, conformance

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
RULES = {"id_field": "id", "changes": "before"}


def after(known, x, at=-MINUTE, **more):
    """The image after a change, or of a new event."""
    return {"id": 7, "at": at, "known": known, "x": x, "before": False, **more}


def before(known, x=None, at=-MINUTE, **more):
    """The image before a change."""
    return {"id": 7, "at": at, "known": known, "x": x, "before": True, **more}


def changed(planted, images, asked, feature=None, **more):
    feature = hw.sum("x") if feature is None else feature
    return planted(feature, images, asked, **({"schema": {"x": pl.Int64}} | RULES | more))


# ---------------------------------------------------------------- when a version counts


@pytest.mark.parametrize(
    ("images", "values"),
    [
        # asked at 9, 10, 19, 20, 21: K is the time asked
        ([after(10, 3)], [0, 3, 3, 3, 3]),
        ([after(10, 3), before(20, 3)], [0, 3, 3, 0, 0]),
        ([after(10, 3), before(20, 3), after(20, 5)], [0, 3, 3, 5, 5]),
        ([after(10, 3), after(20, 5)], [0, 3, 3, 5, 5]),
        ([after(10, 3), before(20, 3), after(21, 5)], [0, 3, 3, 0, 5]),
        ([after(10, 3), before(20)], [0, 3, 3, 0, 0]),
        ([after(10, 3), before(20, 99, at=-DAY)], [0, 3, 3, 0, 0]),
    ],
    ids=[
        "stated",
        "deleted",
        "corrected",
        "stated again",
        "gone for a short time",
        "no values before",
        "other values before",
    ],
)
def test_a_version_counts_from_its_known_time_to_before_it_is_gone(planted, images, values):
    for order in itertools.permutations(images):
        assert changed(planted, list(order), [9, 10, 19, 20, 21]) == values


def test_a_deleted_event_comes_back_under_its_id(planted):
    images = [after(10, 3), before(20, 3), after(30, 3), before(40, 3), after(50, 4)]
    assert changed(planted, images, [15, 25, 30, 39, 40, 50]) == [3, 0, 3, 3, 0, 4]


def test_a_correction_known_between_two_requests_changes_the_second_alone(planted):
    asked = [20 * SECOND - 1, 20 * SECOND, 20 * SECOND]
    assert changed(
        planted, [after(0, 3), after(10 * SECOND, 5)], asked, freshness=hw.streaming("10s")
    ) == [3, 5, 5]


@pytest.mark.parametrize(("known", "values"), [(10 * MINUTE, [5, 5]), (10 * MINUTE + 1, [3, 5])])
def test_a_cut_counts_the_corrections_that_it_waited_for(planted, known, values):
    """T is the cut at 0 and then at an hour; K ten minutes later."""
    freshness = hw.batch("1h", delay="30m", wait="10m")
    images = [
        after(-20 * MINUTE, 3, at=-20 * MINUTE),
        before(known, 3, at=-20 * MINUTE),
        after(known, 5, at=-20 * MINUTE),
    ]
    assert (
        changed(planted, images, [45 * MINUTE, 100 * MINUTE], window="3h", freshness=freshness)
        == values
    )


def test_measured_ages_move_k_back_and_forth(planted):
    """Each version is seen again by a later request that is served an older state; the naive
    reference checks which.
    """
    images = [
        image
        for i in range(40)
        for image in (after(i * SECOND, i, id=i % 3), before((i + 2) * SECOND, id=i % 3))
    ]
    for ages in (["0s"], ["5s"], ["0s", "1us", "3s", "20s"]):
        found = changed(
            planted, images, [i * SECOND // 2 for i in range(100)], freshness=hw.measured(ages)
        )
        assert len(set(found)) > 10


def test_a_late_correction_of_what_has_left_the_window_changes_nothing(planted):
    assert changed(
        planted, [after(0, 3), after(2 * HOUR, 5)], [HOUR, 2 * HOUR, 3 * HOUR], window="90m"
    ) == [3, 0, 0]


@pytest.mark.parametrize(
    ("feature", "empty"),
    [
        (hw.count(), 0),
        (hw.sum("x"), 0),
        (hw.mean("x"), None),
        (hw.max("x"), None),
        (hw.last("x"), None),
        (hw.latest("x"), None),
        (hw.last_n("x", k=2), []),
        (hw.count_distinct("x"), 0),
        (hw.since_last(), None),
        (hw.open_count(until="until"), 0),
    ],
    ids=str,
)
def test_the_deletion_of_the_only_event_leaves_the_empty_value(planted, feature, empty):
    images = [after(0, 3, until=None), before(10, 3, until=None)]
    schema = {"x": pl.Int64, "until": pl.Datetime("us", "UTC")}
    for window in ("1h", "lifetime"):
        found = changed(
            planted,
            images,
            [9, 10],
            feature,
            window=window,
            schema=schema,
            select=["key", "x", "until"],
        )
        assert found[1] == empty
        assert found[0] != empty
    assert changed(
        planted,
        images,
        [9, 10],
        feature,
        statuses=True,
        schema=schema,
        select=["key", "x", "until"],
    ) == ["present", "missing"]


# ---------------------------------------------------------------- what a correction may change


def test_a_correction_moves_an_event_to_another_key(planted):
    images = [after(0, 3), before(10, 3), after(10, 3, key=2)]
    asked = [{"key": key, "timestamp": t} for t in (9, 10) for key in (1, 2)]
    assert changed(planted, images, asked) == [3, 0, 0, 3]


def test_a_correction_moves_an_event_to_another_time(planted):
    images = [after(0, 3), after(10, 3, at=-2 * HOUR), after(20, 3, at=-MINUTE)]
    assert changed(planted, images, [9, 10, 19, 20], window="1h") == [3, 0, 0, 3]


def test_an_image_outside_the_reach_corrects_one_inside(planted):
    """Events are read within the windows; retractions are read without bounds."""
    assert changed(
        planted, [after(0, 3), after(10, 3, at=DAY), before(20, at=-9 * DAY)], [9, 10, 20]
    ) == [3, 0, 0]


def test_an_event_without_a_time_takes_back_what_it_was(planted):
    images = [after(0, 3), after(10, 3, at=None), after(20, 4)]
    assert changed(planted, images, [9, 10, 19, 20]) == [3, 0, 0, 4]


# ---------------------------------------------------------------- one known time


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "value"),
    [
        # stated and corrected: 3 was passed through, though it is the greater
        ([after(0, 3), before(0, 3), after(0, 2)], 2),
        ([after(-9, 1), before(0, 1), after(0, 3), before(0, 3), after(0, 2)], 2),
        ([after(-9, 1), before(0, 1), after(0, 1)], 1),
        ([after(0, 3), after(0, 5)], 5),  # two statements and no image before: by time, then value
        ([after(0, 5), after(0, 3, at=-1)], 3),
        ([after(0, None), after(0, 3)], 3),
        # a statement and its retraction, or a change and back: the statement counts
        ([after(0, 3), before(0, 3)], 3),
        ([after(-9, 3), before(0, 3), after(0, 3), before(0, 3)], 3),
    ],
)
def test_images_known_at_one_moment_do_not_depend_on_arrival(planted, images, value):
    for order in itertools.permutations(images):
        assert changed(planted, list(order), [0]) == [value]


def test_a_retraction_known_before_its_statement_takes_back_nothing(planted):
    """What was known then is that nothing was there; a later image is a statement."""
    images = [before(10, 3), after(10 + 1, 3)]
    assert changed(planted, images, [9, 10, 11, 12]) == [0, 0, 3, 3]


def test_an_event_stated_again_counts_once(planted):
    images = [
        after(0, 3),
        after(0, 3),
        after(5, 3),
        after(DAY, 3),
        before(2 * DAY, 3),
        before(2 * DAY, 3),
        before(2 * DAY + 9, 3),
    ]
    for order in (images, images[::-1]):
        asked = [0, 5, DAY, 2 * DAY - 1, 2 * DAY, 2 * DAY + 9]
        assert changed(planted, order, asked, hw.count(), window="7d") == [1, 1, 1, 1, 0, 0]


# ---------------------------------------------------------------- counted and said

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
KEPT = ["key", "x"]


def table(images):
    """Images as a frame; their times are microseconds after noon."""
    rows = [
        {"key": 1, **i}
        | {
            n: None if i[n] is None else NOON + timedelta(microseconds=i[n])
            for n in ("at", "known")
        }
        for i in images
    ]
    return pl.DataFrame(
        rows,
        schema_overrides={"at": pl.Datetime("us", "UTC"), "known": pl.Datetime("us", "UTC")},
        infer_schema_length=None,
    )


def source_of(images, **rules):
    history = images if isinstance(images, pl.DataFrame) else table(images)
    return hw.Source(
        "pay",
        **(
            {"history": history, "timestamp_field": "at", "known_at_field": "known", "select": KEPT}
            | RULES
            | rules
        ),
    )


def test_a_filter_looks_at_each_image_alone():
    """An image after that it leaves out takes nothing back: that is what the image before is
    for.
    """
    images = [after(0, 3, ok=True), before(9, 3, ok=True), after(9, 4, ok=False)]
    asked = pl.DataFrame({"key": [1], "timestamp": [NOON + timedelta(seconds=1)]})

    def counted(given, feature, **rules):
        source = source_of(given, select=[*KEPT, "ok"], **rules)
        view = hw.FeatureView(
            "v",
            source=source,
            keys=["key"],
            features=[feature],
            windows=["1h"],
            freshness=hw.on_request(),
        )
        return hw.get_historical_features(view, asked)[view.feature_names[0]].to_list()

    assert counted(images, hw.count(), filter=pl.col("ok")) == [0]
    without = [images[0], images[2]]
    assert counted(without, hw.count(), filter=pl.col("ok")) == [1]
    assert counted(without, hw.count(where="ok")) == [0]


def test_the_changes_column_may_be_made_in_select():
    images = (
        table([after(0, 3), before(9, 3)])
        .with_columns(op=pl.Series(["insert", "delete"]))
        .drop("before")
    )
    source = source_of(
        images, select=[*KEPT, (pl.col("op") == "delete").alias("gone")], changes="gone"
    )
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["key"],
        features=[hw.sum("x")],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    asked = pl.DataFrame(
        {"key": 1, "timestamp": [NOON + timedelta(microseconds=t) for t in (8, 9)]}
    )
    assert hw.get_historical_features(view, asked)["v__sum_x_1h"].to_list() == [3, 0]


def test_a_source_with_changes_is_another_definition():
    images = table([after(0, 3)])
    assert source_of(images).fingerprint != source_of(images, changes=None).fingerprint
    assert source_of(images, select=None).columns is None
    assert "before" in source_of(images).columns


# ---------------------------------------------------------------- outcomes


@pytest.mark.parametrize(("known", "label"), [(30 * MINUTE, 0.0), (30 * MINUTE + 1, 1.0)])
def test_an_outcome_is_what_was_known_of_it_at_its_horizon(known, label):
    """A chargeback taken back by the horizon is none; one taken back later was one when the model
    could learn of it.
    """
    source = source_of([after(5 * MINUTE, 3, at=5 * MINUTE), before(known, 3, at=5 * MINUTE)])
    asked = pl.DataFrame({"key": [1], "asked": [NOON]})
    labels = hw.Labels(
        "y",
        table=asked,
        timestamp_field="asked",
        label=hw.outcome(source, hw.count(), keys=["key"], within="30m"),
    )
    of = hw.FeatureView(
        "v", source=source, keys=["key"], features=[hw.count()], freshness=hw.never()
    )
    assert hw.get_historical_features(of, labels)["y"].to_list() == [label]


# ---------------------------------------------------------------- many of them

FEATURES = [
    hw.count(),
    hw.sum("real"),
    hw.mean("whole"),
    hw.std("real"),
    hw.min("real"),
    hw.last("word"),
    hw.latest("real", "word"),
    hw.last_n("word", k=3),
    hw.mode("word"),
    hw.count_distinct("whole"),
    hw.approx_percentile("real", q=0.5),
    hw.decayed_sum("real", half_life="1m"),
    hw.max_by("word", "real"),
    hw.open_count(until="moment"),
]
SIZES = [hw.window("1m", hop="1s"), hw.window("10m", offset="1m"), hw.window("lifetime")]


def many(random, events):
    """Images of events at whole seconds: most in order, some late, a third corrected or deleted,
    soon or long after.
    """
    rows = []
    for number in range(events):
        second = random.randrange(1800)
        now = {
            "key": 1 if random.random() < 0.5 else random.randrange(4),
            "at": cases.BASE + timedelta(seconds=second),
            "known": cases.BASE + timedelta(seconds=second + random.choice([0, 0, 0, 5, 300])),
            "id": number,
            "before": False,
            "real": random.choice([0.1, 0.01, 1e9 / 3, -1e9 / 7, None]),
            "whole": random.randrange(9),
            "flag": None,
            "word": random.choice(["a", "b", None]),
            "moment": cases.BASE + timedelta(seconds=second + 60),
        }
        rows.append(now)
        while random.random() < 0.35:
            known = now["known"] + timedelta(
                seconds=random.choice([1, 20, random.randrange(900), random.randrange(900)])
            )
            rows.append(now | {"known": known, "before": True})
            if random.random() < 0.3:
                break
            now = now | {
                "known": known,
                "real": random.choice([0.3, 7e8 / 3, None]),
                "key": random.choice([now["key"], 1]),
            }
            rows.append(now)
    return rows


def asking(random, rows):
    return [
        {
            "key": random.randrange(5),
            "timestamp": cases.BASE + timedelta(seconds=random.randrange(2600)),
        }
        for _ in range(rows)
    ]


def view_of(freshness):
    source = hw.Source("events", timestamp_field="at", known_at_field="known", **RULES)
    return hw.FeatureView(
        "view", source=source, keys=["key"], features=FEATURES, windows=SIZES, freshness=freshness
    )


@pytest.mark.parametrize("seed", range(4))
def test_hundreds_of_images_are_what_the_naive_reference_says(seed):
    random = Random(seed)
    freshness = [
        hw.on_request(),
        hw.streaming("10s"),
        hw.batch("1m", delay="30s", wait="20s"),
        hw.measured(["0s", "30s", "5m"]),
    ][seed]
    conformance.compare(cases.Case(view_of(freshness), many(random, 250), asking(random, 40)))
