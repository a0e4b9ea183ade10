"""The table of rows: the measurement, the peer and the goal of each. A new row is a function and a
line.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import function_rows, scale_rows
from bench.data import write_history, write_tables
from bench.measure import ROOT, ChildError, Skipped, child, clean, compared

EVENTS = 10_000_000
JOINED = 1_000_000
REPORTED_SECONDS, REPORTED_MB = 1800, 50_000
LARGE = 100_000_000
ASKED = 200_000
# bytes that headwater may hold at any scale: an interpreter with its libraries, and what splitting
# a history takes
LEAST = 600_000_000
BUDGETS = (900_000_000, 1_600_000_000)  # and beyond that, at this size
_SEVERAL = 3_000_000  # events up to which DuckDB has several turns
# bytes of address space that Feast may take: it can ask for more than a machine has
MEMORY = 16_000_000_000


@dataclass(frozen=True)
class Settings:
    """What a run was asked for."""

    scale: float = 1.0
    repeats: int = 5
    threads: int = 2
    limit: float = 300.0
    duckdb_scale: float = 1.0
    feast_python: str | None = None
    disk: str | None = None
    former: Path | None = None  # an interpreter that has a former version

    def of(self, full: int) -> int:
        """A size at this scale."""
        return max(int(full * self.scale), 100)


Row = Callable[[Settings], list[dict]]


def _bench(settings: Settings, module: str, *arguments: object) -> dict:
    return child([sys.executable, "-m", f"bench.{module}", *map(str, arguments)], settings.threads)


def _beside_sort(case: str, goal: str) -> Row:
    def row(settings: Settings) -> list[dict]:
        times = _bench(
            settings,
            "windows",
            case,
            settings.of(EVENTS),
            settings.repeats,
            settings.threads,
            settings.limit,
        )
        two = [
            o / s
            for o, s in zip(times["ours"]["seconds"], times["two columns"]["seconds"], strict=True)
        ]
        size = {key: times[key] for key in ("events", "rows", "first_call", "peak_mb")}
        name = f"point-in-time windows, {case}: 12 features"
        extra = {"ratio_to_sort_by_two_columns": round(float(np.median(two)), 3), **size}
        peer = "a polars sort of the events by one packed int64"
        return [
            {
                "name": name,
                "goal": goal,
                "peer_name": peer,
                **compared(times["ours"], times["peer"]),
                **extra,
            }
        ]

    return row


def duckdb(settings: Settings) -> list[dict]:
    """DuckDB takes minutes, so there is one turn; `--duckdb-scale` measures both sides on a part of
    the events instead.
    """
    try:
        import duckdb as peer
    except ImportError as error:
        raise Skipped("duckdb is not installed (the extra `bench` brings it)") from error
    events = max(int(settings.of(EVENTS) * settings.duckdb_scale), 100)
    repeats = 1 if events > _SEVERAL else min(settings.repeats, 3)
    times = _bench(
        settings, "windows", "duckdb", events, repeats, settings.threads, 2 * settings.limit
    )
    extra = {
        key: times[key]
        for key in ("events", "rows", "equal", "interrupted", "peer_limit")
        if key in times
    }
    return [
        {
            "name": (
                "point-in-time windows, integer keys: 12 features, against DuckDB RANGE windows"
            ),
            "goal": ">= 50",
            "peer_name": f"DuckDB {peer.__version__}",
            **compared(times["ours"], times["peer"], peer_over_ours=True),
            **extra,
        }
    ]


def levels(settings: Settings) -> list[dict]:
    """The cost of a backtest at four levels, relative to one level."""
    times = _bench(settings, "levels", settings.of(EVENTS), settings.repeats)
    size = {key: times[key] for key in ("events", "rows")}
    name = "4 levels (daily, hourly, minute, instant) against 1"
    return [
        {
            "name": name,
            "goal": "<= 1.9",
            "peer_name": "headwater at one level",
            **compared(times["ours"], times["peer"]),
            **size,
        }
    ]


def feast(settings: Settings) -> list[dict]:
    """Feast's join, each run in a fresh process, in turns."""
    if settings.feast_python is None:
        raise Skipped(
            "no Feast: make an environment with `feast[duckdb]` and name its interpreter with "
            "--feast-python"
        )
    size, repeats = settings.of(JOINED), min(settings.repeats, 3)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), size, size, users=max(size // 100, 2))
        mine = [sys.executable, "-m", "bench.joins", folder]
        peer = [settings.feast_python, str(ROOT / "bench" / "feast_peer.py"), folder]
        child(mine, settings.threads)
        for _ in range(repeats):
            ours.append(child(mine, settings.threads))
            try:
                theirs.append(child(peer, settings.threads, settings.limit * 2, MEMORY))
            except ChildError as error:
                raise Skipped(f"Feast's side: {error}") from error
    sides = [
        {"seconds": [r["seconds"] for r in runs], "busy": [r["busy"] for r in runs]}
        for runs in (ours, theirs)
    ]
    same = np.allclose(ours[-1]["sums"], theirs[-1]["sums"], rtol=0, atol=1e-3 * size)
    also = {
        "peer_name": f"Feast {theirs[-1]['version']}, its duckdb offline store",
        "events": 2 * size,
        "rows": size,
        "equal": bool(same),
    }
    memory = compared(*({"seconds": [r["peak_mb"] for r in runs]} for runs in (ours, theirs))) | {
        "unit": "MB"
    }
    memory = {name.replace("_seconds", "_peaks"): value for name, value in memory.items()}
    name = "Feast's own join: 2 views of 5 features, files to frame"
    again = {"ours_second_call": [round(r["again"], 4) for r in ours]}
    return [
        {"name": name, "goal": ">= 60", **compared(*sides, peer_over_ours=True), **also, **again},
        {"name": f"{name}, peak memory", "goal": "<= 0.1", **memory, **also},
    ]


def larger(settings: Settings) -> list[dict]:
    """All events and a tenth of them within 1.5 GB; and all within 2.2 GB, compared with a tenth in
    memory.
    """
    few, rows, repeats = settings.of(LARGE) // 10, settings.of(ASKED), min(settings.repeats, 3)
    small, wide = (LEAST + int(size * settings.scale) for size in BUDGETS)
    sides: dict[str, list[dict]] = {"tenth in memory": [], "tenth": [], "all": [], "all, wide": []}
    with tempfile.TemporaryDirectory(dir=settings.disk) as scratch:
        folders = {"tenth": Path(scratch) / "tenth", "all": Path(scratch) / "all"}
        write_history(folders["tenth"], few)
        write_history(folders["all"], 10 * few)
        home = {"HEADWATER_HOME": str(Path(scratch) / "home")}
        for _ in range(repeats):
            for side, runs in sides.items():
                budget = (
                    [] if side == "tenth in memory" else [wide if side == "all, wide" else small]
                )
                command = [
                    sys.executable,
                    "-m",
                    "bench.larger",
                    folders[side[:5].split(",")[0]],
                    rows,
                    *budget,
                ]
                runs.append(child(list(map(str, command)), settings.threads, also=home))
    also = {
        "events": 10 * few,
        "rows": rows,
        "memory_mb": [small // 10**6, wide // 10**6],
        "peaks_mb": {side: [round(r["peak_mb"]) for r in runs] for side, runs in sides.items()},
        "equal": len({r["answers"] for s in ("tenth in memory", "tenth") for r in sides[s]})
        == len({r["answers"] for r in sides["all"]})
        == 1,
        "warnings": sorted({w for runs in sides.values() for r in runs for w in r["warnings"]}),
    }
    name = (
        f"history larger than memory: 12 features, {10 * few:,} events in parquet files, "
        f"{small / 1e9:g} GB"
    )
    tenth = {"peer_name": "headwater within the same memory on a tenth of the events", **also}
    inside = {"peer_name": "headwater on a tenth of the events, all in memory", **also}
    return [
        {
            "name": f"{name}, ten times the events",
            "goal": "<= 12",
            **_compared_by(sides["all"], sides["tenth"], "seconds"),
            **tenth,
        },
        {
            "name": f"{name}, time an event",
            "goal": "<= 1.5",
            **_compared_by(
                sides["all, wide"],
                sides["tenth in memory"],
                "seconds",
                ours_of=10 * few / 1e6,
                peer_of=few / 1e6,
                unit="s/M",
            ),
            **inside,
        },
        {
            "name": f"{name}, peak memory",
            "goal": f"<= {small // 10**6} MB",
            **_compared_by(sides["all"], sides["tenth"], "peak_mb", unit="MB"),
            **tenth,
            "absolute": True,
            "goal_is_for": "ours",
        },
    ]


def _compared_by(
    ours: list[dict],
    peer: list[dict],
    what: str,
    ours_of: float = 1,
    peer_of: float = 1,
    unit: str = "s",
) -> dict:
    """What two sides measured, each divided by how much it did."""
    sides = []
    for runs, of in ((ours, ours_of), (peer, peer_of)):
        busy = {"busy": [r["busy"] / of for r in runs]} if what == "seconds" else {}
        sides.append({"seconds": [r[what] / of for r in runs], **busy})
    figures = {
        name if what == "seconds" else name.replace("_seconds", "_peaks"): value
        for name, value in compared(*sides).items()
    }
    return figures | {"unit": unit}


def starts(settings: Settings) -> list[dict]:
    """Start-up time of whole processes, compared with an interpreter that does nothing."""
    commands = {
        "bare": [sys.executable, "-c", "pass"],
        "import headwater": [sys.executable, "-c", "import headwater"],
        "headwater --help": [
            sys.executable,
            "-c",
            "from headwater.cli import main; main()",
            "--help",
        ],
    }
    times: dict[str, dict[str, list[float]]] = {name: {"seconds": []} for name in commands}
    for turn in range(max(settings.repeats, 5) + 1):
        for name, command in commands.items():
            begin = time.perf_counter()
            _quiet(command)
            if turn:
                times[name]["seconds"].append((time.perf_counter() - begin) * 1000)
    goals = {"import headwater": "<= 50 ms", "headwater --help": "<= 150 ms"}
    also = {
        "absolute": True,
        "unit": "ms",
        "peer_name": "the interpreter alone",
        "goal_is_for": "ours",
    }
    return [
        {"name": name, "goal": goal, **compared(times[name], times["bare"]), **also}
        for name, goal in goals.items()
    ]


def wide(settings: Settings) -> list[dict]:
    """Many features together. The windows have no goal: their time and memory are reported."""
    rows = settings.of(JOINED)
    figures = _bench(settings, "wide", "windows", rows)
    name = "1,000 features: 10 functions over 20 windows for each of 5 keys"
    size = {
        "rows": rows,
        "events": rows,
        **{key: figures[key] for key in ("busy", "peak_mb", "before_mb", "answer_mb")},
    }
    windows = {
        "name": name,
        "goal": None,
        "ours": round(figures["seconds"], 2),
        "peer": None,
        "ratio": None,
        "unit": "s",
        **size,
    }
    return [windows, *_thousand_columns(settings)]


def _thousand_columns(settings: Settings) -> list[dict]:
    """The size of Feast's issue 3003, compared with the time reported there, and with Feast today
    if it is installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        _bench(settings, "wide", "write", folder)
        runs = [
            _bench(settings, "wide", "columns", folder) for _ in range(min(settings.repeats, 3) + 1)
        ][1:]
        now = {}
        if settings.feast_python is not None:
            peer = [settings.feast_python, str(ROOT / "bench" / "feast_peer.py"), folder]
            try:
                theirs = child(peer, settings.threads, settings.limit * 2, MEMORY)
                now = {
                    f"feast_{theirs['version']}": {
                        "seconds": theirs["seconds"],
                        "peak_mb": theirs["peak_mb"],
                    }
                }
            except (ChildError, Skipped) as error:
                now = {"feast": str(error)[-300:]}
    sides = ({"seconds": [r["seconds"] for r in runs]}, {"seconds": [REPORTED_SECONDS] * len(runs)})
    memory = ({"seconds": [r["peak_mb"] for r in runs]}, {"seconds": [REPORTED_MB] * len(runs)})
    name = "17,000 rows x 1,000 columns, joined as of each row"
    peer = {
        "goal": ">= 100",
        "peer_name": "Feast, as its issue 3003 reports: 30 min and 50 GB",
        **now,
    }
    return [
        {"name": name, **compared(*sides, peer_over_ours=True), **peer},
        {
            "name": f"{name}, peak memory",
            **compared(*memory, peer_over_ours=True),
            **peer,
            "unit": "MB",
        },
    ]


def _quiet(command: list[str]) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env=clean(), stdout=subprocess.DEVNULL)


def tiles(settings: Settings) -> list[dict]:
    """Batches of events into LMDB, each commit on the disk before the next begins; the rate of its
    last batches, not the first ones.
    """
    goals = {
        "100k": 1200,
        "10k": 500,
        "100k ids": 780,
        "10k ids": 325,
        "100k archive": None,
        "100k archive filter": None,
        "100k archive filter kept": None,
    }
    rows = []
    for case, goal in goals.items():
        events = max(settings.of(300_000 if case.startswith("10k") else 1_500_000), 1_000)
        rates = _bench(settings, "tiles", case, events, min(settings.repeats, 3))
        sides = compared(*({"seconds": rates[side]} for side in ("ours", "peer")))
        beside = {
            "peer_name": "LMDB by hand, tiles kept in memory and written sparse",
            "ours_busy": [round(v) for v in rates["busy"]],
        }
        size = {key: rates[key] for key in ("events", "batch", "peak_mb")}
        name = f"durable tiles in batches of {case.replace(' ', ', with ')}"
        rows.append(
            {
                "name": name,
                "goal": goal and f">= {goal} k events/s",
                **sides,
                "unit": "k events/s",
                **_ABSOLUTE,
                **beside,
                **size,
            }
        )
    return rows


def ids(settings: Settings) -> list[dict]:
    """Memory of the ids of accepted events, and how long a writer that takes over loads them from
    LMDB.

    Among a million, the memory of a commit itself is a part of it, so that figure has no goal.
    """
    rows = []
    for full in (1_000_000, 10_000_000):
        taken = _bench(settings, "ids", max(settings.of(full) // 10_000, 10) * 10_000)
        count, commits, takeover = taken["ids"], taken["commits"], taken["takeover"]
        none = {"peer": None, "ratio": None, **_ABSOLUTE}
        goal = "<= 32 B" if count >= 10_000_000 else None
        name = f"memory of an id among {count:,}, commits of 10,000, the most at any moment"
        rows.append(
            {
                "name": name,
                "ours": commits["peak_bytes"],
                "unit": "B",
                "goal": goal,
                **none,
                "details": commits,
            }
        )
        name = f"a writer takes over {count:,} ids from LMDB, a million of them"
        seconds = round(takeover["seconds"] * 1e6 / count, 4)
        rows.append(
            {
                "name": name,
                "ours": seconds,
                "unit": "s",
                "goal": "<= 0.4 s",
                **none,
                "details": takeover,
            }
        )
    return rows


def growth(settings: Settings) -> list[dict]:
    """Commits of 10,000 uniform keys, by the keys in the store, against the same store without
    sorted runs.
    """
    rows = []
    for keys, goal in ((100_000, None), (1_000_000, "<= 45 ms"), (10_000_000, "<= 70 ms")):
        if keys <= 10_000_000 * max(settings.scale, 0.01):
            sides = _bench(settings, "growth", keys, 40)
            on, off = sides["on"], sides["off"]
            row = {
                "name": f"commit of 10,000 random keys, {keys:,} keys in the store",
                "goal": goal,
                "unit": "ms",
                **_ABSOLUTE,
            }
            row |= {
                "ours": on["ms"],
                "peer": off["ms"],
                "ratio": round(on["ms"] / off["ms"], 3),
                "peer_name": "the same without sorted runs",
            }
            row |= {"spread": [on["p50"], on["p99"]], "details": sides, "peak_mb": sides["peak_mb"]}
            rows.append(row)
    return rows


def reads(settings: Settings) -> list[dict]:
    """27 features of 3 views out of LMDB, values with statuses; also of keys that have a record in
    each of many partitions.
    """
    rows = []
    for partitions, events in ((1, 300_000), (8, 64_000), (64, 64_000)):
        times = _bench(
            settings, "reads", partitions, max(settings.of(events), 4_000), settings.repeats
        )
        shared = "100 rows that share one of three keys, each"
        for many, keys, goal in (
            ("one", "1 key", "<= 1.8"),
            ("many", "100 keys, each", "<= 1.0"),
            ("shared", shared, None),
        ):
            name = f"online read in process, 27 features of 3 views, {keys}"
            size = {key: times[key] for key in ("events", "bytes_a_record", "peak_mb")} | {
                "ours_busy": _busy(times, many)
            }
            if partitions == 1:
                peer = "many" if many == "shared" else f"peer {many}"
                sides = compared(*({"seconds": times[side]} for side in (many, peer)))
                beside = {
                    "peer_name": "the same of 100 keys"
                    if many == "shared"
                    else "LMDB by hand, values alone"
                }
                beside["peer_busy"] = _busy(times, peer)
                rows.append({"name": name, "goal": goal, **sides, "unit": "us", **beside, **size})
            else:
                ours = round(float(np.median(times[many])), 2)
                none = {"goal": None, "peer": None, "ratio": None, "unit": "us"}
                rows.append(
                    {
                        "name": f"{name}, a record in each of {partitions} partitions",
                        "ours": ours,
                        **none,
                        **size,
                    }
                )
    return rows


def feature_counts(settings: Settings) -> list[dict]:
    """A read in process and its compact JSON response, by the number of features."""
    measured = _bench(settings, "feature_counts", settings.repeats)
    none = {"goal": None, "peer": None, "ratio": None, "unit": "us", "peak_mb": measured["peak_mb"]}
    name = "online read in process with the JSON of its response"
    return [
        {
            "name": f"{name}, {case['features']:,} features of 3 views",
            "ours": round(case["read_us"] + case["response_us"], 1),
            **none,
            **case,
        }
        for case in measured["counts"]
    ]


def event_counts(settings: Settings) -> list[dict]:
    """Point-in-time windows by the number of events, one row for ten events, against the sort of
    the events.
    """
    rows = []
    for events in (1_000_000, 10_000_000, 100_000_000):
        times = _bench(
            settings,
            "windows",
            "integer keys",
            settings.of(events),
            min(settings.repeats, 3),
            settings.threads,
            settings.limit,
        )
        size = {key: times[key] for key in ("events", "rows", "peak_mb")}
        peer = {"goal": None, "peer_name": "a polars sort of the events by one packed int64"}
        name = f"point-in-time windows, integer keys: 12 features, {times['events']:,} events"
        rows.append({"name": name, **peer, **compared(times["ours"], times["peer"]), **size})
    return rows


def definitions(settings: Settings) -> list[dict]:
    """Every function by every key and kind of ids: the slowest, and the worst ratio to the numeric
    case; the first row has all.
    """
    measured = _bench(settings, "definitions", 4_000, settings.repeats)["definitions"]
    rows = []
    for side, goal, unit, text in (
        ("alone", "<= 24", "us", "alone"),
        ("beside", "<= 36", "us", "with 27 features and a request feature"),
        ("ratio", "<= 3", "ratio", "to count, sum and max by int64"),
    ):
        worst = max(measured, key=lambda name: measured[name][side])
        value = measured[worst][side]
        row = {
            "name": f"online read in process, any definition, one key, {text}",
            "goal": goal,
            "ours": value,
            "unit": unit,
            **_ABSOLUTE,
        }
        rows.append({**row, "peer": None, "ratio": None, "worst": worst})
    return [rows[0] | {"definitions": measured}, *rows[1:]]


def serving(settings: Settings) -> list[dict]:
    """Requests over HTTP, one worker, compared with an app that reads, checks and answers as many
    bytes: peaks with that app on granian, which stays the peer no matter what serves ours;
    processor time and tails with that app on our own server; then one worker with two.
    """
    goals = {"features": ">= 0.8", "full": None, "predict": ">= 0.65"}
    what = {
        "features": "POST features, 27 of 3 views, arrays",
        "full": "the same, an object a feature",
        "predict": "POST predict",
    }
    rows = []
    for kind, goal in goals.items():
        seconds = max(round(8 * settings.scale), 1)
        turns = _bench(settings, "serving", "measure", kind, seconds, min(settings.repeats, 5))
        rows += _of_requests(what[kind], goal, turns, goals_of_all=kind == "features")
    return [*rows, _two_workers(settings)]


def _of_requests(name: str, goal: str | None, turns: dict, *, goals_of_all: bool) -> list[dict]:
    """The rows of a kind of request."""

    def sides(phase: str, key: str, peer: str) -> list[dict]:
        return [{"seconds": [turn[key] for turn in turns[phase][side]]} for side in ("ours", peer)]

    app = "an app that reads the body, checks the token and answers at equal length"
    granian, own = (
        {"peer_name": f"{app}, on {server}", "bytes": turns["length"]}
        for server in ("granian", "our server")
    )
    more = [
        a["busy"] - b["busy"]
        for a, b in zip(turns["peak"]["ours"], turns["peak"]["nothing"], strict=True)
    ]
    beyond = compared(
        {"seconds": more}, {"seconds": [turn["busy"] for turn in turns["peak"]["nothing"]]}
    )
    return [
        {
            "name": name,
            "goal": goal,
            **compared(*sides("peak", "rate", "peer")),
            "unit": "requests/s",
            **granian,
        },
        {
            "name": f"{name}: by processor time",
            "goal": goal,
            **compared(*sides("peak", "busy", "peer"), peer_over_ours=True),
            "unit": "us",
            **granian,
        },
        {
            "name": f"{name}: beyond the app that does nothing",
            "goal": "<= 40 us" if goals_of_all else None,
            **beyond,
            "unit": "us",
            **_ABSOLUTE,
            **own,
        },
        {
            "name": f"{name}: p99 at 70 % of its own peak",
            "goal": "<= 3" if goals_of_all else None,
            **compared(*sides("tail", "p99", "nothing")),
            "unit": "ms",
            **own,
        },
    ]


def _two_workers(settings: Settings) -> dict:
    """What two workers can do in the processor time in which one does 1, at as many connections for
    each.
    """
    turns = _bench(
        settings, "serving", "workers", max(round(8 * settings.scale), 1), min(settings.repeats, 5)
    )["peak"]
    sides = [
        {"seconds": [turn["busy"] / int(count) for turn in turns[count]]} for count in ("2", "1")
    ]
    figures = compared(*sides, peer_over_ours=True)
    rates = {f"rates_{count}": [round(turn["rate"]) for turn in turns[count]] for count in turns}
    peer = {
        "peer_name": (
            "one worker; `ours` is half of what two take a request; 16 connections for each worker"
        ),
        "unit": "us",
    }
    return {
        "name": "POST features, two workers for one, by processor time",
        "goal": ">= 1.8",
        **figures,
        **peer,
        **rates,
    }


def serving_feast(settings: Settings) -> list[dict]:
    """Requests over HTTP compared with Feast's server, in turns, each with one worker."""
    if settings.feast_python is None:
        raise Skipped(
            "no Feast: make an environment with `feast` and name its interpreter with "
            "--feast-python"
        )
    turns = _bench(
        settings,
        "serving",
        "feast",
        settings.feast_python,
        max(round(8 * settings.scale), 1),
        min(settings.repeats, 5),
    )
    sides = [
        {"seconds": [turn["rate"] for turn in turns["peak"][side]]} for side in ("ours", "peer")
    ]
    more = {
        side: round(float(np.median([turn["p99"] for turn in turns["peak"][side]])), 2)
        for side in ("ours", "peer")
    }
    name = "POST features against Feast's server, 27 of 3 views"
    peer = {"peer_name": "feast serve, SQLite, one worker, no access log", "p99s": more}
    return [{"name": name, "goal": ">= 15", **compared(*sides), "unit": "requests/s", **peer}]


def _busy(times: dict, side: str) -> list[float]:
    return [round(v, 2) for v in times[f"{side} busy"]]


def kafka(settings: Settings) -> list[dict]:
    """JSON events of a real broker into durable tiles, in turns with a consumer that takes the
    values out and lets go of them.
    """
    from bench.kafka import broker

    events = settings.of(1_000_000)
    with broker() as servers:
        _bench(settings, "kafka", "fill", servers, "payments", events)
        rates = _bench(
            settings, "kafka", "measure", servers, "payments", events, min(settings.repeats, 5)
        )
    rows = []
    cases = {
        "ours": ("", ">= 0.8"),
        "archive": (", with an archive", None),
        "often": (", collector of cycles as Python has it", None),
    }
    for side, (also, goal) in cases.items():
        sides = compared(
            *({"seconds": rates[s], "busy": rates[f"{s} busy"]} for s in (side, "values"))
        )
        size = {
            "events": events,
            "peak_mb": rates["peak_mb"],
            "peer_name": "confluent-kafka: consume and value(), nothing else",
        }
        rows.append(
            {
                "name": f"Kafka JSON into durable tiles, one process{also}",
                "goal": goal,
                **sides,
                **size,
                "unit": "k events/s",
            }
        )
    return rows


def visibility(settings: Settings) -> list[dict]:
    """From producing an event to reading it, in another process each; also at half of two peaks.

    One is what producer, broker, ingestion and reader sustain together, on the same processors. The
    other one, without a goal, is what ingestion alone takes from a backlog. The first turn is not
    counted: a broker that has just started compiles what it runs. Of the others, the one whose p99
    is the median.
    """
    from bench.kafka import broker

    rows = []
    with broker() as servers:
        seconds = max(20 * settings.scale, 4)
        events = settings.of(1_000_000)
        _bench(settings, "kafka", "fill", servers, "payments", events)
        backlog = round(
            float(
                np.median(
                    _bench(settings, "kafka", "measure", servers, "payments", events, 1)["archive"]
                )
            )
            * 1000
        )
        _bench(settings, "visibility", "measure", servers, 20_000, seconds)
        together = round(
            float(
                np.median(
                    [
                        _bench(settings, "visibility", "peak", servers, seconds)["produced"]
                        for _ in range(min(settings.repeats, 3))
                    ]
                )
            )
        )
        half = "events/s, half of what"
        cases: dict[int, tuple[str, str | None]] = {
            20_000: ("20,000 events/s", "<= 40 ms"),
            together // 2: (
                f"{together // 2:,} {half} producer, broker, ingestion and reader sustain together",
                "<= 200 ms",
            ),
            backlog // 2: (f"{backlog // 2:,} {half} ingestion alone takes from a backlog", None),
            0: ("50 events/s by HTTP", None),
        }
        for rate, (text, goal) in cases.items():
            turns = [
                _bench(settings, "visibility", "measure", servers, rate, seconds)
                for _ in range(min(settings.repeats, 3))
            ]
            median = sorted(turns, key=lambda turn: turn["p99"])[len(turns) // 2] | {
                "p99s": [turn["p99"] for turn in turns]
            }
            same = {
                "peer": None,
                "ratio": None,
                "unit": "ms",
                "spread": [median["p50"], median["most"]],
            }
            peaks = {"peak": together, "backlog_peak": backlog}
            name = f"event produced to readable, {text}, p99"
            rows.append(
                {
                    "name": name,
                    "goal": goal,
                    "ours": median["p99"],
                    **same,
                    **peaks,
                    **_ABSOLUTE,
                    **median,
                }
            )
    return rows


def engines(settings: Settings) -> list[dict]:
    """Other engines on the job of `kafka`; each is measured alone, since they take all
    processors.
    """
    from bench import rivals
    from bench.kafka import broker

    shrink = settings.scale
    sizes = sorted(
        {size for engine in rivals.ENGINES.values() for size in (engine.small, engine.large)}
        | {1_000_000}
    )
    topics, rows = {size: f"payments-{size}" for size in sizes}, []
    with broker() as servers:
        for size, topic in topics.items():
            _bench(settings, "kafka", "fill", servers, topic, max(int(size * shrink), 100))
        ours = _bench(
            settings,
            "kafka",
            "measure",
            servers,
            topics[1_000_000],
            settings.of(1_000_000),
            min(settings.repeats, 3),
        )
        mine = round(float(np.median(ours["ours"])), 1)
        for name, engine in rivals.ENGINES.items():
            row = {
                "name": f"Kafka JSON into tiles: headwater against {engine.title}",
                "peer_name": f"{engine.title}: {engine.does}",
            }
            try:
                measured = rivals.measured(name, servers, topics, shrink)
            except Skipped as reason:
                rows.append(
                    {
                        **row,
                        "ours": mine,
                        "peer": None,
                        "ratio": None,
                        "unit": "k events/s",
                        "goal": None,
                        "skipped": str(reason),
                    }
                )
                continue
            ratio = round(mine / measured["rate"], 2)
            both = {
                "ours": mine,
                "peer": round(measured["rate"], 1),
                "ratio": ratio,
                "spread": [ratio, ratio],
                "unit": "k events/s",
            }
            more = {
                "start": round(measured["start"], 1),
                "peer_peak_mb": round(measured["peak_mb"]),
                "peer_seconds": measured["seconds"],
            }
            rows.append({**row, "goal": ">= 5", **both, **more, "peak_mb": ours["peak_mb"]})
    return rows


def serving_log(settings: Settings) -> list[dict]:
    """Processor time of an entry of the serving log, by itself: in the worker, and in the process
    that converts it.
    """
    cases = _bench(settings, "serving_log", settings.of(30_000), min(settings.repeats, 5))
    none = {"peer": None, "ratio": None, "unit": "us", "absolute": True, "goal_is_for": "ours"}
    rows = []
    for case, own in cases.items():
        more = {"longest_ms": round(own["longest_ms"], 2), "bytes": round(own["bytes"])}
        goal = "<= 3" if "rows" not in case else None
        rows.append(
            {
                "name": f"an entry of the serving log, {case}",
                "ours": round(own["worker"], 2),
                "goal": goal,
                **none,
                **more,
            }
        )
        rows.append(
            {
                "name": f"the same, converted to parquet, {case}",
                "ours": round(own["converter"], 2),
                "goal": None,
                **none,
            }
        )
    return rows


def experiment(settings: Settings) -> list[dict]:
    """Processor time that an experiment adds to a prediction of one row, by its kind, in turns with
    a service that has none.
    """
    taken = _bench(settings, "experiment", settings.of(4000), min(settings.repeats, 7))
    none = {"peer": None, "ratio": None, "unit": "us", "goal": "<= 10", **_ABSOLUTE}
    return [
        {
            "name": f"a prediction during an experiment, {kind}, added",
            "ours": round(spent - taken["none"], 2),
            "without": round(taken["none"], 2),
            **none,
        }
        for kind, spent in taken.items()
        if kind != "none"
    ]


def demo_service(settings: Settings) -> list[dict]:
    """The demo's service: 115 features with a queue, one row a request, by `hw.client.Client` over
    HTTP, and in process.
    """
    # none is asked for before 4 in the morning
    taken = _bench(settings, "demo_service", max(round(0.5 * settings.scale, 3), 0.25))
    name = f"the demo's service, {taken['features']} features and a prediction of one row"
    none = {"peer": None, "ratio": None, "unit": "ms", **_ABSOLUTE, "peak_mb": taken["peak_mb"]}
    return [
        {
            "name": f"{name}, over HTTP",
            "goal": "<= 1.2",
            "ours": taken["http_ms"],
            "p99": taken["http_p99_ms"],
            **none,
            "equal": taken["equal"],
        },
        {"name": f"{name}, in process", "goal": "<= 0.3", "ours": taken["process_ms"], **none},
    ]


def console(settings: Settings) -> list[dict]:
    """The slowest page of the console over 10 million served rows; and serving's p99 with the
    console open against closed, in turns.
    """
    with tempfile.TemporaryDirectory() as folder:
        measured = _bench(settings, "console", "seed", folder, settings.of(10_000_000))
        measured |= _bench(settings, "console", "pages", folder, settings.repeats)
    slowest = max(measured["pages"], key=lambda page: measured["pages"][page]["median"])
    size = f"{measured['rows']:,} served rows"
    alone = {"peer": None, "ratio": None, "unit": "s", "goal": "<= 0.3"}
    pages = {
        "name": f"console pages, 500 features, {size}: the slowest ({slowest})",
        **alone,
        **_ABSOLUTE,
        **measured,
    }
    turns = _bench(settings, "console", "serving", max(5 * settings.scale, 2), 7)
    sides = {
        side: {"seconds": [each / 1000 for each in turns[side]]} for side in ("open", "closed")
    }
    name = "serving with the console open, p99 of POST features at 200 requests/s"
    beside = compared(sides["open"], sides["closed"]) | {
        "peer_name": "the console closed",
        "goal": "<= 1.1",
    }
    return [
        pages | {"ours": round(measured["pages"][slowest]["median"], 4)},
        {"name": name, **beside},
    ]


_ABSOLUTE = {"absolute": True, "goal_is_for": "ours"}

ROWS: Mapping[str, Row] = {
    "windows": _beside_sort("integer keys", "<= 1.5"),
    "windows_shuffled": _beside_sort("integer keys, shuffled", "<= 2"),
    "windows_semantics": _beside_sort("string keys, known_at, ids", "<= 3.4"),
    "windows_late": _beside_sort("5 % late", "<= 4.5"),
    "windows_duckdb": duckdb,
    "join_feast": feast,
    "levels": levels,
    "wide": wide,
    "larger": larger,
    "starts": starts,
    "tiles": tiles,
    "ids": ids,
    "growth": growth,
    "reads": reads,
    "feature_counts": feature_counts,
    "event_counts": event_counts,
    "definitions": definitions,
    "functions": function_rows.functions,
    "serving": serving,
    "serving_feast": serving_feast,
    "serving_log": serving_log,
    "experiment": experiment,
    "demo_service": demo_service,
    "kafka": kafka,
    "visibility": visibility,
    "engines": engines,
    "console": console,
    **scale_rows.ROWS,
}
