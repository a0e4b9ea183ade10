"""Every engine of the table obeys the whole conformance suite."""

from random import Random

import pytest

from headwater.engine.engines import ENGINES, open_engine
from headwater.engine.local import compute
from headwater.testing import engine_laws
from tests.effort import FULL, LONG

pytestmark = [
    # cases have windows shorter than a delay
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
]


LONGER = {"every aggregation", "several levels", "expired values"}
"""Laws that take a second and more."""


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("seed", range(8 if LONG else 2 if FULL else 1))
@pytest.mark.parametrize(
    "law",
    [
        pytest.param(law, marks=[pytest.mark.slow] if law in LONGER else [])
        for law in engine_laws.LAWS
    ],
)
# tests/engine/spark has that of Spark, with servers
@pytest.mark.parametrize(
    "engine", [name for name in ENGINES if name != "spark"] if FULL else ["local"]
)
def test_engines_obey(engine, law, seed):
    engine_laws.LAWS[law](open_engine(engine), Random(seed))


@pytest.mark.slow
@pytest.mark.parametrize("law", ["every aggregation", "several levels"])
def test_features_in_groups_of_few_columns(law, monkeypatch):
    monkeypatch.setattr(compute, "_COLUMNS", 1)
    engine_laws.LAWS[law](open_engine("local"), Random(1))
