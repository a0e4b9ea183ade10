"""Every part of `python -m bench` can be imported, and is listed. No speed is asserted."""

import pkgutil
from importlib.util import find_spec

import pytest

import bench
from bench import __main__ as command

PEERS = {"bytewax", "duckdb", "feast", "pathway", "pyflink", "pyspark", "quixstreams", "sail"}
"""What a part may lack: it is measured beside them where they are installed."""
PARTS = [
    each.name
    for each in pkgutil.walk_packages(bench.__path__, "bench.")
    if not each.name.startswith("bench.engines.") and not each.name.endswith("__main__")
]


@pytest.mark.parametrize("name", PARTS)
def test_each_part_can_be_imported(name):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        assert error.name.partition(".")[0] in PEERS  # noqa: PT017 (no error at all is right too)
        assert find_spec(error.name.partition(".")[0]) is None  # noqa: PT017 (as above)


def test_rows_are_listed_where_none_is_chosen(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "nothing of this name"])
    assert all(row in str(ended.value) for row in (*command.ROWS, *command.GROUPS))
