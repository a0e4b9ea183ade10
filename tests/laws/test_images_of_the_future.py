"""A change whose event time is yet to come: what it replaces stays valid until then, unless an
image before has retracted it.
"""

from datetime import timedelta

import pytest

import headwater as hw
from tests.laws.test_changed_definitions import shop  # noqa: F401 (a fixture)

AHEAD = timedelta(hours=2)


@pytest.fixture
def view(shop):
    source = shop.source(id_field="id", changes="before", known_at_field="known")
    return shop.view(hw.count(), hw.sum("v"), source=source)


@pytest.fixture
def first(shop, view):
    """An event of the value 1, which is served; the time at which the next event is to count."""
    shop.put({"id": "x", "v": 1})
    shop.run(view)
    shop.expect(view, count_1d=1, sum_v_1d=1)
    return shop.now.time() + AHEAD


def image(shop, at, value, **more):
    """An image after that is known now."""
    return {"id": "x", "at": at, "v": value, "known": shop.now.time()} | more


def test_the_version_before_stays_until_then(shop, view, first):
    shop.put(image(shop, first, 5))
    shop.run(view)
    shop.expect(view, count_1d=1, sum_v_1d=1)
    shop.run(view, passed="1h")
    shop.expect(view, count_1d=1, sum_v_1d=1)
    shop.run(view, passed="2h")
    shop.expect(view, count_1d=1, sum_v_1d=5)


def test_an_image_before_retracts_at_once(shop, view, first):
    shop.put(image(shop, shop.ago(seconds=10), 1, before=True), image(shop, first, 5))
    shop.run(view)
    shop.expect(view, count_1d=0, sum_v_1d=0)
    shop.run(view, passed="3h")
    shop.expect(view, count_1d=1, sum_v_1d=5)


def test_the_image_known_last_is_the_one_that_comes_to_count(shop, view, first):
    shop.put(image(shop, first, 5))
    shop.run(view)
    shop.put(image(shop, first, 7))
    shop.run(view)
    shop.expect(view, count_1d=1, sum_v_1d=1)
    shop.run(view, passed="3h")
    shop.expect(view, count_1d=1, sum_v_1d=7)


def test_an_image_of_now_outlives_one_that_was_held_and_known_earlier(shop, view, first):
    shop.put(image(shop, first, 5))
    shop.run(view)
    shop.put(image(shop, shop.ago(seconds=1), 9))
    shop.run(view)
    shop.expect(view, count_1d=1, sum_v_1d=9)
    shop.run(view, passed="3h")
    shop.expect(view, count_1d=1, sum_v_1d=9)


def test_a_deletion_reaches_an_image_that_is_held(shop, view, first):
    shop.put(image(shop, first, 5))
    shop.run(view)
    shop.put(image(shop, first, 5, before=True))
    shop.run(view)
    shop.run(view, passed="3h")
    shop.expect(view, count_1d=0, sum_v_1d=0)
