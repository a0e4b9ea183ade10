"""Four levels of freshness together, compared with one: they share reading, sorting and sweeping.

python -m bench.levels EVENTS REPEATS      in this process; prints JSON
"""

from __future__ import annotations

import json
import sys

from bench.data import Shape, make
from bench.measure import in_turns
from bench.windows import view_of

LEVELS = ("daily", "hourly", "minute", "instant")


def four_beside_one(events: int, repeats: int) -> dict:
    """What a backtest computes at four levels, and what it computes at the freshest one alone."""
    import headwater as hw
    from headwater.events.read_events import Notes
    from headwater.training.feature_frames import feature_frames
    from headwater.training.requests import read_rows

    generated = make(Shape(events, max(events // 10, 1)))
    service = hw.FeatureService("all", [view_of(generated)])
    requests = read_rows(generated.rows, "timestamp")
    ladder = {name: level for name, level in hw.evaluation.ladder().items() if name in LEVELS}
    sides = {
        "ours": lambda: feature_frames(service, requests, ladder, Notes()),
        "peer": lambda: feature_frames(service, requests, {"instant": ladder["instant"]}, Notes()),
    }
    return {
        **in_turns(sides, repeats, warm=["ours"]),
        "events": events,
        "rows": generated.rows.height,
    }


if __name__ == "__main__":
    print(json.dumps(four_beside_one(int(sys.argv[1]), int(sys.argv[2]))))
