"""Which mutants a seed draws, so that two versions of the code are measured alike.

A site's rank is a hash of the seed and of the site's key: its file's name, function, operator and
text, and neither folder nor line nor the rest of the code. Code that was moved or left alone keeps
its mutants, new code draws new ones, and the ranks are as good as random in either. A folder's
share is that of its sites, so what was cut from a folder is no longer asked for there. A mutant
that is equivalent is replaced by the next rank of its folder.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scripts.mutation.operators import Site, parses, sites

WEIGHTS = {"number": 0.4, "swapped arguments": 0.4, "slice": 0.5}
"""Operators that find several changes in a place, or most places; the others weigh 1."""


@dataclass(frozen=True)
class Mutant:
    """A site of a file, in a folder of the package."""

    folder: str
    path: str  # below the checkout
    site: Site

    @cached_property
    def key(self) -> str:
        return self.site.key

    @property
    def place(self) -> tuple[str, int, int, str]:
        return self.path, self.site.start, self.site.end, self.site.operator

    @property
    def weight(self) -> float:
        return WEIGHTS.get(self.site.operator, 1.0)

    def rank(self, seed: int) -> float:
        """The time at which a clock of the site's weight rings: the earliest are drawn."""
        digest = hashlib.sha256(f"{seed}/{self.key}".encode()).digest()
        return -math.log((int.from_bytes(digest[:8]) + 1) / 2**64) / self.weight

    def text(self) -> str:
        change = " ".join(self.site.before.split()), " ".join(self.site.after.split())
        before, after = (part if len(part) < 70 else part[:67] + "..." for part in change)
        place = f"{self.path.removeprefix('src/headwater/')}:{self.site.line} {self.site.function}"
        return f"{self.key} {place} [{self.site.operator}] `{before}` -> `{after}`"


def folders(checkout: Path) -> list[str]:
    """The folders of src/headwater."""
    packages = (checkout / "src" / "headwater").glob("*/__init__.py")
    return sorted(path.parent.name for path in packages)


def mutants(checkout: Path, folders: Iterable[str], without: Iterable[str] = ()) -> list[Mutant]:
    """Every mutant of these folders of src/headwater, but of some paths below it."""
    source = checkout / "src" / "headwater"
    left_out = [source / path for path in without]
    return [
        Mutant(folder, path.relative_to(checkout).as_posix(), site)
        for folder in folders
        for path in sorted((source / folder).rglob("*.py"))
        if not any(path.is_relative_to(place) for place in left_out)
        for site in sites(path.read_bytes(), path.name)
    ]


def draw(
    checkout: Path,
    every: Iterable[Mutant],
    seed: int,
    count: int,
    without: Iterable[str] = (),
) -> list[Mutant]:
    """`count` of the mutants, the lowest ranks of each folder; none of the keys in `without`."""
    by_folder: dict[str, list[Mutant]] = {}
    for mutant in every:
        by_folder.setdefault(mutant.folder, []).append(mutant)
    weights = {folder: sum(m.weight for m in found) for folder, found in by_folder.items()}
    chosen = []
    for folder, quota in shares(weights, count).items():
        places = set()
        left = quota
        for mutant in sorted(by_folder[folder], key=lambda m: (m.rank(seed), m.path)):
            if left == 0:
                break
            if mutant.key in without or mutant.place in places:
                continue
            if not parses(mutant.site.applied((checkout / mutant.path).read_bytes())):
                continue
            places.add(mutant.place)
            chosen.append(mutant)
            left -= 1
    return chosen


def shares(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """`count` divided in proportion to the weights, by the largest remainders."""
    total = sum(weights.values()) or 1.0
    exact = {name: count * weight / total for name, weight in weights.items()}
    whole = {name: math.floor(share) for name, share in exact.items()}
    rest = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in rest[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def equivalent(path: Path) -> dict[str, str]:
    """The keys of mutants that change no answer, each with the reason in one line.

    Raises:
        ValueError: a mutant has no reason.
    """
    if not path.exists():
        return {}
    found = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", [])
    reasons = {entry["mutant"]: " ".join(entry.get("reason", "").split()) for entry in found}
    if silent := [key for key, reason in reasons.items() if not reason]:
        names = ", ".join(silent)
        raise ValueError(f"{path} gives no reason for {names}; say why no answer changes")
    return reasons
