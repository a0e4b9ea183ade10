"""The bench package runs, at a size where its figures mean nothing, and writes what others read. No
speed is asserted.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from bench import __main__ as bench
from bench import definitions
from bench.measure import child
from headwater.aggregations.table import TABLE

ROOT = Path(__file__).resolve().parents[2]
NEEDED = {
    "name",
    "ours",
    "peer",
    "ratio",
    "unit",
    "goal",
    "command",
    "row",
    "threads",
    "scale",
    "machine",
    "date",
    "commit",
}


def _bench(output, *arguments):
    command = [
        sys.executable,
        "-m",
        "bench",
        "--scale",
        "0.0002",
        "--repeats",
        "1",
        "--output",
        str(output),
        *arguments,
    ]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    chosen = [
        argument
        for row in ("windows_semantics", "windows_duckdb", "levels", "join_feast")
        for argument in ("--only", row)
    ]
    return _bench(tmp_path_factory.mktemp("bench") / "results.json", *chosen)


@pytest.mark.slow
def test_every_row_says_what_was_measured(results):
    assert [row["row"] for row in results] == [
        "windows_semantics",
        "windows_duckdb",
        "join_feast",
        "levels",
    ]
    for row in results:
        assert set(row) >= NEEDED
        assert row["command"].startswith(f"python -m bench --only {row['row']}")


@pytest.mark.slow
def test_a_measured_row_has_numbers_and_a_goal(results):
    measured = [row for row in results if "skipped" not in row]
    assert len(measured) >= 2
    for row in measured:
        assert row["ratio"] > 0
        assert row["ours"] > 0
        assert row["peer"] > 0
        assert row["goal"].startswith(("<= ", ">= "))
        assert isinstance(row["met"], bool)


@pytest.mark.slow
def test_a_row_without_its_peer_says_why(results):
    row = next(row for row in results if row["row"] == "join_feast")
    assert row["ratio"] is None
    assert "--feast-python" in row["skipped"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("duckdb") is None, reason="needs duckdb")
def test_both_sides_give_the_same_answers(results):
    row = next(row for row in results if row["row"] == "windows_duckdb")
    assert row["equal"] is True


def test_a_row_that_fails_or_lacks_something_costs_no_other_row(tmp_path, monkeypatch, capsys):
    def of(code):
        return lambda _: child([sys.executable, "-c", code], 1)

    rows = {
        "fails": of("import sys; sys.exit('out of luck')"),
        "package": of("import no_such_package"),
        "program": of("from bench.measure import Skipped\nraise Skipped('needs wrk')"),
        "extra": of(
            "from headwater.errors import MissingExtraError\nraise "
            "MissingExtraError('confluent-kafka', 'kafka')"
        ),
        "works": of(
            """print('[{"name": "works", "ours": 1, "peer": null, "ratio": null, "unit": "s", "goal": null}]')"""
        ),
    }
    monkeypatch.setattr(bench, "ROWS", rows)
    output = tmp_path / "results.json"
    assert bench.main(["--output", str(output)]) == 1
    told = {row["name"]: row.get("skipped") for row in json.loads(output.read_text("utf-8"))}
    assert told.pop("fails").endswith("failed: out of luck")
    expected = (
        "'no_such_package' is not installed",
        "needs wrk",
        "confluent-kafka is not installed; install it with: pip install 'headwater[kafka]'",
        None,
    )
    assert told == dict(zip(("package", "program", "extra", "works"), expected, strict=True))
    assert "4 not measured:" in capsys.readouterr().err
    assert bench.main(["--output", str(output), "--only", "program", "--only", "works"]) == 0


def test_definitions_has_every_function_and_every_type_of_integer():
    assert {
        aggregation.function
        for functions in definitions.FUNCTIONS.values()
        for aggregation in functions
    } == set(TABLE)
    measured = {dtype for dtype, _ in definitions.KEYS.values()}
    assert measured >= {
        pl.Int8(),
        pl.Int16(),
        pl.Int32(),
        pl.Int64(),
        pl.UInt8(),
        pl.UInt16(),
        pl.UInt32(),
        pl.UInt64(),
    }
    assert measured >= {pl.Boolean(), pl.Date(), pl.String(), pl.Decimal(12, 2)}


@pytest.mark.long
@pytest.mark.slow
def test_streams_are_measured_beside_a_program_of_their_own(tmp_path):
    found = _bench(tmp_path / "results.json", "--only", "tiles", "--only", "reads")
    assert [row["row"] for row in found] == ["tiles"] * 7 + ["reads"] * 9
    assert all(row["ours"] > 0 for row in found)


@pytest.mark.slow
def test_ids_are_measured_in_memory_and_at_a_takeover(tmp_path):
    found = _bench(tmp_path / "results.json", "--only", "ids")
    assert [(row["row"], row["unit"]) for row in found] == [("ids", "B"), ("ids", "s")] * 2
    assert all(row["ours"] > 0 for row in found)
    assert all(row["details"]["loaded"] == 100_000 for row in found if row["unit"] == "s")


@pytest.mark.long
@pytest.mark.skipif(
    not all(map(shutil.which, ("java", "mvn"))),
    reason="needs java and mvn, for a broker of Apache Kafka",
)
@pytest.mark.parametrize(("row", "count"), [("kafka", 3), ("visibility", 4)])
def test_a_broker_is_measured_beside_a_consumer_that_makes_nothing_of_it(tmp_path, row, count):
    found = _bench(tmp_path / "results.json", "--only", row)
    assert [each["row"] for each in found] == [row] * count
    assert all(each["ours"] > 0 for each in found), found


def test_a_group_of_rows_is_chosen_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(
        bench, "ROWS", {name: lambda _: [] for name in ("levels", *bench.GROUPS["curves"])}
    )
    output = tmp_path / "results.json"
    monkeypatch.setattr(bench, "commit", lambda: "0123456789-dirty")
    monkeypatch.setitem(
        bench.ROWS,
        "spark",
        lambda _: [
            {"name": "x", "ours": 1, "peer": None, "ratio": None, "unit": "s", "goal": None}
        ],
    )
    assert bench.main(["--output", str(output), "--only", "curves"]) == 0
    (row,) = json.loads(output.read_text("utf-8"))
    assert (row["row"], row["command"], row["commit"]) == (
        "spark",
        "python -m bench --only spark",
        "0123456789-dirty",
    )
    assert row["date"] == datetime.now(UTC).date().isoformat()


@pytest.mark.slow
def test_results_of_other_rows_are_kept_when_asked(tmp_path):
    output = tmp_path / "results.json"
    output.write_text(
        json.dumps(
            [{"row": "starts", "name": "import headwater"}, {"row": "levels", "name": "old"}]
        ),
        encoding="utf-8",
    )
    assert [row["name"][:8] for row in _bench(output, "--only", "levels", "--keep")] == [
        "4 levels",
        "import h",
    ]


@pytest.mark.slow
def test_an_earlier_checkout_is_measured_in_turns_with_this_one(tmp_path):
    output = tmp_path / "earlier.json"
    options = [
        "--python",
        sys.executable,
        "--turns",
        "3",
        "--only",
        "import headwater",
        "--output",
        str(output),
    ]
    command = [sys.executable, "-m", "bench.earlier", str(ROOT), *options]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text(encoding="utf-8"))
    (row,) = found["rows"]
    assert (len(row["this values"]), len(row["earlier values"])) == (3, 3)
    assert row["ratio"] == pytest.approx(row["this"] / row["earlier"], abs=1e-3)
    assert found["geometric_mean"] == pytest.approx(row["ratio"], abs=1e-3)


@pytest.mark.slow
def test_an_earlier_checkout_that_cannot_be_measured_says_why(tmp_path):
    command = [
        sys.executable,
        "-m",
        "bench.earlier",
        str(tmp_path),
        "--python",
        sys.executable,
        "--only",
        "levels",
        "--scale",
        "0.001",
    ]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "failed in" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_what_an_entity_costs_in_a_store_is_measured():
    found = child([sys.executable, "-m", "bench.stores", "redis", "100"], 1)
    assert found["records"] >= found["entities"] > 0
    assert found["stored_bytes"] > found["record_bytes"] > 0
    assert all(commit["bytes_in"] > 0 and commit["busy"] > 0 for commit in found["commits"])
    assert found["reads"]["one"]["wall"] > 0
