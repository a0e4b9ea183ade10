"""`headwater ingest` as it is called: what it asks of the catalog, and what it refuses."""

import json
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.ingestion.world import World, free_port, wait_until


@pytest.fixture
def here(tmp_path):
    made = World(
        tmp_path, f"lmdb:{tmp_path / 'online'}", 'hw.appended("log.ndjson", schema=schema)'
    )
    lines = [made.event() for _ in range(200)]
    (tmp_path / "log.ndjson").write_bytes(b"".join(line + b"\n" for line, _ in lines))
    made.took([n for _, n in lines])
    return made


def headwater(here, *arguments):
    command = [sys.executable, "-m", "headwater.cli", *arguments]
    done = subprocess.run(
        command,
        cwd=here.folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, " ".join(done.stderr.split())


@pytest.mark.slow
def test_it_runs_what_was_applied(here):
    code, said = headwater(here, "ingest", "--store", here.url, "--once")
    assert (code, "is not in the catalog" in said, "next: headwater status" in said) == (
        0,
        True,
        True,
    ), said
    assert "200 records" in said
    assert "source visits: lines appended to log.ndjson" in said
    here.check()
    assert headwater(here, "apply")[0] == 0
    code, said = headwater(here, "ingest", "--store", here.url, "--once")
    assert (code, "catalog" in said) == (0, False), said
    file = here.folder / "features.py"
    file.write_text(file.read_text().replace('windows=["1h", "7d"]', 'windows=["2h", "7d"]'))
    code, said = headwater(here, "ingest", "--store", here.url, "--once")
    assert (code, "view user" in said, "Run `headwater apply`" in said) == (2, True, True), said
    assert headwater(here, "ingest", "--store", here.url, "--once", "--allow-unapplied")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch", "0"], "at least 1 record"),
        (["--max-future-skew", "soon"], "future"),
        (["--store", "postgres:x"], "lmdb:FOLDER"),
        (["--listn", "none"], "did you mean '--listen'?"),
    ],
)
def test_bad_calls(here, arguments, said):
    code, found = headwater(here, "ingest", "--store", here.url, "--once", *arguments)
    assert (code != 0, said in found) == (True, True), found


@pytest.mark.slow
def test_metrics(here):
    port = free_port()
    process = here.start("--metrics-port", str(port))
    here.begun(process)

    def read():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = [
                line.rpartition(" ")
                for line in answer.read().decode().splitlines()
                if not line.startswith("#")
            ]
        return {name: float(value) for name, _, value in lines}

    wait_until(lambda: read().get('headwater_records_total{source="visits"}') == 200, "all records")
    found = read()
    assert found['headwater_accepted_total{source="visits"}'] == len(here.good)
    assert found['headwater_dead_total{source="visits"}'] == here.refused
    assert found['headwater_lag{partition="log.ndjson",source="visits"}'] == 0
    assert abs(found['headwater_last_commit_timestamp_seconds{source="visits"}'] - time.time()) < 30
    assert found['headwater_commit_seconds_count{source="visits"}'] >= 1
    process.terminate()
    assert process.wait(20) == 0


@pytest.mark.slow
def test_every_stream_is_pushed_and_nothing_receives(tmp_path):
    here = World(tmp_path, f"lmdb:{tmp_path / 'online'}", "hw.push(schema=schema)")
    code, said = headwater(here, "ingest", "--store", here.url, "--listen", "none")
    assert (code, "--listen" in said) == (2, True), json.dumps(said)
