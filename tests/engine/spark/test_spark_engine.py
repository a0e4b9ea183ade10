"""The engine on Spark gives the same bits as the local one, on Sail and on a cluster of Spark with
two workers.
"""

import threading
from random import Random

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark
from headwater.engine.local.local_engine import LocalEngine
from headwater.engine.query import AsOf, EngineRun, Query, RequestSet
from headwater.kernel.arrays import NOTHING
from headwater.kernel.as_of import as_of
from headwater.testing import engine_laws
from tests.engine.spark import events as day
from tests.engine.spark.conftest import end_session, started

pytestmark = [
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]

RULES = {
    "plain": {},
    "late events": {"known_at_field": "known"},
    "ids": {"id_field": "id", "id_horizon": "1h", "known_at_field": "known"},
    "corrections": {"id_field": "id", "known_at_field": "known", "changes": "before"},
    "windows by known time": {"known_at_field": "known", "window_on": "known_at"},
}
FEW = [hw.count(), hw.sum("real"), hw.last("word")]


@pytest.mark.parametrize("law", engine_laws.LAWS)
def test_every_law_on_sail(law, sail):
    engine_laws.LAWS[law](headwater_spark.spark(sail), Random(0))


@pytest.mark.services
@pytest.mark.parametrize(
    "law", ["null times", "change images", "rows that count nothing", "refusals"]
)
def test_some_laws_on_a_cluster(law, cluster):
    engine_laws.LAWS[law](headwater_spark.spark(cluster.url), Random(0))


def same(query, sets, engine, memory=None):
    """Assert that the engine gives the values of the local engine, bit by bit, and leaves out the
    same rows.
    """
    mine, theirs = EngineRun(memory=memory), EngineRun()
    given, expected = (
        engine.features(query, sets, mine),
        LocalEngine().features(query, sets, theirs),
    )
    for by_time, of in zip(given, expected, strict=True):
        for values, other in zip(by_time, of, strict=True):
            assert_frame_equal(values.values, other.values, check_exact=True)
            assert_frame_equal(values.statuses, other.statuses)
            assert (values.known_at == other.known_at).all()
    assert mine.notes.left_out == theirs.notes.left_out
    assert mine.notes.events.keys() == theirs.notes.events.keys()


def asked(source, rows, *, keys=("key",), features=None, ways=None):
    """The query of a view with every aggregation, and rows that ask at some freshnesses."""
    view = day.view(source, keys=keys, features=features)
    windows = tuple(dict.fromkeys(f.window for f in view.outputs))
    query = Query(view.source, view.keys, view.outputs, retained=windows, known=True)
    t = rows["timestamp"].dt.epoch("us").to_numpy()
    columns = (
        rows.select(keys) if keys else pl.DataFrame({"": pl.repeat(0, rows.height, eager=True)})
    )
    return query, RequestSet(
        columns, t, tuple(AsOf(*as_of(way, t)) for way in ways or [hw.on_request()])
    )


@pytest.mark.parametrize("rule", RULES)
def test_every_aggregation_bit_by_bit(rule, engine):
    source = day.source(day.events(2000), **RULES[rule])
    query, some = asked(
        source, day.requests(300), ways=[hw.on_request(), hw.batch("1h", delay="10m")]
    )
    _, others = asked(source, day.requests(50, seed=5), ways=[hw.streaming("10s")])
    same(query, [some, others], engine)


@pytest.mark.parametrize(
    "keys", [("name",), ("day",), ("day", "name", "key"), ()], ids=["text", "date", "three", "none"]
)
def test_keys_of_every_kind(keys, engine):
    query, rows = asked(day.source(day.events(500)), day.requests(100), keys=keys, features=FEW)
    same(query, [rows], engine)


def test_a_hot_key_is_cut_in_time_within_the_memory_of_a_task(engine):
    query, rows = asked(day.source(day.events(20_000)), day.requests(500), features=FEW)
    same(query, [rows], engine, memory=2_000_000)


def test_no_event_and_no_row(engine):
    source = day.source(day.events(0))
    query, rows = asked(source, day.requests(5), features=FEW)
    same(query, [rows, rows.take(NOTHING)], engine)


@pytest.mark.services
def test_the_answer_is_exact_after_a_worker_is_killed(tmp_path_factory):
    """In a cluster of its own, while workers compute."""
    cluster = started(tmp_path_factory)
    try:
        query, rows = asked(day.source(day.events(60_000)), day.requests(20_000))
        expected = LocalEngine().features(query, [rows], EngineRun())[0][0].values
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(
                headwater_spark.spark(cluster.url).features(query, [rows], EngineRun())[0][0].values
            )
        )
        thread.start()
        cluster.wait_for_spilled_rows()
        assert thread.is_alive()
        cluster.kill_worker(1)
        thread.join(120)
        assert_frame_equal(answers[0], expected, check_exact=True)
    finally:
        end_session(cluster.url)
        cluster.run("stop")
