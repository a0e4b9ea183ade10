"""The bar of a command in a terminal: many threads report work concurrently, and nothing that it
does ends the work.
"""

import pytest

from tests.pseudo_terminal import on_terminal

ENGINE = """
import sys
import threading

from headwater.engine.engines import open_engine

class Busy:
    '''The local engine, whose threads report more often than any computation does.'''

    def features(self, query, requests, run):
        sys.setswitchinterval(1e-5)

        def report():
            for n in range(2000):
                run.on_progress(0)
                if run.reading:
                    run.reading(n % 100, 100)

        threads = [threading.Thread(target=report) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(0.005)
        return open_engine("local").features(query, requests, run)

    def __getattr__(self, name):
        return getattr(open_engine("local"), name)
"""
VIEWS = """
views = [hw.FeatureView(f"user{n}", source=events, keys=["user_id"], windows=[f"{n + 2}d"], features=[hw.sum("amount")],
    freshness=hw.batch("1d")) for n in range(4)]
labels ="""


@pytest.fixture
def busy(folder):
    """A project of five views, and in HEADWATER_ENGINE an engine that reports from four threads
    concurrently.
    """
    text = (
        (folder / "features.py")
        .read_text(encoding="utf-8")
        .replace("\nlabels =", VIEWS)
        .replace("[view]", "[view, *views]")
    )
    (folder / "features.py").write_text(text, encoding="utf-8")
    about = folder / "plugin" / "busy-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: busy\nVersion: 1.0\n", encoding="utf-8"
    )
    (about / "entry_points.txt").write_text(
        "[headwater.plugins]\nengines.busy = busy_engine:Busy\n", encoding="utf-8"
    )
    (folder / "plugin" / "busy_engine.py").write_text(ENGINE, encoding="utf-8")
    return {
        "PYTHONPATH": str(folder / "plugin"),
        "HEADWATER_ENGINE": "busy",
        "HEADWATER_THREADS": "4",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("backtest", "--refits", "0", "--yes"),
    ],
    ids=lambda command: command[0],
)
def test_views_that_many_threads_compute_end_well_in_a_terminal(folder, busy, command):
    shown = on_terminal(folder, "-m", "headwater", *command, environment=busy)
    assert shown.code == 0, shown.text[-2000:]
    assert "step 1 of 3: features" in shown.text or command[0] == "dataset"
    assert "next: headwater" in shown.text
    assert shown.cursor
    assert " of 3: " not in "\n".join(shown.lines)  # the bar leaves nothing behind


STRESS = """
import sys
import threading
import warnings

import polars as pl
import headwater as hw
from busy_engine import Busy

events = hw.Source("events", history=hw.parquet("events.parquet"), timestamp_field="at", select=["user_id", "amount"])
view = hw.FeatureView("user", source=events, keys=["user_id"], windows=["1d"], features=[hw.count()], freshness=hw.batch("1d"))
rows = pl.read_parquet("labels.parquet").select("user_id", timestamp="asked")
BODY
values = hw.get_historical_features([view], rows, resources=hw.Resources(engine=Busy(), PROGRESS))
still = hw.get_historical_features([view], rows, resources=hw.Resources(progress=False))
print("equal:", values.equals(still))
"""


@pytest.mark.parametrize(
    ("body", "progress", "says"),
    [
        ("", "progress=None", ""),
        pytest.param(
            "def fails(*_): raise KeyError(4)",
            "progress=fails",
            "the function of progress= ended with KeyError: 4. The computation goes on",
            marks=pytest.mark.slow,
        ),
        (
            "import rich.live; rich.live.Live.update = None",
            "progress=None",
            "the progress bar ended with TypeError",
        ),
        *(
            pytest.param(body, shown, "", marks=pytest.mark.slow)
            for body, shown in (
                (
                    "warnings.simplefilter('error')\ndef fails(*_): raise KeyError(4)",
                    "progress=fails",
                ),
                ("sys.stderr = None", "progress=None"),
                ("sys.stderr = open('/dev/full', 'w')", "progress=True"),
                ("sys.stderr.close()", "progress=True"),
            )
        ),
    ],
    ids=[
        "four threads",
        "a function that fails",
        "a bar that fails",
        "warnings are errors",
        "no stderr",
        "full",
        "closed",
    ],
)
def test_no_display_ends_or_changes_a_computation(folder, busy, body, progress, says):
    (folder / "stress.py").write_text(
        STRESS.replace("BODY", body).replace("PROGRESS", progress), encoding="utf-8"
    )
    shown = on_terminal(folder, "stress.py", environment=busy)
    assert "equal: True" in shown.text, shown.text[-2000:]
    # a terminal breaks lines anywhere
    assert "".join(says.split()) in "".join("".join(shown.lines).split())
    assert shown.code in {0, 120}  # 120: the interpreter could not flush a closed stream
    assert shown.cursor
    assert "Traceback" not in shown.text
