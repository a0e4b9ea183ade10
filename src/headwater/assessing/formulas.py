"""The cost a day of each way to serve, as formulas over numbers.

Symbols: U entities that are scored in batch, f refreshes a day, k candidates an entity (or a
request), c_b and c_o CPU seconds a pair that is scored in batch and on request, b bytes of a stored
row, R requests a day, rho the busy share of serving cores, m cores kept warm, n_k keys a request,
n_r rows a key, h hit rate of the cache of items, E events a day, c_e CPU seconds an event and view,
v views fed by the stream, A keys that receive events in a typical tile, tau seconds of a tile (0
writes every event), K cores of the stream that always run, S bytes of state, s_run CPU seconds of
one run of a job that refreshes features, e_run events in such a run; prices p_cpu of a CPU second,
w of a write of up to 1 KB, g of a read of up to 4 KB, p_gb of a GB-month. Each item row is one
read, each write of a tile one unit; network, engineers and retraining are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headwater.results.cost_result import WayName

Values = Mapping[str, float]

DAY = 86_400.0
MONTH = 30.0
KILOBYTE, GIGABYTE = 1024, 1e9


@dataclass(frozen=True)
class Formula:
    """One part of the cost a day; `symbols` are its inputs."""

    name: str
    text: str
    symbols: tuple[str, ...]
    compute: Callable[[Values], float]


def scoring(x: Values) -> float:
    """CPU of a batch job that scores all entities."""
    return x["f"] * x["U"] * x["k"] * x["c_b"] * x["p_cpu"]


def batch_writes(x: Values) -> float:
    """Writes of that job's rows."""
    return x["f"] * x["U"] * math.ceil(x["b"] / KILOBYTE) * x["w"]


def batch_storage(x: Values) -> float:
    """Storage of the rows of `batch`."""
    return x["U"] * x["b"] / GIGABYTE * x["p_gb"] / MONTH


def batch(x: Values) -> float:
    """Precomputing for all.

    >>> a = {
    ...     "U": 31e6,
    ...     "f": 1,
    ...     "k": 1000,
    ...     "c_b": 2e-6,
    ...     "b": 2048,
    ...     "p_cpu": 0.04 / 3600,
    ...     "w": 0.625e-6,
    ...     "p_gb": 0.25,
    ... }
    >>> round(batch(a), 2)
    39.97
    """
    return scoring(x) + batch_writes(x) + batch_storage(x)


def serving(x: Values) -> float:
    """CPU for serving on request, including warm cores."""
    return max(x["R"] * x["k"] * x["c_o"] / x["rho"], x["m"] * DAY) * x["p_cpu"]


def reads_per_request(x: Values) -> float:
    """Rows read per request: of its keys, and of candidates that are not cached."""
    return x["n_k"] * x["n_r"] + x["k"] * (1 - x["h"])


def reads(x: Values) -> float:
    """Reads on request."""
    return x["R"] * reads_per_request(x) * x["g"]


def on_request(x: Values) -> float:
    """Serving on request."""
    return serving(x) + reads(x)


def break_even(x: Values) -> float:
    """Requests a day above which precomputing for all costs less; the cores kept warm are
    ignored.
    """
    return batch(x) / (x["k"] * x["c_o"] / x["rho"] * x["p_cpu"] + reads_per_request(x) * x["g"])


def stream_cpu(x: Values) -> float:
    """CPU of the stream, or of the cores that always run."""
    return max(x["K"] * DAY, x["E"] * x["c_e"] * x["v"]) * x["p_cpu"]


def stream_writes(x: Values) -> float:
    """Writes of tiles, or of every event."""
    written = x["E"] if x["tau"] == 0 else min(x["E"], x["A"] * DAY / x["tau"])
    return written * x["v"] * x["w"]


def stream_state(x: Values) -> float:
    """Storage of the state."""
    return x["S"] / GIGABYTE * x["p_gb"] / MONTH


def streaming(x: Values) -> float:
    """Keeping features fresh from a stream; serving on request is a separate cost."""
    return stream_cpu(x) + stream_writes(x) + stream_state(x)


def rows_per_window(length: float, rate: float, tau: float) -> int:
    """Rows read for a window of `length` seconds, for a key with `rate` events a second.

    >>> (
    ...     rows_per_window(7 * 86_400, 1.0, 0),
    ...     rows_per_window(7 * 86_400, 1.0, 3_600),
    ...     rows_per_window(7 * 86_400, 20 / 86_400, 60),
    ... )
    (604800, 168, 140)
    """
    events = math.ceil(round(length * rate, 6))
    return events if tau == 0 else min(events, math.ceil(length / tau))


def waste(requesters: list[int], entities: float) -> float:
    """The share of precomputed predictions that are never requested: distinct requesters of each
    refresh window against all entities.

    >>> waste([150_000] * 4, 3e6), waste([37_500] * 4, 3e6)
    (0.95, 0.9875)
    """
    return 1 - sum(requesters) / (entities * len(requesters))


def always_on(rate: float, hours: float = 720.0) -> float:
    """A machine that always runs, a month, at `rate` an hour.

    >>> round(always_on(0.76)), round(micro_batch(0.76, run=4, every=15))
    (547, 146)
    """
    return rate * hours


def micro_batch(rate: float, *, run: float, every: float, hours: float = 720.0) -> float:
    """The same machine, where it runs for `run` minutes of `every` so many."""
    return always_on(rate, hours) * run / every


def seconds_per_run(x: Values, runs: float) -> float:
    """CPU seconds of one run of a job: the given value (s_run); else the measured one, scaled from
    e_run events to the number of events between two runs; else the events alone.

    A run of 1,000 events took 3 s, an event 1 ms: 2 s are for starting and reading. A run of 100
    events then takes 2.1 s.

    >>> x = {"E": 2400.0, "v": 1.0, "c_e": 0.001, "s_run": 3.0, "e_run": 1000.0}
    >>> (
    ...     round(seconds_per_run(x, 24), 3),
    ...     seconds_per_run({**x, "s_run": 0.4}, 24),
    ...     seconds_per_run({"s_run": 3.0}, 24),
    ... )
    (2.1, 0.1, 3.0)
    """
    if "s_run" in x and not ("e_run" in x and "c_e" in x):
        return x["s_run"]
    of_events = x["E"] / runs * x["v"] * x["c_e"]
    return max(x["s_run"] - x["e_run"] * x["c_e"], 0.0) + of_events if "s_run" in x else of_events


def rows_per_run(x: Values, runs: float) -> float:
    """Rows that one run writes: a record of each key with an event since the run before, at most
    one a key.
    """
    return min(x["U"], x["E"] / runs) * x["v"]


def job(x: Values, runs: float) -> float:
    """A job that keeps features fresh: its runs a day, each with its CPU seconds and the rows that
    it writes.

    1,000,000 events a day of 50,000 keys, one view, records of 1 KB. Daily: 50 s x 0.00001 + 50,000
    x 0.000001 = 0.0505. Hourly: 24 runs of 41,667 events: 24 x (2.083 s x 0.00001 + 41,667 x
    0.000001) = 1.0005.

    >>> x = {"E": 1e6, "U": 5e4, "v": 1, "c_e": 5e-5, "b": 1024, "p_cpu": 1e-5, "w": 1e-6}
    >>> round(job(x, 1), 4), round(job(x, 24), 4)
    (0.0505, 1.0005)
    """
    return runs * (
        seconds_per_run(x, runs) * x["p_cpu"]
        + rows_per_run(x, runs) * math.ceil(x["b"] / KILOBYTE) * x["w"]
    )


_SCORED = ("U", "f", "k", "c_b", "b", "p_cpu", "w", "p_gb")
_ASKED = ("R", "k", "c_o", "rho", "m", "n_k", "n_r", "h", "p_cpu", "g")
_STREAMED = ("E", "c_e", "v", "A", "tau", "K", "S", "p_cpu", "w", "p_gb")

WAYS: Mapping[WayName, tuple[Formula, ...]] = {
    "precompute for all": (
        Formula("scoring", "f·U·k·c_b·p_cpu", ("f", "U", "k", "c_b", "p_cpu"), scoring),
        Formula("writes", "f·U·⌈b/1024⌉·w", ("f", "U", "b", "w"), batch_writes),
        Formula("storage", "U·b/1e9·p_gb/30", ("U", "b", "p_gb"), batch_storage),
    ),
    "on request": (
        Formula(
            "CPU",
            "max(R·k·c_o/rho, m·86400)·p_cpu",
            ("R", "k", "c_o", "rho", "m", "p_cpu"),
            serving,
        ),
        Formula("reads", "R·(n_k·n_r + k·(1-h))·g", ("R", "n_k", "n_r", "k", "h", "g"), reads),
    ),
    "streaming": (
        Formula("CPU", "max(K·86400, E·c_e·v)·p_cpu", ("K", "E", "c_e", "v", "p_cpu"), stream_cpu),
        Formula(
            "writes",
            "(E if tau=0 else min(E, A·86400/tau))·v·w",
            ("E", "A", "tau", "v", "w"),
            stream_writes,
        ),
        Formula("state", "S/1e9·p_gb/30", ("S", "p_gb"), stream_state),
    ),
}
SYMBOLS = tuple(dict.fromkeys((*_SCORED, *_ASKED, *_STREAMED, "s_run", "e_run")))
