"""What definitions and results show of themselves at a prompt: a few readable lines for any
contents.
"""

import re
from datetime import timedelta

import headwater as hw
from headwater.definitions.definition import LINES, WIDTH

DAILY = hw.batch("1d", delay="4h")


def definitions():
    """Some with more than a line can hold, or with a secret."""
    made = [
        DAILY,
        hw.streaming("2s"),
        hw.on_request(),
        hw.never(),
        hw.measured([timedelta(seconds=3)] * 100),
        hw.window("7d", offset="1h"),
    ]
    made += [
        hw.mean("price", windows=["1h"], where="late"),
        hw.kafka("t", schema={f"c{i}": str for i in range(90)}),
        hw.appended("x"),
        hw.push(),
    ]
    made += [
        hw.Registry(
            "https://r", user="u", password="hunter2", options={"ssl.key.password": "hunter2"}
        ),
        hw.parquet("x.parquet"),
        hw.csv("x.csv"),
        hw.precomputed(DAILY, keys=["user"]),
    ]
    made += [
        hw.HttpFeatures(
            "ip",
            url="https://ip.example/",
            request={"user": str},
            response={"score": float},
            headers={"Authorization": "hunter2"},
        )
    ]
    return [
        *made,
        hw.evaluation.Refits(seeds=3),
        hw.evaluation.Tuning(trials=3),
        hw.evaluation.metric("mine", lambda y, s: 0.0),
    ]


def bounded(value):
    """The repr, if it is of a few lines and shows neither microseconds nor secrets."""
    text = repr(value)
    assert len(text.splitlines()) <= LINES, text
    assert max(map(len, text.splitlines())) <= WIDTH, text
    # microseconds
    assert not re.search(
        r"(?<![.\d])[1-9]\d{7,}", text.replace(str(getattr(value, "folder", "")), "")
    ), text
    assert "hunter2" not in text
    assert " object at 0x" not in text
    return text


def test_every_definition_is_readable():
    for one in definitions():
        bounded(one)
