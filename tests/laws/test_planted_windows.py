"""Which events count: the edges of windows, of knowledge and of hops, one microsecond either
side.
"""

from datetime import UTC, datetime, timedelta

import pytest

import headwater as hw

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000

# the hour's hop is a minute: at T = 30 s past, the tail stands at the full minute an hour before
IN_AN_HOUR = [
    ("the moment before T", -1, 0, True),
    ("at T", 0, 0, False),
    ("after T", 1, 0, False),
    ("at T - W", -HOUR, 0, True),
    ("before T - W", -HOUR - 1, 0, False),
    ("on the floored tail", -HOUR, 30 * SECOND, True),
    ("before the floored tail", -HOUR - 1, 30 * SECOND, False),
    ("between the floored tail and T - W", -HOUR + 15 * SECOND, 30 * SECOND, True),
    ("the tail moves at the full minute", -HOUR, MINUTE, False),
    ("and not before", -HOUR, MINUTE - 1, True),
    ("the head moves continuously", 29 * SECOND, 30 * SECOND, True),
]


@pytest.mark.parametrize(
    ("event", "T", "counts"), [row[1:] for row in IN_AN_HOUR], ids=[row[0] for row in IN_AN_HOUR]
)
def test_the_edges_of_a_window(planted, event, T, counts):
    assert planted(hw.count(), [{"at": event}], [T]) == [int(counts)]


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("500ms", [-1, -500_000], [0, -500_001]),
        ("10m", [-1, -10 * MINUTE], [0, -10 * MINUTE - 1]),
        ("1d", [-DAY], [-DAY - 1]),
        ("30d", [-30 * DAY], [-30 * DAY - 1]),
        ("lifetime", [-1, -(10**15)], [0]),
        (hw.window("1h", offset="1d"), [-DAY - 1, -DAY - HOUR], [-DAY, -DAY - HOUR - 1]),
        (hw.window("lifetime", offset="1h"), [-HOUR - 1, -(10**15)], [-HOUR, -1]),
    ],
    ids=str,
)
def test_windows_of_every_length(planted, window, inside, outside):
    events = [{"at": at} for at in inside + outside]
    assert planted(hw.count(), events, [0], window=window) == [len(inside)]


@pytest.mark.parametrize(
    ("T", "event", "counts"),
    [
        (0, -HOUR - 1, True),
        (59 * SECOND, -HOUR + 1, False),  # the head is floored to the minute
        (MINUTE, -HOUR + 1, True),
        (59 * SECOND, -2 * HOUR, True),  # and so is the tail
        (MINUTE, -2 * HOUR, False),
    ],
)
def test_an_offset_floors_both_ends(planted, T, event, counts):
    assert planted(hw.count(), [{"at": event}], [T], window=hw.window("1h", offset="1h")) == [
        int(counts)
    ]


@pytest.mark.parametrize(
    ("hop", "T", "counts"),
    [
        ("1h", 59 * MINUTE, True),
        ("1h", HOUR, False),
        ("30m", 29 * MINUTE, True),
        ("30m", 30 * MINUTE, False),
    ],
)
def test_a_hop_of_ones_own(planted, hop, T, counts):
    assert planted(hw.count(), [{"at": -HOUR}], [T], hop=hop) == [int(counts)]


def test_the_hop_divides_the_offset_too():
    assert hw.window("7d", offset="30m").hop == 10 * MINUTE


LAG = 10 * SECOND
IN_KNOWLEDGE = [
    ("known at K", {"at": -HOUR + MINUTE, "known": -LAG}, True),
    ("known a microsecond after K", {"at": -HOUR + MINUTE, "known": -LAG + 1}, False),
    ("known before it happened", {"at": -1, "known": -LAG - 1}, True),
    ("known before it happened, and not yet happened", {"at": 0, "known": -HOUR}, False),
    ("never known", {"at": -HOUR + MINUTE, "known": None}, False),
]


@pytest.mark.parametrize(
    ("event", "counts"), [row[1:] for row in IN_KNOWLEDGE], ids=[row[0] for row in IN_KNOWLEDGE]
)
def test_knowledge_by_a_column(planted, event, counts):
    ordered = {"at": -HOUR + 2 * MINUTE, "known": -HOUR}
    # alone, late, and deeper
    for company in ([], [ordered], [ordered, {"at": -HOUR + MINUTE, "known": -MINUTE}]):
        assert planted(hw.count(), [event, *company], [0], freshness=hw.streaming("10s")) == [
            int(counts) + len(company)
        ]


@pytest.mark.parametrize(
    ("freshness", "event", "counts"),
    [
        (hw.on_request(), -5 * SECOND, True),  # known 5 s after it happened: at K
        (hw.on_request(), -5 * SECOND + 1, False),
        (hw.streaming("10s"), -15 * SECOND, True),
        (hw.streaming("10s"), -15 * SECOND + 1, False),
        (hw.batch("1h"), -5 * SECOND, True),
        (hw.batch("1h"), -5 * SECOND + 1, False),
        # at 12:00 the cut of 11:00 is the last published
        (hw.batch("1h", delay="5s", wait="5s"), -HOUR - 1, True),
        (hw.batch("1h", delay="5s", wait="5s"), -HOUR, False),
        (hw.measured(["10s"]), -15 * SECOND, True),
        (hw.measured(["10s"]), -15 * SECOND + 1, False),
        (hw.never(), -MINUTE, False),
    ],
    ids=str,
)
def test_knowledge_by_a_delay(planted, freshness, event, counts):
    assert planted(
        hw.count(), [{"at": event}], [0], freshness=freshness, known_after="5s", window="2h"
    ) == [int(counts)]


@pytest.mark.parametrize(
    ("event", "T", "counts"),
    [
        ({"at": -DAY, "known": -1}, 0, True),
        ({"at": -DAY, "known": 0}, 0, False),
        ({"at": -DAY, "known": -HOUR}, 0, True),
        ({"at": -MINUTE, "known": -HOUR - 1}, 0, False),
    ],
)
def test_a_window_on_known_at_sees_when_things_became_known(planted, event, T, counts):
    assert planted(hw.count(), [event], [T], window_on="known_at") == [int(counts)]


@pytest.mark.parametrize(
    ("event", "counts"),
    [(-DAY - 1, True), (-DAY, False), (-DAY - HOUR, True), (-DAY - HOUR - 1, False)],
)
def test_a_window_on_known_at_with_a_delay(planted, event, counts):
    assert planted(hw.count(), [{"at": event}], [0], window_on="known_at", known_after="1d") == [
        int(counts)
    ]


# New York loses an hour at 07:00, wins one at 06:00
GAP, FOLD = datetime(2024, 3, 10, tzinfo=UTC), datetime(2024, 11, 3, tzinfo=UTC)
NIGHTLY = {"at": "02:30", "timezone": "America/New_York"}
CUTS = [
    # freshness, day, asked at, window, first and last moment that count
    # off the hop
    (
        hw.batch("1h", at="00:07:30"),
        GAP,
        12 * HOUR,
        "1h",
        10 * HOUR + 7 * MINUTE,
        11 * HOUR + 7 * MINUTE + 30 * SECOND - 1,
    ),
    (hw.batch("1d", **NIGHTLY), GAP, 7 * HOUR, "1d", -17 * HOUR, 7 * HOUR - 1),
    (
        hw.batch("1d", **NIGHTLY),
        GAP,
        7 * HOUR - 1,
        "1d",
        -DAY - 16 * HOUR - 30 * MINUTE,
        -16 * HOUR - 30 * MINUTE - 1,
    ),
    (hw.batch("1d", delay="5h", **NIGHTLY), GAP, 12 * HOUR, "1d", -17 * HOUR, 7 * HOUR - 1),
    (
        hw.batch("1d", delay="5h", **NIGHTLY),
        GAP,
        12 * HOUR - 1,
        "1d",
        -DAY - 16 * HOUR - 30 * MINUTE,
        -16 * HOUR - 30 * MINUTE - 1,
    ),
    (
        hw.batch("1d", at="01:30", timezone="America/New_York"),
        FOLD,
        6 * HOUR + 30 * MINUTE,
        "1h",
        4 * HOUR + 30 * MINUTE,
        5 * HOUR + 30 * MINUTE - 1,
    ),
    (
        hw.batch("1d", at="12:00:01"),
        datetime(2024, 2, 29, tzinfo=UTC),
        12 * HOUR + SECOND,
        "1d",
        -12 * HOUR,
        12 * HOUR + SECOND - 1,
    ),
    (hw.batch("1d"), datetime(2024, 3, 1, tzinfo=UTC), 1, "1d", -DAY, -1),  # all of the leap day
    (hw.on_request(), datetime(2, 1, 1, tzinfo=UTC), 0, "1h", -HOUR, -1),
    # floors, before 1970 too
    (
        hw.on_request(),
        datetime(1969, 12, 31, 23, 59, tzinfo=UTC),
        30 * SECOND,
        "1h",
        -HOUR,
        30 * SECOND - 1,
    ),
    (
        hw.on_request(),
        datetime(9998, 1, 1, tzinfo=UTC),
        30 * SECOND,
        "90d",
        -90 * DAY,
        30 * SECOND - 1,
    ),
]


@pytest.mark.parametrize(("freshness", "day", "asked", "window", "first", "last"), CUTS)
def test_the_first_and_the_last_moment_that_count(
    planted, freshness, day, asked, window, first, last
):
    for at, counts in ((first - 1, 0), (first, 1), (last, 1), (last + 1, 0)):
        assert planted(
            hw.count(), [{"at": at}], [asked], window=window, freshness=freshness, base=day
        ) == [counts], at


@pytest.mark.parametrize(
    ("known", "counts"), [(11 * HOUR + 5 * MINUTE, 1), (11 * HOUR + 5 * MINUTE + 1, 0)]
)
def test_a_job_takes_in_what_is_known_while_it_waits(planted, known, counts):
    freshness = hw.batch("1h", delay="10m", wait="5m")
    events = [{"at": 11 * HOUR - 1, "known": known}, {"at": 11 * HOUR, "known": 11 * HOUR}]
    assert planted(hw.count(), events, [12 * HOUR], freshness=freshness, base=GAP) == [counts]


def test_a_lifetime_reaches_from_the_first_year_to_the_last(planted):
    first, last = (
        (datetime(2, 1, 1, tzinfo=UTC) - GAP) // timedelta(microseconds=1),
        (datetime(9998, 1, 1, tzinfo=UTC) - GAP) // timedelta(microseconds=1),
    )
    assert planted(
        hw.count(),
        [{"at": first}, {"at": 0}, {"at": last}],
        [first, 0, 1, last, last + 1],
        window="lifetime",
        base=GAP,
    ) == [
        0,
        1,
        2,
        2,
        3,
    ]
    assert planted(
        hw.count(), [{"at": first}, {"at": last}], [first + 1, last + 1], window="1h", base=GAP
    ) == [1, 1]
