"""What a freshness says of itself."""

import pytest

import headwater as hw
from headwater.definitions.freshness import from_data

BATCH = hw.batch("1d", at="02:30", timezone="America/New_York", delay="4h", wait="1h")
MEASURED = hw.measured(["1s", None, "90s"])

#  freshness, kind, scheduled, streamed, servable, reads events, command, as it is written
ROWS = [
    (
        BATCH,
        "batch",
        True,
        False,
        True,
        True,
        "materialize",
        "batch every 1d from 150m after midnight America/New_York, delay 4h, wait 1h",
    ),
    (hw.streaming("2s"), "streaming", False, True, True, True, "ingest", "streaming 2s"),
    (hw.on_request(), "on_request", False, False, True, True, "ingest", "on_request"),
    (
        MEASURED,
        "measured",
        False,
        False,
        False,
        True,
        "ingest",
        f"{MEASURED} ({MEASURED.fingerprint[:6]})",
    ),
    (hw.never(), "never", False, False, False, False, "ingest", "never"),
]


@pytest.mark.parametrize(("freshness", *"abcdefg"), ROWS)
def test_what_it_says(freshness, a, b, c, d, e, f, g):
    said = (
        freshness.kind,
        freshness.scheduled,
        freshness.streamed,
        freshness.servable,
        freshness.reads_events,
        freshness.command,
    )
    assert (*said, freshness.written) == (a, b, c, d, e, f, g)
    assert freshness.stored == (b or c)
    assert freshness.computed_on_request == (a == "on_request")
    assert freshness.schedule is (freshness if b else None)
    assert freshness.known_by("T", "K") == ("K" if b else "T")


@pytest.mark.parametrize("freshness", [row[0] for row in ROWS if row[0] != MEASURED])
def test_data_says_all_of_it(freshness):
    assert from_data(freshness.to_data()) == freshness


def test_data_of_measured_ages_are_the_largest_and_the_middle_one():
    assert MEASURED.to_data() == {"kind": "measured", "worst": 90_000_000, "median": 90_000_000}
    assert from_data(hw.measured(["1s", "2s", "9s"]).to_data()).found == [2_000_000, 9_000_000]


def test_state_that_a_stream_keeps_answers_requests_too():
    assert hw.streaming("2s").state == hw.on_request().state != BATCH.state
