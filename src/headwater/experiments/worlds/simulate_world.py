"""Every design in one world: which mislead, and which recover the truth."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final

from headwater.errors import DataError, UsageError, nearest
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.worlds.designs import (
    DesignResult,
    by_backtest,
    by_cluster,
    by_switchback,
    by_unit,
    judged,
    truth,
)
from headwater.experiments.worlds.world import World

WORLDS: Final = {
    "shared-supply": ("shared_supply", "SharedSupply", {}),
    "adaptive-fraud": ("adaptive_fraud", "AdaptiveFraud", {}),
    "recommender-loop": ("recommender_loop", "RecommenderLoop", {}),
    "recommender-loop-split": ("recommender_loop", "RecommenderLoop", {"split_logs": True}),
    "hourly-effect": ("hourly_effect", "HourlyEffect", {}),
}
"""Worlds by name: module, class and options."""


@dataclass(frozen=True)
class WorldResult:
    """A world's true lift and what each design makes of it; `skipped` are designs that the world
    does not allow, with reasons.
    """

    world: str
    truth: float
    runs: int
    designs: Sequence[DesignResult]
    skipped: Sequence[str]


def world_of(name: str) -> World:
    """A world by its name, or `FILE.py:NAME` for one of your own.

    Raises:
        UsageError: no such world, or not a world.

    >>> world_of("shared-supply").name
    'shared supply'
    """
    if name in WORLDS:
        module, kind, options = WORLDS[name]
        world: World = getattr(
            importlib.import_module(f"headwater.experiments.worlds.{module}"), kind
        )(**options)
        return world
    path, _, attribute = name.rpartition(":")
    if not path:
        raise UsageError(
            f"no world {name!r}, and FILE.py:NAME names one of your own; {nearest(name, WORLDS)}"
        )
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"no file {path}")
    specification = spec_from_file_location(file.stem, file)
    assert specification is not None
    assert specification.loader is not None
    loaded = module_from_spec(specification)
    sys.modules.setdefault(file.stem, loaded)
    specification.loader.exec_module(loaded)
    loaded_world = getattr(loaded, attribute, None)
    loaded_world = loaded_world() if isinstance(loaded_world, type) else loaded_world
    if not isinstance(loaded_world, World):
        raise UsageError(
            f"{name} is {loaded_world!r}; a world has name, markets, steps, burn_in, steps_a_day, "
            "simulate() and backtest()"
        )
    return loaded_world


def simulate_world(world: World, runs: int = 100, seed: int = 0) -> WorldResult:
    """Run every design.

    Args:
        world: one of `headwater.experiments.worlds`, or your own.
        runs: experiments of each design.
        seed: of all randomness.

    Raises:
        UsageError: fewer than 2 runs.
    """
    if runs < 2:
        raise UsageError(f"runs is {runs}; at least 2 show how estimates vary")
    true_lift = truth(world, max(runs, 50), seed)
    results, skipped = [], []
    for design, estimates in _designs(world):
        try:
            results.append(judged(design, estimates(runs, seed), true_lift))
        except DataError as error:
            skipped.append(f"{design}: {error}")
    return WorldResult(world.name, true_lift, runs, results, skipped)


def _designs(world: World) -> list[tuple[str, Callable[[int, int], list[RelativeLift]]]]:
    hours = world.steps_a_day == 24
    switchbacks = (
        [(1, 0, False), (6, 3, False), (7, 0, False), (7, 3, False), (8, 3, True)]
        if hours
        else [(1, 0, False), (2, 1, False)]
    )
    unit = "h" if hours else "d"
    early = max(world.burn_in // 6, 1)

    def switchback(
        length: int,
        washout: int,
        random: bool,  # noqa: FBT001
    ) -> Callable[[int, int], list[RelativeLift]]:
        return lambda runs, seed: by_switchback(
            world, runs, seed, length, washout, random_bounds=random
        )

    return [
        ("backtest", lambda runs, seed: by_backtest(world, runs, seed)),
        ("A/B test by unit", lambda runs, seed: by_unit(world, runs, seed)),
        (
            f"clusters, first {early}{unit}",
            lambda runs, seed: by_cluster(world, runs, seed, slice(0, early)),
        ),
        (
            f"clusters, after {world.burn_in}{unit}",
            lambda runs, seed: by_cluster(world, runs, seed),
        ),
        *(
            (
                f"switchback {length}{unit}"
                + (f", washout {washout}{unit}" if washout else "")
                + (", random bounds" if random else ""),
                switchback(length, washout, random),
            )
            for length, washout, random in switchbacks
        ),
    ]
