"""The table of engines, and which of them a call uses."""

from __future__ import annotations

import importlib
from functools import cache
from typing import cast

from headwater import settings
from headwater.engine.query import Engine
from headwater.errors import UsageError, nearest
from headwater.plugins import Rows

ENGINES: Rows[str] = Rows(
    {
        "local": "headwater.engine.local.local_engine:LocalEngine",
        "naive": "headwater.testing.naive_engine:NaiveEngine",
    }
)
"""Engines by name: "module:class"; the class takes no arguments."""


def open_engine(engine: Engine | str | None = None) -> Engine:
    """An engine, or the one of a name; None is the engine of the settings (HEADWATER_ENGINE, else "local").

    Raises:
        UsageError: there is no engine of that name.

    >>> type(open_engine("local")).__name__
    'LocalEngine'
    """
    if engine is None or isinstance(engine, str):
        return _opened(settings.engine() if engine is None else engine)
    return engine


@cache
def _opened(name: str) -> Engine:
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}; {nearest(name, ENGINES)}")
    module, _, kind = ENGINES[name].partition(":")
    return cast("Engine", getattr(importlib.import_module(module), kind)())
