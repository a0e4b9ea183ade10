"""A consumer whose group has no coordinator may never close; a feed does not wait for it."""

import threading

import pytest

pytest.importorskip("confluent_kafka")

from headwater.ingestion.sources.kafka_client import close_within


class Closing:
    """What a consumer is while it closes: it waits for a coordinator, or fails."""

    def __init__(self, error=None, answers=True):
        self.coordinator, self.error = threading.Event(), error
        if answers:
            self.coordinator.set()

    def close(self):
        self.coordinator.wait()
        if self.error:
            raise self.error


def test_a_consumer_that_never_closes_is_left_behind():
    stuck = Closing(answers=False)
    assert not close_within(stuck, 0.2)
    stuck.coordinator.set()


def test_a_consumer_is_closed_before_the_feed_goes_on():
    assert close_within(Closing(), 5)


def test_an_error_of_closing_is_raised():
    with pytest.raises(RuntimeError, match="closed already"):
        close_within(Closing(RuntimeError("closed already")), 5)
