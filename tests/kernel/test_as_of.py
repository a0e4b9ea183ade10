"""T and K: of cuts by the clock of a time zone, of lags and of measured ages; headwater's and the
naive reference's alike.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.kernel import as_of as vectorised
from headwater.testing import naive_time

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
NEW_YORK, BERLIN = "America/New_York", "Europe/Berlin"


def at(text):
    return naive_time.as_micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


BOTH = pytest.mark.parametrize(
    "as_of",
    [naive_time.as_of, lambda f, t: tuple(int(x[0]) for x in vectorised.as_of(f, np.array([t])))],
    ids=["naive", "vectorised"],
)


@BOTH
@pytest.mark.parametrize(
    ("freshness", "T", "K"),
    [
        (hw.batch("1h", delay="30m", wait="0s"), 11 * HOUR, 11 * HOUR),
        (hw.batch("1h", delay="29m", wait="7m"), 11 * HOUR, 11 * HOUR + HOUR * 7 // 60),
        (hw.batch("1h", delay="31m", wait="31m"), 10 * HOUR, 10 * HOUR + HOUR * 31 // 60),
        (hw.streaming("2s"), 11 * HOUR + HOUR // 2, 11 * HOUR + HOUR // 2 - 2 * SECOND),
        (hw.streaming("0s"), 11 * HOUR + HOUR // 2, 11 * HOUR + HOUR // 2),
        (hw.on_request(), 11 * HOUR + HOUR // 2, 11 * HOUR + HOUR // 2),
        (
            hw.measured(["90s"], cuts=["60s"]),
            11 * HOUR + HOUR // 2 - 60 * SECOND,
            11 * HOUR + HOUR // 2 - 90 * SECOND,
        ),
        (hw.measured(["90s"]), 11 * HOUR + HOUR // 2, 11 * HOUR + HOUR // 2 - 90 * SECOND),
    ],
    ids=str,
)
def test_t_and_k_at_half_past_eleven(as_of, freshness, T, K):
    assert as_of(freshness, 11 * HOUR + HOUR // 2) == (T, K)


ZONES = [
    NEW_YORK,
    BERLIN,
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Asia/Tehran",
]
CLOCKS = ["00:00", "00:30", "01:30", "02:00", "02:30", "03:00"]


def _changes(timezone):
    """Instants at which the zone's clocks change between 2007 and 2030, and the day that Apia left
    out.
    """
    zone, found = ZoneInfo(timezone), [at("2011-12-30T10:00")]
    hours = np.arange(at("2007-01-01T00:00") // HOUR, at("2030-01-01T00:00") // HOUR, 12)
    offsets = [datetime.fromtimestamp(int(h) * 3600, zone).utcoffset() for h in hours]
    for hour, before, after in zip(hours[:-1], offsets[:-1], offsets[1:], strict=True):
        if before != after:
            inside = [
                h
                for h in range(int(hour), int(hour) + 13)
                if datetime.fromtimestamp(h * 3600, zone).utcoffset() == before
            ]
            found.append((inside[-1] + 1) * HOUR)
    return found


CHANGES = {zone: _changes(zone) for zone in ZONES}


@given(st.data())
def test_cuts_around_every_change_of_the_clocks_are_the_naive_ones(data):
    zone = data.draw(st.sampled_from(ZONES))
    every = data.draw(st.sampled_from(["1h", "6h", "1d", "2d", "7d"]))
    clock = data.draw(st.sampled_from(CLOCKS[:2] if every == "1h" else CLOCKS))
    freshness = hw.batch(
        every, at=clock, timezone=zone, delay=data.draw(st.sampled_from(["0s", "10m"]))
    )
    steps = st.sampled_from(
        [0, -1, 1, HOUR // 4, HOUR // 2, -HOUR // 2, HOUR, -HOUR, 2 * HOUR, -DAY, DAY]
    )
    times = data.draw(
        st.lists(
            st.tuples(st.sampled_from(CHANGES[zone]), steps, st.sampled_from([-1, 0, 1])),
            min_size=1,
            max_size=5,
        )
    )
    t = np.array([sum(parts) for parts in times])
    T, K = vectorised.as_of(freshness, t)
    assert list(zip(T.tolist(), K.tolist(), strict=True)) == [
        naive_time.as_of(freshness, x) for x in t.tolist()
    ]


@given(
    st.lists(st.integers(-(2**55), 2**55), min_size=1, max_size=30),
    st.integers(0, 2**32),
    st.lists(st.sampled_from(["0s", "1s", "7m", None]), min_size=1, max_size=7).filter(any),
    st.booleans(),
)
def test_a_measured_age_depends_on_the_time_and_seed_alone(times, seed, ages, cuts):
    freshness = hw.measured(
        ages, cuts=[f"{n}s" for n in range(len(ages))] if cuts else None, seed=seed
    )
    T, K = vectorised.as_of(freshness, np.array(times))
    found = [
        None if a == vectorised.NEVER else (a, b)
        for a, b in zip(T.tolist(), K.tolist(), strict=True)
    ]
    assert found == [naive_time.as_of(freshness, t) for t in times]
