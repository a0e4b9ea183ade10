"""Show the state of the online store: streams, views, ages of values, held events and refused
records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.monitoring.status import Status


def run(args: Arguments, screen: Screen) -> None:
    """Read the store, and print."""
    project = load(args.project).project
    from headwater.definitions.level import AS_DEFINED
    from headwater.monitoring.status import status

    if args.rate is not None and args.service is None:
        raise UsageError(
            "--rate is what a running service is asked for; name it with --service http://HOST:PORT"
        )
    capacity = None
    if args.service is not None:
        from headwater.monitoring.serving_capacity import serving_capacity

        capacity = serving_capacity(args.service, args.rate)
    result = status(project, store=args.store, data_dir=options.data_dir(args), models=args.models)
    screen.show(
        _table(result),
        {**result.to_dict(), **({} if capacity is None else {"serving": capacity.to_dict()})},
    )
    if capacity is not None:
        screen.say(str(capacity))
    passed_over = [v for v in result.views if v.note]
    for view in passed_over:
        screen.warning(f"view {view.view} is {view.state}: {view.note}")
    absent = [v for v in result.views if v.state == "absent" and not v.note]
    behind = absent or [v for v in result.views if v.state == "stale"]
    batch = any("every" in v.freshness for v in behind)
    verb = "materialize" if batch else "ingest" if behind else "parity"
    unmade = [p for p in result.predictions if p.state == "absent"]
    if unmade and not absent:
        level = () if unmade[0].level == AS_DEFINED else ("--level", unmade[0].level)
        screen.next(
            "headwater",
            "materialize",
            unmade[0].model,
            *level,
            "--project",
            args.project,
            *options.same_store(args),
        )
        return
    if passed_over and not behind:
        return
    screen.next("headwater", verb, "--project", args.project, *options.same_store(args))


def _table(result: Status) -> RenderableType:
    from headwater.pages import delivery_words, drift_words
    from headwater.terminal.layout import Group, Shown, ShownTable
    from headwater.terminal.text import moment

    streams = []
    for s in result.streams:
        name = s.source if s.partition is None else f"{s.source} {s.partition}"
        accepted = s.counts.get("accepted", 0) + s.counts.get("released", 0)
        numbers = (accepted, s.counts.get("late", 0), s.held, sum(s.dead.values()), s.archived)
        streams.append(
            [name, f"{s.commits:,}", _age(s.behind(result.now)), *(f"{n:,}" for n in numbers)]
        )
    views = []
    for v in result.views:
        cut = "" if v.T is None else moment(clock.timestamp(v.T))
        views.append(
            [v.view, v.freshness, v.state, _age(v.age), cut, f"{v.keys:,}", _size(v.bytes)]
        )
    predictions = []
    for p in result.predictions:
        cut = "" if p.T is None else moment(clock.timestamp(p.T))
        predictions.append(
            [
                p.model,
                p.level,
                ", ".join(p.by),
                p.freshness,
                p.state,
                _age(p.age),
                cut,
                f"{p.keys:,}",
                p.version,
            ]
        )
    refused = [
        Shown(f"refused by {s.source}: {n:,} {reason}")
        for s in result.streams
        for reason, n in s.dead.items()
    ]
    uncompared = {
        s.source: s.clock.removeprefix("not compared: ")
        for s in result.streams
        if s.clock and s.clock != "compared"
    }
    clocks = [
        f"source {source}: the wall clock is not compared with that of its broker: {why}"
        for source, why in uncompared.items()
    ]
    tables = [
        ShownTable(
            "",
            ["stream", "commits", "behind", "accepted", "late", "held", "refused", "archived"],
            streams,
        ),
        ShownTable("", ["view", "freshness", "state", "age", "cut", "keys", "size"], views),
        ShownTable(
            "",
            ["predictions", "level", "by", "made", "state", "age", "cut", "keys", "version"],
            predictions,
        ),
    ]
    return Group(
        *(part for table in tables if table.rows for part in (table, Shown(""))),
        *refused,
        *(
            Shown(f"source {source}: {rule}; `headwater parity` finds them")
            for source, rule in result.producers.items()
        ),
        *(Shown(line) for line in clocks),
        *(
            Shown(delivery_words.status_line(delivery), "bold red" if delivery.withdrawn else "")
            for delivery in result.deliveries
        ),
        *(
            Shown(drift_words.status_line(drift), "bold red" if drift.alerts else "")
            for drift in result.drifts
        ),
        *(
            Shown(str(objective), "bold red" if objective.missed else "")
            for objective in result.objectives
        ),
        *(
            Shown(f"unexpected in {s.source}: {count:,} events, {name.partition(': ')[2]}")
            for s in result.streams
            for name, count in s.counts.items()
            if name.startswith("unexpected: ")
        ),
        Shown(f"the store takes {_size(result.size)}"),
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


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.store(),
        *options.models(),
        option(
            "--service",
            metavar="URL",
            help=(
                "also show the measured cost of a request of a running `headwater serve`; its "
                "token is HEADWATER_TOKEN"
            ),
        ),
        option(
            "--rate",
            metavar="N",
            type=float,
            help="with --service: how many workers N requests a second need",
        ),
        *options.as_json(),
    ],
    help=__doc__,
    examples=[
        "headwater status",
        "headwater status --json",
        "headwater status --service http://127.0.0.1:8320 --rate 20000",
    ],
)
