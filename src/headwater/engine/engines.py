"""The table of engines, and which of them a call uses."""

from __future__ import annotations

import importlib
from functools import cache
from typing import cast

from headwater import settings
from headwater.engine.query import Engine
from headwater.errors import UsageError, nearest
from headwater.rows import Rows

ENGINES: Rows[str] = Rows(
    "engines",
    {
        "local": "headwater.engine.local.local_engine:LocalEngine",
        "naive": "headwater.testing.naive_engine:NaiveEngine",
        "spark": "headwater.engine.spark.spark_engine:SparkEngine",
    },
    paths=True,
)
"""Engines by name: "module:class". The class takes no arguments; for a name such as
"spark:sc://host:15002" it takes what follows.
"""


def open_engine(engine: Engine | str | None = None) -> Engine:
    """An engine, or the one of a name, such as "local" or "spark:sc://host:15002"; None is the
    engine of the settings (HEADWATER_ENGINE, else "local").

    Raises:
        UsageError: no engine of that name, or it takes no address.

    >>> type(open_engine("local")).__name__
    'LocalEngine'
    """
    if engine is None or isinstance(engine, str):
        return _opened(settings.engine() if engine is None else engine)
    return engine


def engine_name(engine: Engine | str | None = None) -> str:
    """The name of an engine in the table, without an address; of an engine outside of the table,
    the name of its class.

    >>> engine_name("spark:sc://host:15002/;token=secret")
    'spark'
    >>> engine_name(open_engine("local"))
    'local'
    """
    if engine is None or isinstance(engine, str):
        return (settings.engine() if engine is None else engine).partition(":")[0]
    kind = type(engine)
    names = [name for name, path in ENGINES.items() if path == f"{kind.__module__}:{kind.__name__}"]
    return names[0] if names else kind.__name__


@cache
def _opened(text: str) -> Engine:
    name, _, address = text.partition(":")
    if name not in ENGINES:
        raise UsageError(f"no engine {name!r}; {nearest(name, ENGINES)}")
    module, _, kind = ENGINES[name].partition(":")
    make = getattr(importlib.import_module(module), kind)
    try:
        return cast("Engine", make(address) if address else make())
    except TypeError:
        raise UsageError(
            f"the engine is {text!r}, and {name!r} takes no address; give {name!r}"
        ) from None
