"""Moments as records write them."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.clock import EPOCH
from headwater.ingestion.serde.json import micros_of, parse_iso

NOON = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z
NEW_YORK = "America/New_York"


def micros(when):
    return (when - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2024-05-01T12:00:00Z", None, NOON),
        ("2024-05-01T12:00:00+00:00", None, NOON),
        ("2024-05-01T14:30:00+02:30", None, NOON),
        ("2024-05-01T07:00:00-05:00", None, NOON),
        ("2024-05-01T07:00:00-0500", None, NOON),
        ("2024-05-01 12:00:00Z", None, NOON),
        ("2024-05-01T12:00Z", None, NOON),
        ("2024-05-01T12Z", None, NOON),
        ("2024-05-01T12:00:00,5+00", None, NOON + 500_000),
        ("2024-W18-3T12:00:00Z", None, None),
        ("2024-05-01T12:00:00.Z", None, None),
        ("20240501T120000Z", None, NOON),
        ("2024-05-01T12:00:00.000001Z", None, NOON + 1),
        ("2024-05-01T12:00:00.1Z", None, NOON + 100_000),
        ("2024-05-01T12:00:00.123456789Z", None, NOON + 123_456),  # beyond microseconds is cut off
        ("1969-12-31T23:59:59.999999Z", None, -1),
        ("0001-01-01T00:00:00Z", None, -62_135_596_800_000_000),
        ("0001-01-01T00:00:00+00:01", None, None),
        ("9999-12-31T23:59:59.999999Z", None, 253_402_300_799_999_999),
        ("9999-12-31T23:59:59-00:01", None, None),
        ("2024-05-01T12:00:00", None, None),
        ("2024-05-01T12:00:00", "UTC", NOON),
        ("2024-05-01", "UTC", NOON - 12 * 3_600_000_000),
        ("2024-05-01T08:00:00", NEW_YORK, NOON),
        ("2024-05-01T12:00:00Z", NEW_YORK, NOON),  # its own offset counts
        ("2024-03-10T02:30:00", NEW_YORK, None),  # the clock leaps over it
        # the first of the two
        ("2024-11-03T01:30:00", NEW_YORK, micros(datetime(2024, 11, 3, 5, 30, tzinfo=UTC))),
        ("2024-02-29T00:00:00Z", None, micros(datetime(2024, 2, 29, tzinfo=UTC))),
        ("2023-02-29T00:00:00Z", None, None),
        ("2024-13-01T00:00:00Z", None, None),
        ("2024-00-01T00:00:00Z", None, None),
        ("2024-01-00T00:00:00Z", None, None),
        ("2024-05-01T24:00:00Z", None, None),
        ("2024-05-01T12:00:60Z", None, None),
        ("2024-05-01T12:60:00Z", None, None),
        ("2024-05-01T12:00:00+24:00", None, None),
        ("2024-05-01T12:00:00z", None, None),
        ("2024-05-01T12:00:00 Z", None, None),
        (" 2024-05-01T12:00:00Z", "UTC", None),
        ("+2024-05-01T12:00:00Z", None, None),
        ("12024-05-01T12:00:00Z", None, None),
        ("2024-05-01T12:00:00\u0660Z", None, None),
        ("\u0662024-05-01T12:00:00Z", None, None),
        ("noon", "UTC", None),
        ("", "UTC", None),
        (None, "UTC", None),
        (5, "UTC", None),
        (True, "UTC", None),
        (datetime(2024, 5, 1, 12, tzinfo=UTC), None, NOON),
        (datetime(2024, 5, 1, 8), NEW_YORK, NOON),  # noqa: DTZ001 (what a library may give)
        (date(2024, 5, 1), None, NOON - 12 * 3_600_000_000),
    ],
)
def test_texts(text, zone, expected):
    assert micros_of([text], "iso", zone).to_list() == [expected]
    among = ["2024-05-01T12:00:00Z", text, "1970-01-01T00:00:00.5Z", None]
    assert micros_of(among, "iso", zone).to_list() == [NOON, expected, 500_000, None]


@pytest.mark.parametrize(
    ("number", "unit", "expected"),
    [
        (1_714_564_800, "s", NOON),
        (1_714_564_800.25, "s", NOON + 250_000),
        (1_714_564_800_000, "ms", NOON),
        (1_714_564_800_000.5, "ms", NOON + 500),
        (NOON, "us", NOON),
        (0, "s", 0),
        (-1, "us", -1),
        (253_402_300_799, "s", 253_402_300_799_000_000),
        (253_402_300_800, "s", None),
        (NOON, "ms", None),
        (2**63, "us", None),
        (2**100, "s", None),
        (1e300, "s", None),
        (float("nan"), "s", None),
        (float("inf"), "s", None),
        (True, "s", None),
        ("1714564800", "s", None),
        (None, "s", None),
    ],
)
def test_numbers(number, unit, expected):
    assert micros_of([number], unit, None).to_list() == [expected]
    assert micros_of([0, number, 1], unit, None).to_list()[1] == expected


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES)  # noqa: DTZ001 (bounds are naive)


@given(
    st.lists(
        st.tuples(MOMENTS, st.sampled_from(["auto", "milliseconds", "seconds"]), st.booleans()),
        max_size=8,
    )
)
def test_many_at_once_are_what_python_reads(drawn):
    whens = [when.astimezone(UTC) if utc else when for when, _, utc in drawn]
    texts = [
        when.isoformat(timespec=spec).replace("+00:00", "Z" if utc else "+00:00")
        for when, (_, spec, utc) in zip(whens, drawn, strict=True)
    ]
    found, fits = parse_iso(texts)
    assert fits.all()
    assert found.tolist() == [micros(datetime.fromisoformat(text)) for text in texts]


@given(
    st.from_regex(
        r"\A[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,7})?(Z|[+-][0-2][0-9]:[0-6][0-9]|)\Z"
    )
)
def test_what_fits_is_what_python_reads(text):
    found, fits = parse_iso([text])
    if fits[0]:
        assert (
            found[0] == micros_of([datetime.fromisoformat(text)], "iso", None)[0]
            or "9999" in text
            or "0001" in text
        )
