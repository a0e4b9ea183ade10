"""Values that are older than promised are served with a warning that names the view and its age."""

import warnings

import pytest

import headwater as hw
from headwater.errors import StaleError, StaleWarning
from tests.flow import Flow, at, frame, home, project_of, store, streaming_view, view_of  # noqa: F401 (fixtures)

HOUR, DAY = 3600, 86_400
EVENTS = frame([(1, 60, 1.0), (1, 120, 2.0)])


def stored(store, **more):
    view = view_of(EVENTS, freshness=hw.batch("1h"), **more)
    hw.materialize(project_of(view), store=store, at=at(HOUR))
    return view


@pytest.mark.parametrize(
    ("second", "age"),
    [
        pytest.param(HOUR + 60, None, id="fresh"),
        pytest.param(3 * HOUR, "2h", id="two hours"),
        pytest.param(667 * DAY, "667d", id="22 months"),
    ],
)
def test_a_stale_value_is_served_with_one_warning(store, second, age):
    view = stored(store)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = hw.get_online_features(view, [{"key": 1}, {"key": 2}], store=store, at=at(second))
    assert found.height == 2
    if age is None:
        assert caught == []
        return
    (one,) = caught
    assert one.category is StaleWarning
    assert one.filename == __file__  # where the user called, and not a line of ours
    assert f"view 'view' is {age} old" in str(one.message)
    assert "`headwater materialize`" in str(one.message)
    assert one.message.ages == {"view": second - HOUR}


def test_who_asks_for_details_is_not_warned(store):
    found = hw.get_online_features(
        stored(store), [{"key": 1}], store=store, at=at(DAY), details=True
    )
    assert found["view__count_1h__stale"].to_list() == [True]


@pytest.mark.parametrize("on_stale", ["null", "refuse"])
def test_nor_is_who_is_not_served(store, on_stale):
    view = stored(store, on_stale=on_stale)
    if on_stale == "refuse":
        with pytest.raises(StaleError):
            hw.get_online_features(view, [{"key": 1}], store=store, at=at(DAY))
    else:
        assert hw.get_online_features(view, [{"key": 1}], store=store, at=at(DAY))[
            "view__count_1h"
        ].to_list() == [None]


def test_several_views_share_one_warning(store):
    views = [view_of(EVENTS, freshness=hw.batch("1h"), name=name) for name in ("one", "two")]
    hw.materialize(project_of(*views), store=store, at=at(HOUR))
    with pytest.warns(StaleWarning) as caught:
        hw.get_online_features(views, [{"key": 1}], store=store, at=at(DAY))
    assert len(caught) == 1
    assert list(caught[0].message.ages) == ["one", "two"]


@pytest.mark.parametrize(
    ("ahead", "age", "stale"),
    [(0, 0, False), (1, 0, False), (2, 0, False), (2.5, -2.5, True), (-1, 1, False), (-3, 3, True)],
)
def test_an_age_below_zero_is_stale(store, tmp_path, ahead, age, stale):
    """A commit that is made while one asks has an age of 0; what lies further ahead than the view
    promises is of a wrong clock.
    """
    view = streaming_view([hw.count()])
    Flow([view], store, tmp_path).send([{"key": 1, "at": HOUR - 60, "amount": 1.0}], HOUR)
    found = hw.get_online_features(
        view, [{"key": 1}], store=store, at=at(HOUR - ahead), details=True
    )
    assert found.select("view__count_1h__age", "view__count_1h__stale").rows() == [(age, stale)]
