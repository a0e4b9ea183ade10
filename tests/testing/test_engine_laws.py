"""Every engine of the table obeys the whole conformance suite."""

from random import Random

import pytest

from headwater.engine.engines import ENGINES, open_engine
from headwater.testing import engine_laws

pytestmark = [
    # cases have windows shorter than a delay
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
]


LONGER = {"every aggregation", "several levels", "expired values"}
"""Laws that take a second and more."""


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(law, marks=[pytest.mark.slow] if law in LONGER else [])
        for law in engine_laws.LAWS
    ],
)
# tests/engine/spark has that of Spark, with servers
@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "spark"])
def test_engines_obey(engine, law):
    engine_laws.LAWS[law](open_engine(engine), Random(0))
