"""The demo, step by step."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from headwater.backtesting.backtest import Backtest
from headwater.backtesting.backtest import backtest as _backtest
from headwater.definitions.project import Project
from headwater.demo.flights import write_tables
from headwater.training.resources import Tick

if TYPE_CHECKING:
    import polars as pl


def prepare(folder: Path) -> bool:
    """Write the tables into `folder/data` and the definitions into `folder/features.py`; whether those are the demo's own.

    Definitions that are there already are kept: someone may have tried something in them.
    """
    write_tables(folder / "data")
    own, definitions = Path(__file__).with_name("features.py"), folder / "features.py"
    if not definitions.exists():
        shutil.copyfile(own, definitions)
    return definitions.read_bytes() == own.read_bytes()


def backtest(project: Project, names: Mapping[str, object], tick: Tick | None = None) -> Backtest:
    """The demo's backtest; `names` are those that its definitions file defines."""
    slices = cast("Mapping[str, pl.Expr]", names["slices"])
    return _backtest(project.model("late"), levels=project.levels, split=str(names["split"]), slices=slices, progress=tick or False)
