"""Objectives of freshness: the error budget of 30 days, the burn rate, and the counters of the
service.
"""

from datetime import UTC, datetime, timedelta

import pytest

import headwater as hw
from headwater.monitoring.daily_statistics import update
from headwater.monitoring.freshness_objectives import freshness_objectives
from headwater.results.served_result import AgeDay
from tests.flow import frame, project_of, view_of
from tests.journal.conftest import about, as_of, home, one  # noqa: F401 (a fixture)

NOW = datetime(2024, 5, 20, 12, tzinfo=UTC)
MICROS = round(NOW.timestamp() * 1e6)


def project(slo=0.99):
    events = frame([(1, 10, 1.0)])
    return project_of(
        view_of(events, freshness=hw.batch("1h"), slo=slo),
        view_of(events, freshness=hw.batch("1d"), name="other"),
    )


def objectives(monkeypatch, folder, days):
    """Of a view that was read on days, as (days ago, reads, share of stale ones)."""
    ages = [
        AgeDay((NOW - timedelta(days=ago)).date(), reads, None, None, None, stale, 0.0)
        for ago, reads, stale in days
    ]
    monkeypatch.setattr(
        "headwater.monitoring.freshness_objectives.view_ages",
        lambda *_, **__: {"view": ages} if days else {},
    )
    return freshness_objectives(project(), folder, MICROS)


@pytest.mark.parametrize(
    ("days", "fresh", "used", "burn", "missed"),
    [
        ([(20, 9900, 0.0), (0, 100, 0.5)], 0.995, 0.5, 50.0, False),
        ([(20, 1000, 0.02)], 0.98, 2.0, None, True),
        ([(20, 1000, 0.02), (1, 1000, 0.0)], 0.99, 1.0, 0.0, False),
        ([], None, None, None, False),
    ],
)
def test_the_budget_and_the_burn_rate(monkeypatch, tmp_path, days, fresh, used, burn, missed):
    (found,) = objectives(monkeypatch, tmp_path, days)
    assert (found.view, found.target, found.reads) == (
        "view",
        0.99,
        sum(reads for _, reads, _ in days),
    )
    assert found.fresh == (None if fresh is None else pytest.approx(fresh))
    assert found.budget_used == (None if used is None else pytest.approx(used))
    assert found.burn == (None if burn is None else pytest.approx(burn))
    assert found.missed == missed
    text = str(found)
    assert text.startswith("freshness of view: 0.99 of reads promised fresh")
    assert ("there were none" in text) == (not days)


def test_the_serving_log_is_what_counts(tmp_path):
    shop = project(slo=0.9)
    of = about(("view__count_1h",), views=("view",))
    with hw.operations.ServedLog(tmp_path) as log:
        for number in range(20):
            log.put(one(of, number, moments=[as_of(number, stale=number < 4)]))
    update(tmp_path)
    now = round(datetime(2024, 5, 2, tzinfo=UTC).timestamp() * 1e6)
    (found,) = freshness_objectives(shop, tmp_path, now)
    assert (found.reads, found.fresh) == (20, 0.8)
    assert found.budget_used == pytest.approx(2.0)
    assert found.missed
