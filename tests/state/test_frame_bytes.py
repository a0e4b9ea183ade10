"""Frames as bytes: blocks of rows that wait for their files, and held events."""

import json
import random

import polars as pl

from headwater.state.record import frame_bytes, frame_of


def test_the_bytes_have_nothing_of_rows_that_a_filter_left_out():
    """Of texts, bytes, lists and structs, short and long; and the rows come back as they were."""
    chance = random.Random(0)
    for _ in range(100):
        users = [chance.choice(["annabella", "bob", "cem"]) for _ in range(chance.randrange(2, 9))]
        rows = {
            "reason": [f"a reason of {user} " * chance.randrange(1, 4) for user in users],
            "payload": [
                json.dumps({"user": user, "more": "y" * chance.randrange(60)}).encode()
                for user in users
            ],
            "list": [[user, 3 * user] for user in users],
            "struct": [{"user": 2 * user} for user in users],
            "kind": pl.Series(users, dtype=pl.Categorical),
            "none": [None] * len(users),
        }
        read = frame_of(frame_bytes(pl.DataFrame(rows)))
        left = read.filter(pl.Series([user != "annabella" for user in users]))
        written = frame_bytes(left)
        assert b"annabella" not in written
        assert frame_of(written).equals(left)
        assert frame_of(written).schema == left.schema
