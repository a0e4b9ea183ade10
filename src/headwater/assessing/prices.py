"""The price file: headwater's defaults, and a user's file, which takes precedence over them and
over measurements.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from headwater.assessing.formulas import SYMBOLS
from headwater.disk import read_toml, write_new
from headwater.errors import UsageError, nearest
from headwater.results.measurement import Number, Origin


def default_text() -> str:
    """Headwater's default price file."""
    return files("headwater.assessing").joinpath("prices.toml").read_text(encoding="utf-8")


def defaults() -> dict[str, Number]:
    """The default inputs of the formulas, each marked as a default.

    >>> print(defaults()["p_gb"])
    0.25 USD/GB-month (default)
    """
    return _numbers(tomllib.loads(default_text()), "default", "headwater's defaults")


def given(path: Path) -> dict[str, Number]:
    """Read a user's price file.

    Raises:
        UsageError: the file does not exist or is not TOML, a symbol is unknown, or a value is not a
            number of at least 0.
    """
    return _numbers(
        read_toml(path, f"no price file at {path}; write one with --write-prices {path}"),
        "given",
        str(path),
    )


def write(path: Path) -> None:
    """Write headwater's default price file to a new file.

    Raises:
        UsageError: the file exists.
    """
    write_new(path, default_text(), "prices")


def _numbers(table: Mapping[str, object], origin: Origin, location: str) -> dict[str, Number]:
    default_prices = {} if origin == "default" else defaults()
    return {
        name: _number(name, entry, origin, location, default_prices.get(name))
        for name, entry in table.items()
    }


def _number(
    name: str, entry: object, origin: Origin, location: str, default: Number | None
) -> Number:
    if name not in SYMBOLS:
        raise UsageError(
            f"{location}: {name!r} is not a symbol of the formulas; {nearest(name, SYMBOLS)}"
        )
    fields: Mapping[str, object] = entry if isinstance(entry, dict) else {"value": entry}
    value = fields.get("value")
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < float("inf")
    ):
        raise UsageError(f"{location}: [{name}] value is {value!r}; give a number of at least 0")
    if (name in ("rho", "h") and value > 1) or (name == "rho" and value == 0):
        raise UsageError(
            f"{location}: [{name}] value is {value!r}; give a share from 0 to "
            f"1{', above 0' * (name == 'rho')}"
        )
    unit = str(fields.get("unit", "" if default is None else default.unit))
    return Number(float(value), unit, origin, str(fields.get("source", location)))
