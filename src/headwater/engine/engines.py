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
        "spark": "headwater.engine.spark.spark_engine:SparkEngine",
    }
)
"""Engines by name: "module:class". The class takes no arguments; for a name such as "spark:sc://host:15002" it takes what follows."""


def open_engine(engine: Engine | str | None = None) -> Engine:
    """An engine, or the one of a name, such as "local" or "spark:sc://host:15002"; None is the engine of the settings (HEADWATER_ENGINE,
    else "local").

    Raises:
        UsageError: there is no engine of that name, or it takes no address.

    >>> type(open_engine("local")).__name__
    'LocalEngine'
    """
    if engine is None or isinstance(engine, str):
        return _opened(settings.engine() if engine is None else engine)
    return engine


@cache
def _opened(text: str) -> Engine:
    name, _, address = text.partition(":")
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}; {nearest(name, ENGINES)}")
    module, _, kind = ENGINES[name].partition(":")
    make = getattr(importlib.import_module(module), kind)
    try:
        return cast("Engine", make(address) if address else make())
    except TypeError:
        raise UsageError(f"the engine is {text!r}, and {name!r} takes no address; give {name!r}") from None
