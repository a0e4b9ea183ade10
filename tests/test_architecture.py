"""The three walks of docs/architecture.md name files that exist, each once; an event passes few.
Imports run one way.
"""

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WALKS = re.split(
    r"^## ", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), flags=re.MULTILINE
)[1:]


@pytest.mark.parametrize("walk", WALKS, ids=[walk.partition("\n")[0] for walk in WALKS])
def test_a_walk_visits_each_file_once(walk):
    rows = [line for line in walk.splitlines() if line.startswith("|")]
    stations = [name for row in rows for name in re.findall(r"`((?:\w+/)+\w+\.py)`", row)]
    assert len(stations) > 10
    assert [name for name in stations if not (ROOT / "src" / "headwater" / name).is_file()] == []
    assert sorted({name for name in stations if stations.count(name) > 1}) == []


EVENT = """
import json, sys, threading
from datetime import datetime
from pathlib import Path
import headwater as hw

lines, root = Path("paid.jsonl"), str(Path(hw.__file__).parent) + "/"
stream = hw.appended(str(lines), schema={"user": int, "at": datetime, "amount": float})
paid = hw.Source("paid", stream=stream, timestamp_field="at", select=["user", "amount"])
features = [hw.count(), hw.mean("amount")]
view = hw.FeatureView(
    "user", source=paid, keys=["user"], features=features, windows=["1d"], freshness=hw.streaming("5s")
)
labels = hw.Labels(
    "left", table=hw.csv("left.csv"), timestamp_field="at", label="left", known_after="1h"
)
service = hw.FeatureService("all", [view])
model = hw.Model("left", task="binary", features=service, labels=labels)
project, files = hw.Project("shop", [model]), set()


def ingest():
    with lines.open("a") as file:
        file.write('{"user": 1, "at": "2024-05-01T10:00:00Z", "amount": 2.0}\\n')
    options = hw.operations.IngestOptions(allow_unapplied=True)
    hw.ingest(project, "lmdb:store", once=True, data_dir=".", options=options)


def note(frame, event, _):
    if event == "call" and frame.f_code.co_filename.startswith(root):
        files.add(frame.f_code.co_filename.removeprefix(root))


ingest()
threading.setprofile(note)
sys.setprofile(note)
ingest()
sys.setprofile(None)
print(json.dumps(sorted(files)))
"""


def test_an_event_passes_few_files(tmp_path):
    """A line that is appended to a file, until it is in the records of LMDB: ingestion starts,
    commits and ends.
    """
    command = [sys.executable, "-W", "ignore", "-c", EVENT]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    files = json.loads(ran.stdout.splitlines()[-1])
    assert "ingestion/commit.py" in files
    assert len(files) <= 35, files


SOURCES = ROOT / "src"
CORE = {
    "aggregations",
    "catalog",
    "connectors",
    "definitions",
    "engine",
    "events",
    "kernel",
    "online",
    "serving",
    "state",
}


def _imports():
    """By module, the modules that it imports: also in a function, and for type checking alone."""
    modules = {}
    for path in SOURCES.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = path
    found = defaultdict(set)
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    found[module].add(name if name in modules else node.module)
            elif isinstance(node, ast.Import):
                found[module].update(alias.name for alias in node.names)
    return {module: found[module] & modules.keys() - {module} for module in modules}


def test_imports_run_one_way():
    """No two files import each other, by whatever way round, and the folders of the core stand on at
    most 8 floors.
    """
    imports = _imports()
    TopologicalSorter(imports).prepare()  # fails on a circle, and names it
    folders = {name: set() for name in CORE}
    for module, imported in imports.items():
        folder = module.removeprefix("headwater.").partition(".")[0]
        if folder in CORE:
            reached = {name.removeprefix("headwater.").partition(".")[0] for name in imported}
            folders[folder] |= reached & CORE - {folder}
    floors = {}
    for name in TopologicalSorter(folders).static_order():
        floors[name] = 1 + max((floors[below] for below in folders[name]), default=0)
    assert max(floors.values()) <= 8, floors
