"""History larger than memory: ours within a budget, and with everything in memory.

python -m bench.larger FOLDER ROWS [BYTES]      in this fresh process; prints JSON
"""

from __future__ import annotations

import json
import sys
import warnings

from bench.data import Shape, asking, make
from bench.measure import peak_mb, seconds
from bench.windows import features_of, over


def once(folder: str, rows: int, memory: int | None) -> dict:
    """The 12 features of rows over the files in `folder`, once kernels are loaded."""
    import headwater as hw

    features_of(make(Shape(10_000, 1_000)))
    requests = asking(rows)
    frames = []

    def work() -> None:
        source = hw.Source(
            "payments", history=hw.parquet(folder), timestamp_field="at", select=["user", "amount"]
        )
        frames.append(
            hw.get_historical_features(
                over(source), requests, resources=hw.Resources(memory=memory)
            )
        )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clock, busy = seconds(work)
    hashed = frames[0].hash_rows(seed=0).to_numpy()
    same = f"{int(hashed.sum()) & (2**64 - 1):016x}"
    return {
        "seconds": clock,
        "busy": busy,
        "peak_mb": peak_mb(),
        "answers": same,
        "warnings": [str(w.message) for w in caught],
    }


if __name__ == "__main__":
    print(
        json.dumps(
            once(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
        )
    )
