"""An event of the future is known at its release, for its id too: serving of it and its copies
equals training.
"""

from datetime import datetime

import pytest

import headwater as hw
from tests.flow import Flow, at, clock, home, project_of, store, streaming_view  # noqa: F401 (fixtures)

HOUR = 3600
SCHEMA = {"key": int, "amount": float, "at": datetime, "id": str}

COPIES = {
    # what came: (hour, event time, n); further hours of commits; id_horizon; how many count, and
    # their sum
    "a copy after the release": ([(0, 23, 1), (30, 29, 2)], [23.5], "1d", (1, 1)),
    "a copy id_horizon after the release": ([(0, 23, 1), (48, 47, 2)], [23.5], "1d", (2, 3)),
    "an earlier event of the id, while one is held": ([(0, 23, 1), (5, 4, 2)], [24], "1d", (1, 2)),
    "the same, known more than id_horizon before": ([(0, 23, 1), (5, 4, 2)], [24], "2h", (2, 3)),
    "a held event after an accepted one": ([(0, -1, 1), (1, 23, 2)], [23.5], "1d", (1, 1)),
    "the same, known more than id_horizon before it": (
        [(0, -1, 1), (1, 23, 2)],
        [25],
        "1d",
        (2, 3),
    ),
    "two held copies": ([(0, 9, 1), (1, 9, 1)], [10], "1d", (1, 1)),
    "two of one commit": ([(0, 9, 1), (0, 9, 1)], [10], "1d", (1, 1)),
    "two held events of one id": ([(0, 10, 1), (1, 9, 2)], [11], "1d", (1, 2)),
    "the same, released id_horizon apart": ([(0, 20, 1), (1, 9, 2)], [10, 21], "2h", (2, 3)),
    "released late, with a copy": ([(0, 9, 1), (30, 29, 2)], [], "1d", (1, 1)),
}


@pytest.mark.parametrize("case", COPIES)
def test_a_copy_counts_by_when_the_event_became_known(store, tmp_path, clock, case):
    came, commits, horizon, expected = COPIES[case]
    rules = {"id_field": "id", "id_horizon": horizon, "select": ["key", "amount"]}
    view = streaming_view(schema=SCHEMA, source=rules, windows=["30d"])
    for hour in sorted({hour for hour, _, _ in came} | {*commits}):
        clock(hour * HOUR)
        events = [
            {"key": 1, "at": time * HOUR, "amount": float(n), "id": "x"}
            for known, time, n in came
            if known == hour
        ]
        Flow([view], store, tmp_path).send(events, hour * HOUR)
    now = at(hour * HOUR)
    found = hw.get_online_features(view, [{"key": 1}], store=store, at=now)
    assert found.select("view__count_30d", "view__sum_amount_30d").row(0) == expected
    (compared,) = hw.parity(project_of(view), store=store, data_dir=tmp_path, at=now)
    assert compared.mismatches == []
    refused = hw.operations.dead_letters(project_of(view), "events", store=store, data_dir=tmp_path)
    assert refused.height == len(came) - expected[0]
