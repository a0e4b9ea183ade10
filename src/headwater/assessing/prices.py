"""The price file: headwater's own defaults, and a user's file that goes before them and before what is measured."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from headwater.assessing.formulas import SYMBOLS
from headwater.errors import UsageError, nearest
from headwater.results.measurement import Number, Origin


def default_text() -> str:
    """Headwater's own price file."""
    return files("headwater.assessing").joinpath("prices.toml").read_text(encoding="utf-8")


def defaults() -> dict[str, Number]:
    """What the formulas read where nobody says otherwise, each marked as a default.

    >>> print(defaults()["p_gb"])
    0.25 USD/GB-month (default)
    """
    return _numbers(default_text(), "default", "headwater's defaults")


def given(path: Path) -> dict[str, Number]:
    """What a user's file says.

    Raises:
        UsageError: no such file, no TOML, an unknown symbol, or a value that is no number of at least nothing.
    """
    try:
        return _numbers(path.read_text(encoding="utf-8"), "given", str(path))
    except FileNotFoundError:
        raise UsageError(f"no price file at {path}; write one with --write-prices {path}") from None


def write(path: Path) -> None:
    """Write headwater's own price file into a new one.

    Raises:
        UsageError: the file is there already.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(default_text())
    except FileExistsError:
        raise UsageError(f"{path} is there already, and may hold prices; name a new file") from None


def _numbers(text: str, origin: Origin, where: str) -> dict[str, Number]:
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is no TOML: {error}") from error
    own = {} if origin == "default" else defaults()
    return {name: _number(name, entry, origin, where, own.get(name)) for name, entry in said.items()}


def _number(name: str, entry: object, origin: Origin, where: str, default: Number | None) -> Number:
    if name not in SYMBOLS:
        raise UsageError(f"{where}: {name!r} is no symbol of the formulas; {nearest(name, SYMBOLS)}")
    fields: Mapping[str, object] = entry if isinstance(entry, dict) else {"value": entry}
    value = fields.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise UsageError(f"{where}: [{name}] value is {value!r}; give a number of at least 0")
    if (name in ("rho", "h") and value > 1) or (name == "rho" and value == 0):
        raise UsageError(f"{where}: [{name}] value is {value!r}, and it is a share; give one from 0 to 1{', above 0' * (name == 'rho')}")
    unit = str(fields.get("unit", "" if default is None else default.unit))
    return Number(float(value), unit, origin, str(fields.get("source", where)))
