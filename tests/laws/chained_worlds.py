"""Seeded worlds of several views: aliases, features and lists that fill keys, enriched events."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from tests.laws import oracle as o
from tests.laws.definitions import UTC, Schema
from tests.laws.oracle import DAY, HOUR, MINUTE, SECOND
from tests.laws.worlds import instant

SCHEMA: Schema = {
    "at": UTC,
    "known": UTC,
    "u": UTC,
    "id": pl.Int64(),
    **dict.fromkeys("abv", pl.Int64()),
}
ASKED: Schema = {"timestamp": UTC, "a": pl.Int64(), "b": pl.Int64(), "list": pl.List(pl.Int64())}


@dataclass(frozen=True)
class Chain:
    """Two plain sources, views over them, and a view over an enriched source."""

    seed: int
    base: o.Source
    other: o.Source
    members: tuple[o.View, ...]  # asked for directly, and what enriches events
    listed: o.View
    view: o.View  # over the enriched source
    asked: Sequence[o.Row]


def make_chain(seed: int) -> Chain:
    r = random.Random(seed)
    noon = 1_700_000_000_000_000 // DAY * DAY + r.choice([0, 5 * HOUR, HOUR - 1])
    windows = [
        o.Window(*given)
        for given in [
            (HOUR,),
            (HOUR, 0, HOUR),
            (10 * MINUTE,),
            (DAY,),
            (3 * HOUR, 0, 1),
            (HOUR, 10 * MINUTE),
        ]
    ]
    one, two = r.sample(windows, 2)
    small = min(int(one.length or 0), int(two.length or 0))
    times = [0, 1, small, o.hop_of(one), MINUTE, SECOND]

    def rows(n: int, *, late: bool) -> list[o.Row]:
        made = []
        for number in range(n):
            at = noon - r.choice(
                [
                    r.randint(0, 2 * small),
                    r.choice(times) + r.choice([-1, 0, 1]),
                    r.randint(0, small // 4),
                ]
            )
            lag = (
                r.choice([0, 0, 0, SECOND, MINUTE, HOUR, -SECOND, -MINUTE, -HOUR, -1, 1])
                if late
                else 0
            )
            ended = None if r.random() < 0.3 else instant(at + r.choice([0, 1, MINUTE, small]))
            known = None if r.random() < 0.03 else instant(at + lag)
            values = {
                "a": r.choice([0, 1, None]),
                "b": r.choice([0, 1, 1]),
                "v": r.choice([1, 2, 3, 10, None]),
            }
            made.append({"at": instant(at), "known": known, "id": number, "u": ended, **values})
        return made

    def source(name: str) -> o.Source:
        late = r.random() < 0.6
        made = o.Source(
            name,
            rows(r.choice([5, 20, 40]), late=late),
            ("a", "b", "v", "u"),
            known_at_field="known" if late else None,
        )
        made = replace(made, known_after=0 if late else r.choice([0, 0, SECOND, HOUR]))
        if r.random() < 0.3:
            made = replace(made, id_field="id", id_horizon=r.choice([SECOND, HOUR, DAY]))
            for row in made.rows:
                row["id"] = r.randint(0, len(made.rows) // 2)
        return made

    base = source("base")
    other = base if r.random() < 0.5 else source("other")
    fresh = [
        o.OnRequest(),
        o.Streaming(0),
        o.Streaming(MINUTE),
        o.Batch(HOUR, delay=10 * MINUTE, wait=5 * MINUTE),
        o.Batch(15 * MINUTE, delay=MINUTE, wait=MINUTE),
    ]
    queue = (o.Aggregation("open_count", ("u",), name="q"),) if r.random() < 0.3 else ()
    first = o.View(
        "va",
        other,
        ("a",),
        (o.Aggregation("sum", ("v",), name="s"), o.Aggregation("last", ("v",), name="l"), *queue),
        r.choice(fresh),
        windows=(one,),
        ttl=r.choice([None, None, 10 * MINUTE]),
    )
    second = o.View(
        "vb",
        other,
        ("b",),
        (o.Aggregation("max", ("v",), name="m"),),
        r.choice(fresh),
        windows=(two,),
    )
    of = "b" if r.random() < 0.6 else o.FeatureOf(second, o.features_of(second)[0].name)
    third = replace(first, name="al", fills={"a": of})
    enriched = o.Source(
        "enriched",
        (),
        (),
        known_at_field=base.known_at_field,
        known_after=base.known_after,
        window_on=r.choice(["timestamp"] * 4 + ["known_at"]) if base is not other else "timestamp",
        id_field=base.id_field,
        base=base,
        members=(first, third, second),
    )
    # as its base, whose events are then placed by their known times
    if enriched.window_on == "known_at":
        base = replace(base, window_on="known_at")
        enriched = replace(enriched, base=base)
    reads = [
        ("sum", "va__s"),
        ("sum", "al__s"),
        ("last", "vb__m"),
        ("max", "va__l"),
        *([("sum", "va__q")] if queue else []),
    ]
    suffix = {"va": o.window_text(one), "al": o.window_text(one), "vb": o.window_text(two)}
    aggregations = [
        o.Aggregation(f, (f"{c}_{suffix[c[:2]]}",), name=f"x{n}") for n, (f, c) in enumerate(reads)
    ]
    view = o.View(
        "ve",
        enriched,
        ("a",),
        (*aggregations, o.Aggregation("count", name="n")),
        r.choice(fresh),
        windows=(two,),
    )
    asked = []
    for _ in range(8):
        at = (
            noon
            + r.choice([0, 1, -1, MINUTE, HOUR, 10 * MINUTE, 11 * MINUTE])
            - r.choice([0, 0, small, small // 2, r.randint(0, small)])
        )
        keys = r.choice([None, [], [0, 1], [1, None, 7, 1]])
        asked.append(
            {
                "timestamp": instant(at),
                "a": r.choice([0, 1, None]),
                "b": r.choice([0, 1, 5]),
                "list": keys,
            }
        )
    listed = replace(first, name="li", fills={"a": "list"}, list_key="a")
    return Chain(seed, base, other, (first, third, second), listed, view, asked)
