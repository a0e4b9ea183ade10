"""A process that writes streams keeps the memory that a commit frees, instead of getting it back
from the system page by page.
"""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys

import polars as pl

import headwater as hw
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.validate import Acceptance
from headwater.stores import open_store

source = hw.Source("events", stream=hw.push(schema={"key": int, "at": pl.Datetime("us", "UTC")}), timestamp_field="at")
view = hw.FeatureView("v", source=source, keys=["key"], features=[hw.count()], windows=["1h"], freshness=hw.streaming("2s"))
if len(sys.argv) > 1:
    PartitionWriter(Acceptance(source, (view,), 3600_000_000), open_store("lmdb:" + sys.argv[1]))
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    values = [bytes(1000) for _ in range(10_000)]  # as those that a commit reads and writes
    del values
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 10_000 * 1000 // 4096


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other rules")
def test_a_writer_keeps_freed_memory(tmp_path):
    faults = [int(line) for line in _printed(str(tmp_path / "store"))]
    assert max(faults[1:]) < PAGES // 10, faults
    if platform.machine() == "x86_64":  # where pages are larger there are fewer
        assert min(int(line) for line in _printed()[1:]) > PAGES // 2, (
            "the allocator keeps it by itself: the call is needless"
        )


def _printed(*arguments):
    return subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, check=True
    ).stdout.split()
