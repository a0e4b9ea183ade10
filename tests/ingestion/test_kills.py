"""Ingestion is killed while its archive is rolled into files: every event counts once."""

from pathlib import Path

import pytest

SMALL_FILES = Path(__file__).with_name("small_files.py")


@pytest.mark.slow
def test_killed_while_the_archive_is_rolled_into_files(world, tmp_path):
    here = world('hw.appended("log-*.ndjson", schema=schema)', script=SMALL_FILES)
    writer = here.appender(tmp_path / "log-0.ndjson", rate=2000)
    writer.start()
    here.killed(3, pause=0.5)
    writer.end()
    here.once()
    here.check()
