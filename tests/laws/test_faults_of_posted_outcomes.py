"""For any fault at any call of the journal of outcomes: what its caller was answered for is there,
once.
"""

import json
from functools import partial

import pytest

import headwater as hw
from headwater.testing import examples, faults
from tests.laws.shop import Place

POSTS = [
    [
        {"request_id": f"r{post}{n}", "outcome": n == 1, "known_at": f"2024-05-0{post}T00:00:00Z"}
        for n in range(2)
    ]
    for post in (1, 2, 3)
]


def prepared(tmp_path, numbers):
    place = Place(tmp_path / f"place{next(numbers)}", "")
    place.folder.mkdir()
    return place


def posted(watch, place):
    """Three posts, each noted when it is answered, with the journal rolled into a file in
    between.
    """
    labels = examples.churn().labels
    with watch.disk(place.home):
        journal = hw.operations.Outcomes(place.home, labels)
        try:
            for number, rows in enumerate(POSTS):
                journal.add(rows)
                with (place.folder / "answered").open("a", encoding="utf-8") as file:
                    file.write(json.dumps([row["request_id"] for row in rows]) + "\n")
                if number == 1:
                    journal.roll()
            journal.roll()
        finally:
            journal.close()


def found(place):
    """The outcomes that are there, in order."""
    try:
        return (
            hw.operations.outcomes(place.home, examples.churn().labels)
            .select("headwater_request", "headwater_outcome", "headwater_known_at")
            .rows()
        )
    except hw.errors.DataError as error:
        if "no outcome of labels" not in str(error):
            raise
        return []


def answered(place):
    notes = place.folder / "answered"
    return (
        [
            request
            for line in notes.read_text(encoding="utf-8").splitlines()
            for request in json.loads(line)
        ]
        if notes.exists()
        else []
    )


@pytest.fixture
def prepare(tmp_path):
    return partial(prepared, tmp_path, iter(range(10_000)))


def test_an_outcome_that_was_answered_for_is_there_once(prepare):
    place = prepare()
    posted(faults.Watch(), place)
    after = found(place)
    assert [row[0] for row in after] == [row["request_id"] for rows in POSTS for row in rows]

    def reads(place):
        there = found(place)
        assert there == after[: len(there)]
        assert len(there) % 2 == 0, "half of a post"
        assert set(answered(place)) <= {row[0] for row in there}

    for fault in faults.every(prepare, posted, in_turn=True, meanwhile=reads):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        posted(faults.Watch(), fault.place)
        assert found(fault.place) == after, fault
