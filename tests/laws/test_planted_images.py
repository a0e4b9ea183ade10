"""Corrections and deletions: what an image takes back counts no longer from its known time on, to
the microsecond.
"""

import itertools

import polars as pl
import pytest

import headwater as hw

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
    for order in (images, images[::-1], images[1:] + images[:1]):
        assert changed(planted, order, [0]) == [value]


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
