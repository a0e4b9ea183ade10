"""Commands of a process that may not write, has no docstrings, or is stopped while
it compiles.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import closing

import pytest

import headwater as hw
from tests.cli.conftest import PROJECT as BATCH_PROJECT
from tests.cli.conftest import tables

pytestmark = pytest.mark.slow
HEADWATER = [sys.executable, "-B", "-m", "headwater"]
RIGHTS = "-dac_override,-dac_read_search,-fowner"

PROJECT = """
import headwater as hw

events = hw.Source("events", history=hw.parquet("events.parquet"), timestamp_field="at", select=["user_id", "amount"],
                   stream=hw.appended("new/*.jsonl"))
clicks = hw.Source("clicks", history=hw.parquet("events.parquet"), timestamp_field="at", select=["user_id", "amount"],
                   stream=hw.appended("clicks/*.jsonl"))
live = hw.streaming("2s")
view = hw.FeatureView("user", source=events, keys=["user_id"], windows=["7d"], features=[hw.count(), hw.mean("amount")], freshness=live)
other = hw.FeatureView("clicked", source=clicks, keys=["user_id"], windows=["7d"], features=[hw.count()], freshness=live)
labels = hw.Labels("outcomes", table=hw.parquet("labels.parquet"), timestamp_field="asked", label="churned", known_after="1d")
model = hw.Model("churn", task="binary", features=hw.FeatureService("churn_v1", [view, other]), labels=labels)
project = hw.Project("shop", [model])
"""
ROW = '{"user_id": "u01", "amount": %s, "at": "2024-03-01T00:00:00Z"}\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a filled store, a model, and a refused record of each of two sources."""
    folder = tmp_path_factory.mktemp("made")
    for table, name in zip(tables(), ("events", "labels"), strict=True):
        table.write_parquet(folder / f"{name}.parquet")
    (folder / "features.py").write_text(PROJECT, encoding="utf-8")
    for source in ("new", "clicks"):
        (folder / source).mkdir()
        (folder / source / "one.jsonl").write_text(ROW % 5.0 + ROW % '"much"', encoding="utf-8")
    for command in (["apply"], ["train"], ["ingest", "--once"]):
        done = run(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A copy of it."""
    return shutil.copytree(made, tmp_path / "project")


def run(folder, *arguments, before=(), limit=None, **environment):
    """Run `headwater ARGUMENTS`; limit: bytes of addresses that the process may have."""

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    return subprocess.run(
        [*before, *HEADWATER, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
        preexec_fn=limited if limit else None,
    )


def unprivileged():
    """The start of a command whose process obeys the modes of files, also as root."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv of util-linux, to be root without root's rights")
    return ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}"]


@pytest.fixture
def read_only(project):
    for path in [*project.rglob("*"), project]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield project
    for path in [project, *project.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["parity"],
        ["explain", "user__count_7d", "user_id=u01"],
        ["deadletters", "list"],
    ],
)
def test_reading_needs_no_right_to_write(read_only, command):
    done = run(read_only, *command, before=unprivileged())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (
            ["models", "promote", "1"],
            r"models/churn/as defined/\.lock: Permission denied\. Give this user the right to read and write",
        ),
        (["token", "new", "--scope", "read"], r"tokens.* cannot be written: Permission denied"),
        (
            ["ingest", "--once"],
            r"online.*: Permission denied\. Give the process the right to write there",
        ),
    ],
)
def test_what_cannot_be_written_is_named_with_a_remedy(read_only, command, place):
    done = run(read_only, *command, before=unprivileged())
    assert done.returncode in {1, 2}
    assert re.search(place, done.stderr), done.stderr
    assert "Error:" not in done.stderr
    assert "--debug" not in done.stderr


WRITER = """
import sys
import headwater as hw

store = hw.operations.open_store(sys.argv[1])
for n in range(int(sys.argv[2])):
    store.commit({b"r%03d" % k: b"%d " % n * 40 for k in range(200)}, {})
"""
READER = """
import sys
import headwater as hw

store = hw.operations.open_store(sys.argv[1], readonly=True)
seen = set()
print("reading", flush=True)
while len(seen) < 2 or max(seen) < int(sys.argv[2]) - 1:
    values = dict(store.scan(b"r"))
    numbers = {value.split()[0] for value in values.values()}
    assert len(values) == 200 and len(numbers) == 1, (len(values), numbers)
    assert store.get([b"r000"])[0].split()[0] >= b"0"
    seen.add(int(numbers.pop()))
print(len(seen))
"""


def test_a_reader_that_may_not_lock_reads_whole_commits(tmp_path):
    url, commits = f"lmdb:{tmp_path}/online?size=100MB", "400"
    with closing(hw.operations.open_store(url)) as store:
        store.commit({b"r%03d" % k: b"0 " * 40 for k in range(200)}, {})
    folder = tmp_path / "online"
    (folder / "lock.mdb").chmod(0o400)
    reading = subprocess.Popen(
        [*unprivileged(), sys.executable, "-c", READER, url, commits],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reading.stdout.readline() == "reading\n", reading.communicate()
    (folder / "lock.mdb").chmod(0o600)
    subprocess.run([sys.executable, "-c", WRITER, url, commits], check=True, timeout=120)
    out, errors = reading.communicate(timeout=120)
    assert reading.returncode == 0, errors
    assert int(out) >= 2


@pytest.mark.parametrize(
    "command",
    [["train"]],
)
def test_without_docstrings(project, command):
    done = run(project, *command, PYTHONOPTIMIZE="2")
    assert done.returncode == 0, done.stderr


COMPILING = """
import os
import signal

from numba.core.registry import cpu_target

codegen = cpu_target.target_context.codegen()
library = codegen._library_class


def interrupted(module, code):
    os.kill(os.getpid(), signal.SIGINT)
    library._object_compiled_hook(module, code)


codegen._engine.set_object_cache(interrupted, library._object_getbuffer_hook)
"""


def test_an_interrupt_while_numba_compiles_prints_one_line(folder):
    assert run(folder, "materialize", "--at", "2024-02-20T00:00:00Z").returncode == 0
    (folder / "features.py").write_text(COMPILING + BATCH_PROJECT, encoding="utf-8")
    done = run(folder, "store", "compact", "--yes", NUMBA_CACHE_DIR=str(folder / "kernels"))
    assert done.stderr == "error: stopped\n"
    assert done.returncode == 130
