"""`headwater ingest` as it is called: what it asks of the catalog, and what it refuses."""

import subprocess
import sys

import pytest

from tests.ingestion.world import World


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
