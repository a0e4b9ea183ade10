"""A view that is new in a store begins with the whole past: on stores of one writer and of several,
and after a kill halfway.
"""

import random
import signal
import time

import polars as pl
import pytest

LATER = """
more = hw.FeatureView("more", source=source, keys=["user"], windows=["7d"], features=[hw.count(), hw.sum("n")], freshness=hw.streaming("2s"))
project = hw.Project("shop", [hw.Model("m", task="binary", features=hw.FeatureService("s", [view, more]), labels=labels)])
"""


def write(here, path, count):
    made = [here.event() for _ in range(count)]
    with path.open("ab") as file:
        file.write(b"".join(line + b"\n" for line, _ in made))
    here.took([n for _, n in made])


def add_view(here):
    with (here.folder / "features.py").open("a", encoding="utf-8") as file:
        file.write(LATER)


@pytest.mark.slow
def test_a_view_that_comes_later_has_the_past_of_every_partition(world, tmp_path):
    here = world('hw.appended("log-*.ndjson", schema=schema)')
    for n in range(3):
        write(here, tmp_path / f"log-{n}.ndjson", 500)
    here.once()
    for n in range(2):
        write(here, tmp_path / f"log-{n}.ndjson", 200)
    add_view(here)
    here.once()
    here.check()
    assert here.found("more") == here.expected()


@pytest.mark.long
@pytest.mark.slow
def test_killed_while_a_view_is_filled(world, tmp_path, kills, report):
    here = world('hw.appended("log-*.ndjson", schema=schema)')
    for n in range(3):
        write(here, tmp_path / f"log-{n}.ndjson", 20_000)
    here.once("--batch", "100000")
    add_view(here)
    chance, halfway = random.Random(1), 0
    for _ in range(kills // 2):
        process = here.start()
        time.sleep(chance.uniform(0.5, 2.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if here.is_whole("more"):
            here.unfill("more")  # it was quicker: it is to begin again
        else:
            halfway += 1
    here.once()
    here.check()
    assert here.found("more") == here.expected()
    report(
        f"{kills // 2} kills while a view was filled with {len(here.good):,} events, {halfway} "
        "before it was whole: exact"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "ids",
    [pytest.param(True, id="ids"), pytest.param(False, id="no ids", marks=pytest.mark.long)],
)
def test_history_and_stream_that_overlap(world, tmp_path, ids):
    more = ', history=hw.parquet("past.parquet")' + (', id_field="n"' if ids else "")
    here = world('hw.appended("log-*.ndjson", schema=schema)', more)
    made = [here.event() for _ in range(900)]
    lines = [line for line, n in made if n is not None]
    here.took([n for _, n in made if n is not None])
    past = pl.concat(
        [
            pl.read_json(line).select("user", "n", pl.col("at").str.to_datetime(time_zone="UTC"))
            for line in lines[:600]
        ]
    )
    past.write_parquet(tmp_path / "past.parquet")
    begin = 300 if ids else 600  # with ids, the stream tells again of what the history holds
    for n in range(3):
        (tmp_path / f"log-{n}.ndjson").write_bytes(
            b"".join(line + b"\n" for line in lines[begin + n :: 3])
        )
    here.once()
    assert here.found() == here.expected()
    for _ in range(2):
        write(here, tmp_path / "log-1.ndjson", 50)
        here.once()
    assert here.found() == here.expected()


@pytest.mark.long
@pytest.mark.slow
def test_a_stop_loses_nothing(world, tmp_path, kills, report):
    here = world('hw.appended("log-*.ndjson", schema=schema)')
    writer = here.appender(tmp_path / "log-0.ndjson")
    writer.start()
    seconds = []
    for _ in range(kills // 5):
        process = here.start()
        here.begun(process)
        time.sleep(0.2)
        since = time.perf_counter()
        process.send_signal(random.choice([signal.SIGTERM, signal.SIGINT]))
        assert process.wait(30) == 0, process.log.read_text()
        seconds.append(time.perf_counter() - since)
    writer.end()
    here.once()
    here.check()
    report(
        f"{kills // 5} stops, {len(here.good):,} events exact; the longest took "
        f"{max(seconds):.2f} s"
    )
