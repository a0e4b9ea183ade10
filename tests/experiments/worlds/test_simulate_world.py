"""`headwater experiment simulate`: names, worlds of one's own, and designs that a world does not
allow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headwater.cli import main
from headwater.errors import UsageError
from headwater.experiments.worlds.simulate_world import WORLDS, simulate_world, world_of
from headwater.experiments.worlds.world import World

if TYPE_CHECKING:
    import numpy as np

OWN = '''
from dataclasses import dataclass
import numpy as np
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.worlds.world import ArmTotals

@dataclass(frozen=True)
class Still:
    """Nothing interferes; the true lift is 10 %."""
    name: str = "still"
    markets: int = 12
    steps: int = 28
    burn_in: int = 2
    steps_a_day: int = 1

    def simulate(self, share, random):
        treated, control = random.poisson(2000 * share), random.poisson(2000 * (1 - share))
        return ArmTotals(random.binomial(control, 0.2), control, random.binomial(treated, 0.22), treated)

    def backtest(self, random):
        return RelativeLift(0.2, 0.22, np.log(1.1) + 0.01 * random.standard_normal(), 0.01)
'''


@pytest.mark.parametrize("name", WORLDS)
def test_every_name_is_a_world(name: str) -> None:
    assert isinstance(world_of(name), World)


def test_a_world_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my_world.py"
    file.write_text(OWN, encoding="utf-8")
    assert main(["experiment", "simulate", f"{file}:Still", "--runs", "30", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["truth"] == pytest.approx(0.1, abs=0.005)
    assert [design["design"] for design in found["designs"]][:2] == ["backtest", "A/B test by unit"]
    for design in found["designs"]:
        assert design["covered"] >= 0.8, design


def test_the_world_of_the_docs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text(encoding="utf-8")
    file = tmp_path / "courier.py"
    file.write_text(
        page.partition("`courier.py`")[2].partition("```python\n")[2].partition("```")[0],
        encoding="utf-8",
    )
    found = simulate_world(world_of(f"{file}:Couriers"), 100)
    designs = {of.design: of for of in found.designs}
    assert found.truth == pytest.approx(0.09, abs=0.01)
    for misled in ("backtest", "A/B test by unit"):
        assert designs[misled].mean == pytest.approx(0.25, abs=0.01)
        assert not designs[misled].recovers
    assert designs["clusters, after 2d"].recovers


@pytest.mark.slow
def test_results_repeat_and_print(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (simulate_world(world_of("adaptive-fraud"), 4, 3) for _ in range(2))
    assert all((a.lifts == b.lifts).all() for a, b in zip(one.designs, two.designs, strict=True))
    assert main(["experiment", "simulate", "adaptive-fraud", "--runs", "4"]) == 0
    printed = capsys.readouterr().out
    assert "the true lift is -48" in printed
    assert "recovers" in printed
    assert "misleads" in printed


class _Alone:
    """A single market: no design over markets is possible."""

    name, markets, steps, burn_in, steps_a_day = "alone", 1, 14, 1, 1

    def simulate(self, share: np.ndarray, random: np.random.Generator) -> object:
        return world_of("adaptive-fraud").simulate(share, random)

    def backtest(self, random: np.random.Generator) -> object:
        return world_of("adaptive-fraud").backtest(random)


def test_designs_that_a_world_does_not_allow_are_named() -> None:
    found = simulate_world(_Alone(), 3)
    assert [result.design for result in found.designs] == ["backtest"]
    assert len(found.skipped) == 5
    assert all(reason.partition(": ")[2] for reason in found.skipped)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shared-suply", "did you mean 'shared-supply'"),
        ("nowhere.py:World", "no file nowhere.py"),
        (f"{__file__}:OWN", "a world has name, markets"),
        (f"{__file__}:Missing", "a world has name, markets"),
    ],
)
def test_what_is_no_world_is_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        world_of(name)


def test_one_run_is_refused() -> None:
    with pytest.raises(UsageError, match="runs is 1; at least 2"):
        simulate_world(world_of("adaptive-fraud"), 1)
