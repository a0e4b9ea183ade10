"""What it takes to add one thing: made in a copy of the source tree, used there, and its files
counted.

CONTRIBUTING.md says the same numbers. A file whose change is one line, a row in a table, is counted
as a line.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from headwater.aggregations.table import TABLE
from headwater.errors import UsageError
from headwater.kernel.load_numba import drop_stale_kernels

ROOT = Path(__file__).resolve().parents[1]

LAWS = [
    "what is put is got",
    "records are kept too",
    "scans rise",
    "nothing is written unless all is expected",
    "one of two threads wins",
    "a newer format is refused",
    "it is a map",
]
"""Of stores: those that need no other process."""


class Tree:
    """A copy of the package, and what was changed in it."""

    def __init__(self, folder):
        self.root = folder / "src"
        shutil.copytree(ROOT / "src", self.root)
        self.files, self.lines = set(), set()

    def new(self, name, text):
        """Write a new file."""
        path = self.root / "headwater" / name
        assert not path.exists()
        path.write_text(dedent(text), encoding="utf-8")
        self.files.add(name)

    def put(self, name, before, text):
        """Put lines before the first one that begins with `before`: one line in a file counts as a
        line, more make it a file.
        """
        path = self.root / "headwater" / name
        lines, more = (
            path.read_text(encoding="utf-8").splitlines(keepends=True),
            dedent(text).strip("\n").splitlines(keepends=True),
        )
        at = next(n for n, line in enumerate(lines) if line.strip().startswith(before))
        indent = re.match(" *", lines[at])[0]
        path.write_text(
            "".join([*lines[:at], *(indent + line for line in more), "\n", *lines[at:]]),
            encoding="utf-8",
        )
        if len(more) > 1 or name in self.files | self.lines:
            self.lines.discard(name)
            self.files.add(name)
        else:
            self.lines.add(name)

    def run(self, code):
        """What a fresh interpreter prints that imports the copy, with the compiled kernels: no
        addition changes one of them.
        """
        drop_stale_kernels(self.root / "headwater")
        for index in (ROOT / "src").rglob("*.nbi"):
            shutil.copy2(index, self.root / index.relative_to(ROOT / "src"))
        code = f"import sys; sys.path.insert(0, {str(self.root)!r})\n" + dedent(code)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.root,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture(scope="module")
def promised():
    """By kind of extension, how many files CONTRIBUTING.md says that it takes."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return {
        name: int(number)
        for name, number in re.findall(r"^\| an? ([a-z ]+) \| (\d) \|", text, re.MULTILINE)
    }


SKEW = '''
"""skewness. State: (n, mean, sum of squared, sum of cubed deviations), merged after Pebay (2008)."""

import math

import numba as nb
import numpy as np

from headwater.aggregations.base import StateField
from headwater.aggregations.reference import Answer
from headwater.aggregations.table import Entry
from headwater.definitions.checks import spelled
from headwater.definitions.feature_view import made, needs
from headwater.kernel.arrays import Column


@spelled
def skewness(*columns, windows=None, where=None, name=None):
    """The skewness of a column (population): float64, null for fewer than three values or equal ones.

    >>> from headwater.testing.examples import value_of
    >>> round(value_of(skewness("amount"), amount=[1.0, 1.0, 4.0]), 9)
    0.707106781
    """
    needs("skewness", columns, "amount")
    return made("skewness", columns, windows, where, name, each=True)


@nb.njit(nogil=True, cache=True)
def _moments(v, lo, hi, n, mean, second, third):
    for j in range(len(lo)):
        for i in range(lo[j], hi[j]):
            if v[i] == v[i]:
                n[j] += 1
                mean[j] += (v[i] - mean[j]) / n[j]
        for i in range(lo[j], hi[j]):
            if v[i] == v[i]:
                d = v[i] - mean[j]
                second[j] += d * d
                third[j] += d * d * d


class _Skewness:
    def partial(self, use, spans):
        count = len(spans.lo)
        n, (mean, second, third) = np.zeros(count, np.int64), np.zeros((3, count))
        _moments(spans.layer.floats(use), spans.lo, spans.hi, n, mean, second, third)
        return n, mean, second, third

    def merge(self, left, right):
        (a, mean, second, third), (b, other, square, cube) = left, right
        n = np.maximum(a + b, 1)
        d = np.where((a > 0) & (b > 0), other - mean, 0.0)
        centre = np.where(a == 0, other, np.where(b == 0, mean, mean + d * (b / n)))
        cubes = third + cube + d**3 * a * b * (a - b) / n**2 + 3 * d * (a * square - b * second) / n
        return a + b, centre, second + square + d * d * a * b / n, cubes

    def state_fields(self, use, kinds):
        return StateField(), *(StateField(whole=False) for _ in range(3))

    def finalize(self, state, context):
        n, mean, second, third = state
        flat = second <= 1e-9 * n * (1 + mean**2)
        valid = (n > 2) & ~flat
        return Column(np.sqrt(n) * third / np.where(valid, second, 1.0) ** 1.5, valid)


def _naive(counted):
    numbers = counted.numbers
    mean = sum(numbers) / len(numbers)
    second, third = (sum((x - mean) ** k for x in numbers) for k in (2, 3))
    if len(numbers) < 3 or float(second) <= 1e-9 * len(numbers) * (1 + float(mean) ** 2):
        return Answer(None, "empty")
    return Answer(float(third) * math.sqrt(len(numbers)) / float(second) ** 1.5, "present", 1.0)


ROWS = (
    Entry(
        "skewness",
        "float",
        accepts="number",
        family=_Skewness(),
        null="empty",
        adds="mean",
        splits=True,
        reference=_naive,
        cases=lambda: [skewness("flag"), skewness("flag").by("word", max_keys=2)],
    ),
)
'''


@pytest.mark.slow
def test_an_aggregation(tree, promised):
    """Skewness: by every law of the suite, where loops merge it and where they do not know how."""
    tree.new("aggregations/skewness.py", SKEW)
    tree.put(
        "definitions/feature_view.py",
        '"headwater.aggregations.rate_ratio"',
        '"headwater.aggregations.skewness": "skewness",',
    )
    said = tree.run(
        """
        from random import Random
        from headwater.aggregations.skewness import skewness
        from headwater.testing import cases, conformance
        from headwater.testing.examples import value_of
        for aggregation in (a for a in cases.aggregations() if a.function == "skewness"):
            for name, law in conformance.LAWS.items():
                law(aggregation, Random(7))
        print(round(value_of(skewness("amount"), amount=[1.0, 1.0, 4.0]), 9))
        """
    )
    assert said == "0.707106781\n"
    assert len(tree.files) == promised["aggregation"] == 1
    assert tree.lines == {"definitions/feature_view.py"}


def test_a_metric(tree, promised):
    tree.new(
        "metrics/bias.py",
        '''
        """The mean of score minus outcome."""

        import math

        import numpy as np

        from headwater.metrics.metric import Family, Metric, ratio


        def _bias(rows):
            return ratio(rows.total(rows.score - rows.y), rows.total(np.ones(len(rows.y))))


        FAMILY = Family((), more=(Metric("bias", "regression", _bias, span=(-math.inf, math.inf)),))
        ''',
    )
    tree.put("metrics/__init__.py", '"ranked_lists"', '"bias",')
    said = tree.run(
        """
        from headwater.backtesting.intervals import evaluate
        from headwater.metrics import Blocks, resolve
        print(evaluate(resolve(["bias"], "regression"), [1, 2], {"daily": [2, 4]}, Blocks.whole(2)).values)
        """
    )
    assert said == "[[1.5]]\n"
    assert len(tree.files) <= promised["metric"] == 1
    assert tree.lines == {"metrics/__init__.py"}


@pytest.mark.slow
def test_a_task(tree, promised):
    """Counts, learned by Poisson's likelihood and judged by its deviance."""
    tree.put(
        "definitions/model.py",
        'TaskType("ranking"',
        """
        TaskType("counts", "poisson_deviance", "regressor", "poisson", values=True),
        # and its name in the type above, which editors read
        """,
    )
    path = tree.root / "headwater" / "definitions" / "model.py"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"regression"]', '"regression", "counts"]'),
        encoding="utf-8",
    )
    tree.new(
        "metrics/counts.py",
        '''
        """The mean deviance of Poisson's likelihood."""

        import math

        import numpy as np

        from headwater.metrics.metric import Family, Metric, ratio


        def _deviance(rows):
            y, mean = rows.y, np.maximum(rows.score, 1e-9)
            each = 2 * (mean - y + y * np.log(np.where(y > 0, y, 1) / np.where(y > 0, mean, 1)))
            return ratio(rows.total(each), rows.total(np.ones(len(y))))


        FAMILY = Family((Metric("poisson_deviance", "counts", _deviance, higher_is_better=False, relative=True, span=(0.0, math.inf)),))
        ''',
    )
    tree.put("metrics/__init__.py", '"ranked_lists"', '"counts",')
    said = tree.run(
        """
        from datetime import UTC, datetime, timedelta
        import numpy as np, polars as pl
        import headwater as hw
        rng, noon, n = np.random.default_rng(0), datetime(2024, 5, 1, 12, tzinfo=UTC), 2000
        at = [noon + timedelta(minutes=10 * i) for i in range(n)]
        size = rng.integers(0, 3, n)
        events = pl.DataFrame({"shop": 1, "size": size, "at": [t - timedelta(minutes=1) for t in at]})
        asked = pl.DataFrame({"shop": 1, "at": at, "sold": rng.poisson(1.0 + 2.0 * size)})
        source = hw.Source("visits", history=events, timestamp_field="at", select=["shop", "size"])
        view = hw.FeatureView("shop", source=source, keys=["shop"], features=[hw.last("size")], windows=["1h"], freshness=hw.on_request())
        labels = hw.Labels("sales", table=asked, timestamp_field="at", label="sold", known_after="1h", select=["shop"])
        model = hw.Model("sold", task="counts", features=hw.FeatureService("sold_v1", [view]), labels=labels)
        levels = {"none": hw.Level(hw.never()), "live": hw.Level(hw.on_request())}
        result = hw.backtest(model, levels=levels, evaluation=hw.Evaluation(split=at[1200], resamples=0, cold_start=0)).result
        fresh = result.levels[-1]
        print(result.task, result.headline, hw.train(model, as_of=at[-1] + timedelta(days=1)).fitted.kind)
        print(fresh.metrics["poisson_deviance"].value < 0.8 * result.levels[0].metrics["poisson_deviance"].value)
        try:
            hw.Model("sold", task="count", features=hw.FeatureService("sold_v1", [view]), labels=labels)
        except hw.errors.DefinitionError as error:
            print(error)
        """
    )
    assert said == (
        "counts poisson_deviance counts\nTrue\nmodel 'sold': task is 'count'; give 'binary', "
        "'multiclass', 'regression' or 'counts', or hw.Ranking(group=, item=); did you mean "
        "'counts'?\n"
    )
    assert len(tree.files) <= promised["task"] == 4
    assert tree.lines == {"metrics/__init__.py"}


@pytest.mark.slow
def test_a_connector(tree, promised, tmp_path):
    tree.new(
        "connectors/ndjson.py",
        '''
        """Files of a JSON object a line."""

        from dataclasses import dataclass

        import polars as pl

        from headwater.definitions.connectors import Connector


        @dataclass(frozen=True, eq=False)
        class NdjsonFiles(Connector):
            path: str

            def scan(self):
                return pl.scan_ndjson(self.path)
        ''',
    )
    (tmp_path / "paid.ndjson").write_text(
        '{"user": 1, "amount": 3, "at": 0}\n{"user": 1, "amount": 4, "at": 1}\n', encoding="utf-8"
    )
    said = tree.run(
        f"""
        import polars as pl
        import headwater as hw
        from headwater.connectors.ndjson import NdjsonFiles
        at = pl.from_epoch("at", time_unit="s").dt.replace_time_zone("UTC")
        history = NdjsonFiles({str(tmp_path / "paid.ndjson")!r})
        paid = hw.Source("paid", history=history, timestamp_field="at", select=["user", "amount", at])
        view = hw.FeatureView("user", source=paid, keys=["user"], features=[hw.sum("amount")], freshness=hw.on_request())
        asked = pl.DataFrame({{"user": [1, 2], "timestamp": [100, 100]}}).with_columns(pl.from_epoch("timestamp").dt.replace_time_zone("UTC"))
        print(hw.get_historical_features(view, asked)["user__sum_amount"].to_list())
        """
    )
    assert said == "[7, 0]\n"
    assert len(tree.files) <= promised["connector"] == 1
    assert tree.lines == set()


@pytest.mark.slow
def test_a_stream(tree, promised, tmp_path):
    tree.new(
        "ingestion/sources/lists.py",
        """
        '''A stream that is a list of JSON objects, in one partition.'''

        from dataclasses import dataclass

        import numpy as np

        from headwater import clock
        from headwater.definitions.connectors import Stream
        from headwater.ingestion.sources.stream_reader import RecordBatch, between, offset_at


        @dataclass(frozen=True, eq=False)
        class ListOfRecords(Stream):
            records: tuple[str, ...]
            schema: object = None
            format: str = "json"
            timestamps: str = "iso"

            @property
            def address(self):
                return "list"


        class ListFeed:
            def __init__(self, source, assigned):
                self.records = [record.encode() for record in source.stream.records]
                known = assigned(["0"])
                self.end = offset_at(known["0"]) if "0" in known else 0

            def poll(self, most, timeout):
                begin, self.end = self.end, min(self.end + most, len(self.records))
                n = self.end - begin
                received, partition = np.full(n, clock.now_micros()), np.zeros(n, np.int64)
                positions, payloads = {"0": between(begin, self.end)}, self.records[begin : self.end]
                return RecordBatch(["0"], partition, np.arange(begin, self.end), received, positions, payloads) if n else None

            def lag(self):
                return {"0": len(self.records) - self.end}

            def elsewhere(self):
                return 0

            def acknowledge(self, positions):
                pass

            def close(self):
                pass


        def open_feed(source, assigned, revoked, origin_of):
            return ListFeed(source, assigned)
        """,
    )
    tree.put(
        "ingestion/sources/stream_reader.py",
        '"AppendedFiles"',
        '"ListOfRecords": "headwater.ingestion.sources.lists",',
    )
    said = tree.run(
        f"""
        from datetime import datetime
        import polars as pl
        import headwater as hw
        from headwater.ingestion.sources.lists import ListOfRecords
        records = tuple('{{"user": %d, "at": "2024-05-01T12:00:0%dZ"}}' % (n % 2, n) for n in range(5))
        paid = hw.Source("paid", stream=ListOfRecords(records, {{"user": int, "at": datetime}}), timestamp_field="at")
        view = hw.FeatureView("user", source=paid, keys=["user"], features=[hw.count()], windows=["lifetime"], freshness=hw.streaming("2s"))
        labels = hw.Labels("labels", table=pl.DataFrame(schema={{"user": int, "at": pl.Datetime("us", "UTC"), "y": int}}), timestamp_field="at",
                           label="y", known_after="1h")
        model = hw.Model("model", task="regression", features=hw.FeatureService("service", [view]), labels=labels)
        project, store = hw.Project("project", [model]), {f"lmdb:{tmp_path}/store"!r}
        for _ in range(2):  # each record counts once
            hw.ingest(project, store, once=True, data_dir={str(tmp_path)!r}, options=hw.operations.IngestOptions(allow_unapplied=True))
        print(hw.get_online_features(view, [{{"user": 0}}, {{"user": 1}}], store=store, details=True)["user__count_lifetime"].to_list())
        """
    )
    assert said == "[3, 2]\n"
    assert len(tree.files) <= promised["stream"] == 1
    assert tree.lines == {"ingestion/sources/stream_reader.py"}


@pytest.mark.slow
def test_an_engine(tree, promised):
    tree.new(
        "engine/doubling.py",
        """
        # Twice what the naive engine says.
        from headwater.engine.query import FeatureValues
        from headwater.testing.naive_engine import NaiveEngine


        class DoublingEngine(NaiveEngine):
            def features(self, query, requests, run):
                return [[FeatureValues(2 * values.values) for values in by_time] for by_time in super().features(query, requests, run)]
        """,
    )
    tree.put(
        "engine/engines.py", '"naive"', '"doubling": "headwater.engine.doubling:DoublingEngine",'
    )
    said = tree.run(
        """
        import os
        from headwater.testing.examples import value_of
        import headwater as hw
        print(value_of(hw.sum("amount"), amount=[3, 4]))
        os.environ["HEADWATER_ENGINE"] = "doubling"
        print(value_of(hw.sum("amount"), amount=[3, 4]))
        os.environ["HEADWATER_ENGINE"] = "dubling"
        try:
            value_of(hw.count(), amount=[3, 4])
        except hw.errors.UsageError as error:
            print(error)
        """
    )
    assert said == "7\n14\nno engine 'dubling'; did you mean 'doubling'?\n"
    assert len(tree.files) <= promised["engine"] == 1
    assert tree.lines == {"engine/engines.py"}


@pytest.mark.slow
def test_an_online_store(tree, promised, tmp_path):
    tree.new(
        "stores/sqlite.py",
        """
        '''An online store in a file of SQLite.'''

        import sqlite3
        import threading
        from contextlib import contextmanager
        from urllib.parse import urlsplit

        from headwater.errors import FencedError, StoreError
        from headwater.stores import Capabilities
        from headwater.stores.backup import back_up
        from headwater.stores.keyspace import check_format


        def open_store(url, *, readonly=False, for_requests=False):
            return SqliteStore(urlsplit(url).path, readonly)


        class SqliteStore:
            capabilities = Capabilities(atomic=True, multi_process=False, remote=False)
            namespace = ""

            def __init__(self, path, readonly):
                self.path, self.lock = path, threading.Lock()
                self.connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
                self.connection.execute("CREATE TABLE IF NOT EXISTS places (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
                check_format(self, path, readonly=readonly)

            def get(self, keys):
                with self._transaction("BEGIN"):
                    rows = [self.connection.execute("SELECT value FROM places WHERE key = ?", (key,)).fetchone() for key in keys]
                return [None if row is None else row[0] for row in rows]

            def scan(self, prefix):
                with self.lock:
                    rows = self.connection.execute("SELECT key, value FROM places WHERE key >= ? ORDER BY key", (prefix,)).fetchall()
                return ((key, value) for key, value in rows if key.startswith(prefix))

            def sizes(self, prefix):
                return ((key, len(value)) for key, value in self.scan(prefix))

            def commit(self, changes, expect):
                with self._transaction("BEGIN IMMEDIATE"):
                    for key, value in expect.items():
                        row = self.connection.execute("SELECT value FROM places WHERE key = ?", (key,)).fetchone()
                        if (None if row is None else row[0]) != value:
                            raise FencedError(f"{self.path} was written by another process")
                    for key, value in changes.items():
                        if value is None:
                            self.connection.execute("DELETE FROM places WHERE key = ?", (key,))
                        else:
                            self.connection.execute("REPLACE INTO places VALUES (?, ?)", (key, value))

            @contextmanager
            def _transaction(self, begin):
                with self.lock:
                    self.connection.execute(begin)
                    try:
                        yield
                        self.connection.execute("COMMIT")
                    except BaseException:
                        self.connection.execute("ROLLBACK")
                        raise

            def mend(self, offset):
                pass

            def reconcile(self, *, dry_run=False):
                return False

            @contextmanager
            def lease(self, name, *, wait):
                holder = sqlite3.connect(f"{self.path}.{name}", timeout=wait)
                try:
                    holder.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError as error:
                    raise StoreError(f"another process holds {name}") from error
                try:
                    yield
                finally:
                    holder.close()

            def server_time(self):
                return None

            def size(self):
                return 1

            def backup(self, to):
                back_up(self, to)

            def close(self):
                self.connection.close()
        """,
    )
    tree.put("stores/__init__.py", '"lmdb"', '"sqlite": "headwater.stores.sqlite",')
    (tmp_path / "stores").mkdir()
    said = tree.run(
        f"""
        from functools import partial
        from random import Random
        import headwater as hw
        from headwater.stores import open_store
        from headwater.testing import stores
        for n, law in enumerate({LAWS!r}):
            stores.LAWS[law](partial(open_store, "sqlite:{tmp_path}/stores/%d" % n), Random(7))
        from headwater.testing.examples import visiting
        project, store = visiting(hw.batch("1h", delay="10m")), "sqlite:{tmp_path}/stores/views"
        print(*(made.keys for made in hw.materialize(project, store=store, at="2024-05-01T11:00Z")))
        """
    )
    assert int(said) > 0
    assert len(tree.files) <= promised["online store"] == 1
    assert tree.lines == {"stores/__init__.py"}


# ---------------------------------------------------------------- from another package


PLUGIN = """
from headwater.aggregations.moments import COUNTS as FAMILY_OF_COUNTS
from headwater.aggregations.reference import Answer
from headwater.aggregations.table import Entry
from headwater.definitions.feature_view import made
from headwater.definitions.model import TaskType
from headwater.metrics.metric import Family, Metric


def events(**more):
    return made("events", (), None, None, None, **more)


EVENTS = Entry(
    "events",
    "int",
    accepts="any",
    family=FAMILY_OF_COUNTS,
    empty=0,
    splits=True,
    reference=lambda counted: Answer(len(counted.events), "present"),
    cases=lambda: [events()],
)
COUNTS = TaskType("counts", "mean_score", "regressor", "poisson", values=True)
FAMILY = Family((Metric("mean_score", "counts", lambda rows: rows.total(rows.score)),))
"""
ENGINE = """
from headwater.testing.naive_engine import NaiveEngine

class AcmeEngine(NaiveEngine):
    def features(self, query, requests, run):
        print("acme", len(requests))
        return super().features(query, requests, run)
"""
STORE = """
def open_store(url, **options):
    return f"the store at {url}"
"""
TOPIC = """
from dataclasses import dataclass
from headwater.definitions.connectors import Stream

@dataclass(frozen=True, eq=False)
class AcmeTopic(Stream):
    schema: object = None

def open_feed(source, assigned, revoked, origin_of):
    return f"the feed of {source.name}"
"""


ROWS = """
[headwater.plugins]
functions.events = acme:EVENTS
tasks.counts = acme:COUNTS
metrics.acme = acme:FAMILY
streams.AcmeTopic = acme.topic
stores.acme = acme.store
engines.acme = acme.engine:AcmeEngine
"""


def installed(folder, plugin=PLUGIN, rows=ROWS):
    """A package next to headwater, installed as pip does it."""
    (folder / "acme").mkdir()
    (folder / "acme" / "__init__.py").write_text(plugin, encoding="utf-8")
    (folder / "acme" / "engine.py").write_text(ENGINE, encoding="utf-8")
    (folder / "acme" / "store.py").write_text(STORE, encoding="utf-8")
    (folder / "acme" / "topic.py").write_text(TOPIC, encoding="utf-8")
    about = folder / "acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8"
    )
    (about / "entry_points.txt").write_text(rows, encoding="utf-8")
    return folder


def ran(folder, code):
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n" + dedent(code)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True
    )


SERVED = """
import socket
import headwater as hw
from headwater.testing.examples import temporary_store, visiting
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    listen = f"127.0.0.1:{free.getsockname()[1]}"
project = visiting(hw.batch("1h"))
with temporary_store() as store:
    hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    with hw.operations.serve(project, store, listen=listen, models={}) as url, hw.client.Client(str(url)) as client:
"""


@pytest.mark.slow
def test_a_field_of_an_answer(tree, promised):
    tree.put(
        "serving/http/response_schema.py",
        "rows: list[dict[str, FeatureValue]]",
        "count: Annotated[int, Computed(lambda result: result.rows)]",
    )
    said = tree.run(
        SERVED
        + """
        one, two = (client.features("churn_v1", rows) for rows in ({"user": 1}, [{"user": 1}, {"user": 2}]))
        print(one.count, two.count, hw.operations.Service(project, store, models={}).features("churn_v1", {"user": 1}).count)
    """
    )
    assert said == "1 2 1\n"
    assert len(tree.files) == promised["field of an answer"] == 0
    assert tree.lines == {"serving/http/response_schema.py"}


@pytest.mark.slow
def test_a_route(tree, promised):
    (tree.root.parent / "scripts").mkdir()
    script = Path(shutil.copy2(ROOT / "scripts/client_methods.py", tree.root.parent / "scripts"))
    tree.put(
        "serving/http/response_schema.py",
        "class Health(",
        "class Views(msgspec.Struct, frozen=True):\n    names: list[str]\n\n",
    )
    tree.put(
        "serving/http/admin_handlers.py",
        "def _json(",
        """
        async def views(request: PageRequest) -> PageResponse:
            begin = request.query.get("begin", "")
            return _json({"names": [view.name for view in request.app.service.project.all_views if view.name.startswith(begin)]})

        """,
    )
    tree.put(
        "serving/http/route_handlers.py",
        '"healthz"',
        '"views": Handlers(page=admin_handlers.views),',
    )
    tree.put(
        "serving/http/routes.py",
        "from headwater.serving.http.route import",
        "from headwater.serving.http.response_schema import Views",
    )
    tree.put(
        "serving/http/routes.py",
        'Route("healthz"',
        """
        Route(
            "views", "GET", "/v1/views", "read", "The names of views", response=Views,
            client=ClientMethod("views", "The names of views.", (Argument("begin", "str | None", "parameter", None),)),
        ),
        """,
    )
    said = tree.run(
        f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')\n"
        + SERVED
        + """
        print(client.views(), client.views(begin="x").names)
    """
    )
    assert said == "Views(names=['user']) []\n"
    assert len(tree.files) <= promised["route"] == 3
    assert tree.lines == {"serving/http/route_handlers.py"}


@pytest.mark.slow
def test_a_package_of_its_own_adds_rows_to_each_table(tmp_path):
    done = ran(
        installed(tmp_path),
        """
        from headwater.metrics import resolve
        print(resolve(None, "counts")[0].name)
        from acme import events
        from headwater.testing.examples import value_of
        print(value_of(events(), page=["a", "b"]), value_of(events().by("page"), page=["a", "b", "b"]))
        from headwater.testing.cases import aggregations
        print(sum(a.function == "events" for a in aggregations()))
        from headwater.definitions.model import TASKS, written
        print("counts" in TASKS, written())
        import headwater as hw
        print(hw.operations.open_store("acme:here"))
        from acme.topic import AcmeTopic
        from headwater.ingestion.sources.stream_reader import open_feed
        print(open_feed(hw.Source("paid", stream=AcmeTopic({"user": str}), timestamp_field="at"), None, None))
        import os
        os.environ["HEADWATER_ENGINE"] = "acme"
        print(value_of(hw.count(), page=["a", "b"]))
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "mean_score\n2 {'a': 1, 'b': 2}\n2\nTrue ('binary', 'multiclass', 'regression', "
        "'counts')\nthe store at acme:here\nthe feed of paid\nacme 1\n2\n"
    )


def test_a_plugin_that_fails_is_named(tmp_path):
    done = ran(
        installed(tmp_path, "raise ValueError('no licence')"),
        "from headwater.definitions.model import TASKS; 'none' in TASKS",
    )
    said = (
        "UsageError: the plugin 'tasks.counts' (acme:COUNTS) cannot be loaded: ValueError: no "
        "licence; fix it, or uninstall its package"
    )
    assert said in done.stderr


def test_a_row_of_no_table_is_named(tmp_path):
    done = ran(
        installed(tmp_path, rows="[headwater.plugins]\nstore.acme = acme.store\n"),
        "from headwater.stores import STORES; 'none' in STORES",
    )
    said = (
        "UsageError: the entry point 'store.acme' (acme.store) names no table of headwater: write "
        "TABLE.ROW, such as stores.acme; did you mean 'stores'?"
    )
    assert said in done.stderr


def test_a_row_is_imported_when_it_is_used(tmp_path):
    done = ran(
        installed(tmp_path),
        """
        from headwater.stores import STORES, is_multi_process, open_store
        from headwater.definitions.model import TASKS
        print("acme" in STORES, "acme" in sys.modules)
        open_store("acme:here")
        print("acme.store" in sys.modules, "acme.engine" in sys.modules)
        """,
    )
    assert done.stdout == "True False\nTrue False\n", done.stderr


def test_a_name_cannot_be_taken_twice():
    with pytest.raises(
        UsageError,
        match="there is a row 'count' in the table 'functions' already; give the one that is added "
        "another name",
    ):
        TABLE.add("count", TABLE["sum"])
    TABLE.add("count", TABLE["count"])
