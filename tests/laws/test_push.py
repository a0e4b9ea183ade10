"""Events that are posted: each is taken in once, whoever else sends, and whenever ingestion stops
and starts.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import headwater as hw
from tests.laws import shop

STREAM = hw.push(schema=shop.SCHEMA)


def counted(place, project):
    (rows,) = shop.values(place, project[1])
    return shop.counted(rows)


def test_events_that_are_sent_at_once_are_all_taken(tmp_path):
    """Small batches of many senders, more of which wait than a commit holds; and again by those who
    did not hear the answer, from ingestion that was started anew.
    """
    place = shop.Place(tmp_path, f"lmdb:{tmp_path}/store?size=64MB")
    project = shop.shop(place, stream=STREAM)
    lines = [json.dumps(shop.event(number, since=shop.SINCE)) for number in range(24)]
    batches = [lines[n : n + 2] for n in range(0, 24, 2)]
    for turn in range(2):
        with shop.pushing(place, project[0]) as post, ThreadPoolExecutor(6) as senders:
            answers = list(senders.map(post, batches))
        taken = [(0, 2) if turn else (2, 0)] * len(batches)
        assert [(one["accepted"], one["copies"]) for one in answers] == taken
        assert counted(place, project) == set(range(24))


def test_a_large_request_is_taken_in_as_small_ones_are(tmp_path):
    """Whether all of its events are good, or some are refused, each with its place."""
    place = shop.Place(tmp_path, f"lmdb:{tmp_path}/store?size=64MB")
    project = shop.shop(place, stream=STREAM)
    at = shop.SINCE.isoformat()
    lines = [json.dumps({"id": f"e{n}", "user": "bob", "n": 1, "at": at}) for n in range(3000)]
    wrong = [100, 1399]
    for n in wrong:
        lines[1500 + n] = lines[1500 + n].replace('"n": 1', '"n": "one"')
    with shop.pushing(place, project[0]) as post:
        answers = [post(lines[:1500]), post(lines[1500:]), post(lines[:3])]
    assert [one["accepted"] for one in answers] == [1500, 1498, 0]
    assert [[each["index"] for each in one["refused"]] for one in answers] == [[], wrong, []]
    (rows,) = shop.values(place, project[1])
    assert [row["user__sum_n_30d"] or 0 for row in rows] == [0, 2998, 0]
