"""A topic's id is requested again where the connection to the broker was lost meanwhile."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

import headwater as hw
from headwater.errors import ConnectError

pytest.importorskip(
    "confluent_kafka", reason="needs confluent-kafka: pip install 'headwater[kafka]'"
)

from headwater.ingestion.sources.kafka_client import TopicIds, ck


def ids(monkeypatch, *answers):
    """The ids of a topic, from these answers: errors by their codes, or an id."""
    made, left = (
        TopicIds(hw.kafka("payments", servers="127.0.0.1:1", schema={"n": int})),
        list(answers),
    )

    def ask(_):
        future, answer = Future(), left.pop(0)
        if isinstance(answer, int):
            future.set_exception(ck.KafkaException(ck.KafkaError(answer)))
        else:
            future.set_result(SimpleNamespace(topic_id=answer, partitions=[0]))
        return future

    monkeypatch.setattr(made, "_ask", ask)
    return made


@pytest.mark.parametrize(
    "code", ["_DESTROY_BROKER", "_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN"]
)
def test_a_lost_connection_is_no_answer(monkeypatch, code):
    lost = getattr(ck.KafkaError, code)
    assert ids(monkeypatch, lost, lost, "a").now().id == "a"
    one = ids(monkeypatch, lost, "b")
    assert one.answer(1) is None
    assert one.answer(1)[1].id == "b"


def test_a_refusal_is_an_error(monkeypatch):
    for ask in (TopicIds.now, lambda one: one.answer(1)):
        with pytest.raises(ConnectError, match="the topic cannot be described"):
            ask(ids(monkeypatch, ck.KafkaError.TOPIC_AUTHORIZATION_FAILED))
