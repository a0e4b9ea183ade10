"""Show how the online store stands: each stream, each view, how old its values are, what waits and what was refused."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.pipelines.status import Status

SUMMARY = "show how streams and views stand in the online store"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater status`."""
    options.project(parser, model=False)
    options.store(parser)
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Read the store, and print."""
    project = load(given.project).project
    from headwater.definitions.arm import AS_DEFINED
    from headwater.pipelines.status import status

    found = status(project, store=given.store, folder=options.place(given))
    screen.show(_table(found), found.to_dict())
    absent = [v for v in found.views if v.stands == "absent"]
    behind = absent or [v for v in found.views if v.stands == "stale"]
    batch = any("every" in v.freshness for v in behind)
    verb = "materialize" if batch else "ingest" if behind else "parity"
    unmade = [p for p in found.predictions if p.stands == "absent"]
    if unmade and not absent:
        level = () if unmade[0].level == AS_DEFINED else ("--level", unmade[0].level)
        screen.next("headwater", "materialize", unmade[0].model, *level, "--project", given.project, *options.same_store(given))
        return
    screen.next("headwater", verb, "--project", given.project, *options.same_store(given))


def _table(found: Status) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    streams = Table("stream", "commits", "behind", "accepted", "late", "held", "refused", "archived", box=box.SIMPLE_HEAD, show_edge=False)
    for s in found.streams:
        name = s.source if s.partition is None else f"{s.source} {s.partition}"
        accepted = s.counts.get("accepted", 0) + s.counts.get("released", 0)
        numbers = (accepted, s.counts.get("late", 0), s.held, sum(s.dead.values()), s.archived)
        streams.add_row(name, f"{s.commits:,}", _age(s.behind(found.now)), *(f"{n:,}" for n in numbers))
    views = Table("view", "freshness", "stands", "age", "cut", "keys", "size", box=box.SIMPLE_HEAD, show_edge=False)
    for v in found.views:
        cut = "" if v.T is None else clock.moment(v.T).isoformat()
        views.add_row(v.view, v.freshness, v.stands, _age(v.age), cut, f"{v.keys:,}", _size(v.bytes))
    ahead = Table("predictions", "level", "by", "made", "stands", "age", "cut", "keys", "version", box=box.SIMPLE_HEAD, show_edge=False)
    for p in found.predictions:
        cut = "" if p.T is None else clock.moment(p.T).isoformat()
        ahead.add_row(p.model, p.level, ", ".join(p.by), p.freshness, p.stands, _age(p.age), cut, f"{p.keys:,}", p.version)
    refused = [Text(f"refused by {s.source}: {n:,} {reason}") for s in found.streams for reason, n in s.dead.items()]
    uncompared = {s.source: s.clock.removeprefix("not compared: ") for s in found.streams if s.clock and s.clock != "compared"}
    clocks = [f"source {source}: the wall clock is not compared with that of its broker: {why}" for source, why in uncompared.items()]
    return Group(
        *([streams] if found.streams else []),
        views,
        *([ahead] if found.predictions else []),
        *refused,
        *(Text(said) for said in clocks),
        Text(f"the store takes {_size(found.size)}"),
    )


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2f} s"


def _size(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"
