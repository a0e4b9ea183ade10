"""What two folders of answers differ in, to the bit, and which differences are meant."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isclose
from pathlib import Path
from typing import NamedTuple

import polars as pl

MEANT = Path(__file__).with_name("meant.toml")
_NONE = object()
_EXACT: Mapping[str, float] = {}


@dataclass(frozen=True)
class Difference:
    """An answer (`file/column`, or `file/path` in JSON) that is another one in the two versions."""

    answer: str
    text: str
    former: object = None
    present: object = None


class Judged(NamedTuple):
    """Differences that were not intended, how many each pattern names, and patterns that name
    none.
    """

    rest: list[Difference]
    counts: dict[str, int]
    unused: list[str]


def differences(
    former: Path, present: Path, rounded: Mapping[str, float] = _EXACT
) -> Iterator[Difference]:
    """Every difference between two folders of parquet and JSON files.

    rounded: by a pattern of answers, by how much of the larger one two floats may differ.
    """
    names = sorted({path.name for folder in (former, present) for path in folder.iterdir()})
    for name in names:
        sides = [folder / name for folder in (former, present)]
        if missing := [path for path in sides if not path.exists()]:
            which = "the former" if missing[0] == sides[0] else "this version"
            yield Difference(name, f"{which} has no such answer")
        elif name.endswith(".parquet"):
            yield from _of_frames(name, *map(pl.read_parquet, sides), rounded)
        else:
            former_values, values = (json.loads(path.read_text("utf-8")) for path in sides)
            for difference in _of_values(name, former_values, values):
                sides = difference.former, difference.present
                if not _is_rounding(difference.answer, *sides, rounded):
                    yield difference


def _of_frames(
    name: str, former: pl.DataFrame, present: pl.DataFrame, rounded: Mapping[str, float]
) -> Iterator[Difference]:
    if former.height != present.height:
        yield Difference(name, f"{former.height} rows, now {present.height}")
        return
    for column in dict.fromkeys([*former.columns, *present.columns]):
        answer = f"{name}/{column}"
        if column not in former.columns or column not in present.columns:
            gone = column in former.columns
            yield Difference(answer, "the column is gone" if gone else "the column is new")
            continue
        one, other = former[column], present[column]
        if one.dtype != other.dtype:
            yield Difference(answer, f"{one.dtype}, now {other.dtype}")
            continue
        pairs = enumerate(zip(_bits(one), _bits(other), strict=True))
        unlike = [i for i, (left, right) in pairs if left != right]
        unlike = [i for i in unlike if not _is_rounding(answer, one[i], other[i], rounded)]
        if unlike:
            first = unlike[0]
            text = f"row {first}: {one[first]!r}, now {other[first]!r}"
            yield Difference(answer, f"{len(unlike)} of {len(one)} rows; {text}")


def _is_rounding(
    answer: str, former: object, present: object, rounded: Mapping[str, float]
) -> bool:
    """Whether both are floats, and as near to each other as a pattern allows."""
    if not isinstance(former, float) or not isinstance(present, float):
        return False
    shares = [share for pattern, share in rounded.items() if fnmatchcase(answer, pattern)]
    return bool(shares) and isclose(former, present, rel_tol=max(shares))


def _bits(column: pl.Series) -> list[str]:
    """Each value so that only equal bits are equal: a NaN is itself, and 0.0 is not -0.0."""
    return [repr(value.to_list() if isinstance(value, pl.Series) else value) for value in column]


def _of_values(name: str, former: object, present: object) -> Iterator[Difference]:
    if isinstance(former, dict) and isinstance(present, dict):
        for key in dict.fromkeys([*former, *present]):
            sides = former.get(key, _NONE), present.get(key, _NONE)
            yield from _of_values(f"{name}/{key}", *sides)
    elif isinstance(former, list) and isinstance(present, list) and len(former) == len(present):
        for index, sides in enumerate(zip(former, present, strict=True)):
            yield from _of_values(f"{name}/{index}", *sides)
    elif repr(former) != repr(present):
        told = ["nothing" if side is _NONE else repr(side) for side in (former, present)]
        yield Difference(name, f"{told[0]}, now {told[1]}", former, present)


def meant(path: Path = MEANT) -> dict[str, str]:
    """Patterns of answers that are to differ, each with its reason.

    Raises:
        ValueError: one has no reason.
    """
    listed = tomllib.loads(path.read_text(encoding="utf-8")).get("change", [])
    reasons = {entry["answer"]: entry.get("reason", "").strip() for entry in listed}
    if silent := [answer for answer, reason in reasons.items() if not reason]:
        raise ValueError(f"{path} gives no reason for {', '.join(silent)}")
    return reasons


def rounding(path: Path = MEANT) -> dict[str, float]:
    """Patterns of answers whose floats are rounded, and by how much of them two may differ."""
    listed = tomllib.loads(path.read_text(encoding="utf-8")).get("rounded", [])
    return {entry["answer"]: entry["within"] for entry in listed}


def judged(found: Sequence[Difference], reasons: Mapping[str, str]) -> Judged:
    """Sort the differences by the patterns that name them."""
    counts = dict.fromkeys(reasons, 0)
    rest = []
    for difference in found:
        named = [pattern for pattern in reasons if fnmatchcase(difference.answer, pattern)]
        for pattern in named:
            counts[pattern] += 1
        if not named:
            rest.append(difference)
    return Judged(rest, counts, [pattern for pattern, count in counts.items() if not count])
