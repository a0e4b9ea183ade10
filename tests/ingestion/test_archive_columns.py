"""Parity and explain over archives that were written while the source was another, or that are
broken.
"""

import dataclasses
from datetime import datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterError
from tests.flow import Flow, at, clock, home, micros, project_of, store, streaming_view  # noqa: F401 (fixtures)

EVENTS = [
    {"key": 1, "at": 10, "amount": 1},
    {"key": 1, "at": 20, "amount": 2},
    {"key": 2, "at": 30, "amount": 3},
]
WHOLE = {"key": int, "amount": int, "at": datetime}


def kept(store, folder, schema=WHOLE, *, roll=True):
    """An archive of events with whole amounts."""
    view = streaming_view([hw.count(), hw.sum("amount")], schema=schema)
    flow = Flow([view], store, folder)
    flow.send(EVENTS, 100)
    if roll:
        flow.ingestor.roll(least=1)
    return view, flow


def over(view, schema=WHOLE, **rules):
    """The view over a stream that is another now; its state stands, so that only the read of the
    archive differs.
    """
    stream = hw.push(schema=schema, at_least_once=True)
    return dataclasses.replace(
        view, source=dataclasses.replace(view.source, stream=stream, **rules)
    )


NOW = {
    "the same": (WHOLE, {}, {}),
    "a column more": (
        {**WHOLE, "word": str},
        {},
        {"events from before the column 'word' was kept": 3},
    ),
    "a column less": ({"key": int, "amount": int, "at": datetime}, {}, {}),
    "a wider integer": (WHOLE, {}, {}),
    "a smaller integer": ({**WHOLE, "amount": pl.Int8()}, {}, {}),
    "a float": ({**WHOLE, "amount": float}, {}, {}),
    "another zone's times": ({**WHOLE, "at": pl.Datetime("ms", "UTC")}, {}, {}),
}


@pytest.mark.parametrize("roll", [True, False], ids=["files", "blocks"])
@pytest.mark.parametrize("now", NOW)
def test_explain_reads_what_was_written_by_another_schema(now, roll, store, tmp_path, clock):
    clock(100)
    schema, rules, notes = NOW[now]
    before = {
        "a column less": {**WHOLE, "word": str},
        "a wider integer": {**WHOLE, "amount": pl.Int8()},
    }.get(now, WHOLE)
    view, _ = kept(store, tmp_path, before, roll=roll)
    found = hw.operations.explain(
        project_of(over(view, schema, **rules)),
        "view__sum_amount_1h",
        {"key": 1},
        store=store,
        data_dir=tmp_path,
        at=at(110),
    )
    assert (found.offline, dict(found.notes)) == (3, notes)
    assert found.events["counts"].to_list() == [True, True]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.write_bytes(p.read_bytes()[:-40]),
        lambda p: p.write_bytes(b"PAR1" * 50),
        lambda p: p.write_bytes(b""),
    ],
)
def test_a_broken_file_is_named(spoil, store, tmp_path, clock):
    clock(100)
    view, _ = kept(store, tmp_path)
    archive = next((tmp_path / "archive").rglob("*.parquet"))
    spoil(archive)
    calls = [
        lambda: hw.parity(project_of(view), store=store, data_dir=tmp_path, at=at(110)),
        lambda: hw.operations.explain(
            project_of(view),
            "view__count_1h",
            {"key": 1},
            store=store,
            data_dir=tmp_path,
            at=at(110),
        ),
    ]
    for call in calls:
        with pytest.raises(
            HeadwaterError, match=r"\.parquet cannot be read: .*Put it back from a backup"
        ) as error:
            call()
        assert str(archive) in str(error.value)
