"""A package of its own adds rows to the tables of headwater, by entry points."""

import subprocess
import sys
from textwrap import dedent

import pytest

from headwater.aggregations.table import TABLE
from headwater.errors import UsageError

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
