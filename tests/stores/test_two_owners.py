"""A partition that has gone to another process while the first one was stopped: an event that waits
for its time counts once.
"""

import contextlib
import itertools

import pytest

import headwater as hw
from headwater.errors import FencedError
from tests.flow import Flow, at, micros, streaming_view

NUMBERS = itertools.count()


@pytest.mark.services
@pytest.mark.parametrize("kind", ["redis", "cluster"])
def test_an_event_that_is_held_is_released_by_its_owner_alone(kind, request):
    held_event_is_released_once(
        f"{request.getfixturevalue(kind + '_url')}?prefix=owners{next(NUMBERS)}"
    )


def held_event_is_released_once(url):
    """Two processes are the writer of one partition, one after the other."""
    view = streaming_view()
    with contextlib.ExitStack() as stack:
        stores = [
            stack.enter_context(contextlib.closing(hw.operations.open_store(url))) for _ in range(2)
        ]
        first = Flow([view], stores[0], None)
        first.send(
            [{"key": 1, "amount": 2.0, "at": 5}, {"key": 1, "amount": 3.0, "at": 50}], now=10
        )
        # the first is stopped meanwhile, and then goes on as if nothing had been
        second = Flow([view], stores[1], None)
        second.ingestor.commit([], micros(100))
        with pytest.raises(FencedError):
            first.ingestor.commit([], micros(100))
        served = hw.get_online_features(
            view, [{"key": 1}], store=stores[1], at=at(101), details=True
        )
        assert served.select(view.feature_names).row(0) == (2, 5.0)
