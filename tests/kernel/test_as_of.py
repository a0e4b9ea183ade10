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

CUTS = [
    # a plain day, in winter and in summer
    (hw.batch("1d", timezone=NEW_YORK), "2024-01-15T05:00", "2024-01-15T05:00"),
    (hw.batch("1d", timezone=NEW_YORK), "2024-01-15T04:59:59.999999", "2024-01-14T05:00"),
    (hw.batch("1d", timezone=NEW_YORK), "2024-07-15T04:00", "2024-07-15T04:00"),
    (hw.batch("1d", timezone=NEW_YORK, delay="4h"), "2024-01-15T09:00", "2024-01-15T05:00"),
    (
        hw.batch("1d", timezone=NEW_YORK, delay="4h"),
        "2024-01-15T08:59:59.999999",
        "2024-01-14T05:00",
    ),
    # 2024-03-10 02:00 to 03:00 does not exist in New York: the first instant after the gap is 07:00
    # UTC
    (hw.batch("1d", at="02:30", timezone=NEW_YORK), "2024-03-10T07:00", "2024-03-10T07:00"),
    (
        hw.batch("1d", at="02:30", timezone=NEW_YORK),
        "2024-03-10T06:59:59.999999",
        "2024-03-09T07:30",
    ),
    (hw.batch("1d", at="02:00", timezone=NEW_YORK), "2024-03-10T07:00", "2024-03-10T07:00"),
    (hw.batch("1d", at="03:00", timezone=NEW_YORK), "2024-03-10T07:00", "2024-03-10T07:00"),
    (hw.batch("1d", at="01:59:59", timezone=NEW_YORK), "2024-03-10T07:00", "2024-03-10T06:59:59"),
    (hw.batch("15m", timezone=NEW_YORK), "2024-03-10T07:14:59", "2024-03-10T07:00"),
    (hw.batch("6h", at="02:30", timezone=NEW_YORK), "2024-03-10T12:29:59", "2024-03-10T07:00"),
    (hw.batch("6h", at="02:30", timezone=NEW_YORK), "2024-03-10T12:30", "2024-03-10T12:30"),
    # 2024-11-03 01:00 to 02:00 comes twice: the first is 05:00 UTC, the second 06:00 UTC
    (hw.batch("1d", at="01:30", timezone=NEW_YORK), "2024-11-03T05:30", "2024-11-03T05:30"),
    (hw.batch("1d", at="01:30", timezone=NEW_YORK), "2024-11-03T06:30", "2024-11-03T05:30"),
    (hw.batch("1d", at="01:30", timezone=NEW_YORK), "2024-11-03T05:29:59", "2024-11-02T05:30"),
    # 01:00 again is not a cut
    (hw.batch("1h", timezone=NEW_YORK), "2024-11-03T06:59:59", "2024-11-03T05:00"),
    (hw.batch("1h", timezone=NEW_YORK), "2024-11-03T07:00", "2024-11-03T07:00"),
    # a leap day, and the end of a leap year
    (hw.batch("1d", timezone=BERLIN), "2024-02-29T12:00", "2024-02-28T23:00"),
    (hw.batch("1d", timezone=BERLIN), "2024-02-29T23:00", "2024-02-29T23:00"),
    (hw.batch("1d"), "2024-12-31T23:59:59.999999", "2024-12-31T00:00"),
    # days skipped or moved by whole zones
    # the 30th was left out: its cut is the 31st's
    (hw.batch("1d", timezone="Pacific/Apia"), "2011-12-30T10:00", "2011-12-30T10:00"),
    (hw.batch("1d", timezone="Pacific/Apia"), "2011-12-30T09:59:59", "2011-12-29T10:00"),
    # a gap at midnight
    (hw.batch("1d", timezone="America/Sao_Paulo"), "2017-10-15T03:00", "2017-10-15T03:00"),
    # a gap of half an hour
    (
        hw.batch("1d", timezone="Australia/Lord_Howe", at="02:15"),
        "2024-10-05T15:30",
        "2024-10-05T15:30",
    ),
    (hw.batch("1d", timezone="Asia/Kathmandu"), "2024-05-01T18:15", "2024-05-01T18:15"),
    # several days: counted from 1970-01-01, a Thursday
    (hw.batch("7d"), "2024-05-08T23:59:59", "2024-05-02T00:00"),
    (hw.batch("7d"), "2024-05-09T00:00", "2024-05-09T00:00"),
    (hw.batch("7d", at="02:30", timezone=NEW_YORK), "2024-03-14T06:29", "2024-03-07T07:30"),
    (hw.batch("7d", at="02:30", timezone=NEW_YORK), "2024-03-14T06:30", "2024-03-14T06:30"),
    # off the grid of hours
    (hw.batch("15m", at="00:07"), "2024-05-01T12:21:59", "2024-05-01T12:07"),
    (hw.batch("6h", at="05:59:59"), "2024-05-01T05:59:58", "2024-04-30T23:59:59"),
    # long ago and far ahead
    (hw.batch("1d", timezone=NEW_YORK), "1901-06-01T12:00", "1901-06-01T05:00"),
    # war time: an hour ahead
    (hw.batch("1d", timezone=NEW_YORK), "1944-06-06T04:00", "1944-06-06T04:00"),
    (hw.batch("1h"), "0002-01-02T00:59", "0002-01-02T00:00"),
    (hw.batch("1d", at="02:30", timezone=NEW_YORK), "2099-07-01T06:30", "2099-07-01T06:30"),
    (hw.batch("1h"), "9998-12-30T23:59", "9998-12-30T23:00"),
]


@BOTH
@pytest.mark.parametrize(("freshness", "t", "T"), CUTS)
def test_the_last_published_cut(as_of, freshness, t, T):
    assert as_of(freshness, at(t)) == (at(T), at(T))


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


def test_never_is_before_every_event():
    T, K = vectorised.as_of(hw.never(), np.array([0, -(2**60)]))
    assert (T < -(2**60)).all()
    assert (K < -(2**60)).all()
    assert naive_time.as_of(hw.never(), 0) is None


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


@given(st.integers(0, 2**50), st.lists(st.sampled_from(["0s", "1s", "7m"]), min_size=1, max_size=5))
def test_no_t_of_a_later_request_is_before_the_earliest(t, cuts):
    freshness = hw.measured([None] + ["1s"] * (len(cuts) - 1) + ["2s"], cuts=[*cuts, "3s"])
    T, _ = vectorised.as_of(freshness, t + np.arange(1000) * 977)
    assert T[T > vectorised.NEVER].min() >= vectorised.earliest(freshness, t)
    assert (
        vectorised.earliest(hw.batch("1h", delay="1m"), t)
        == vectorised.as_of(hw.batch("1h", delay="1m"), np.array([t]))[0][0]
    )


def test_measured_ages_are_drawn_evenly():
    t = np.arange(40_000) * SECOND
    _, K = vectorised.as_of(hw.measured(["0s", "1s", "2s", "3s"]), t)
    assert (np.abs(np.bincount((t - K) // SECOND) - 10_000) < 400).all()


@given(
    st.lists(st.integers(10**15, 10**15 + 10**14), min_size=2, max_size=30), st.sampled_from(ZONES)
)
def test_t_never_falls(times, zone):
    T, _ = vectorised.as_of(
        hw.batch("1h", at="00:30", timezone=zone, delay="5m"), np.sort(np.array(times))
    )
    assert (np.diff(T) >= 0).all()
