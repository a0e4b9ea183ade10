"""The interview: answers from a terminal or a file become a project that loads, and a wrong answer
is named.
"""

import pytest

import headwater as hw
from headwater.cli.projects import load
from headwater.errors import UsageError
from headwater.init import interview
from headwater.init.draft import draft

TASK = """
[task]
name = "card_fraud"
predict = "is_fraud"
kind = "binary"
asked_at = "asked_at"
known_after = "7d"
keys = ["card_id", "merchant_id"]
fields = ["amount:float", "country:str"]
"""
LOOK = """
[[look]]
at = {at!r}
events = "payments"
key = {key!r}
values = ["amount"]
texts = ["country"]
over = ["1h", "7d"]
known = "0s"
fresh = {fresh!r}
"""


def answers(tmp_path, *looks, task=TASK):
    text = task + "".join(LOOK.format(at=at, key=key, fresh=fresh) for at, key, fresh in looks)
    path = tmp_path / "answers.toml"
    path.write_text(text, encoding="utf-8")
    return path


def drafted(tmp_path, path):
    place = tmp_path / "drafted.py"
    place.write_text(draft(interview.read(path)), encoding="utf-8")
    return place.read_text(encoding="utf-8"), load(str(place)).project


@pytest.mark.parametrize(
    ("fresh", "freshness", "streamed"),
    [
        ("0s", hw.on_request(), True),
        ("10s", hw.streaming("10s"), True),
        ("59m", hw.streaming("59m"), True),
        ("1h", hw.batch("1h", delay="15m"), False),
        ("1d", hw.batch("1d", delay="4h"), False),
        ("7d", hw.batch("1d", delay="4h"), False),
    ],
)
def test_the_laziest_freshness_that_still_helps(tmp_path, fresh, freshness, streamed):
    text, found = drafted(tmp_path, answers(tmp_path, ("what it spent", "card_id", fresh)))
    (view,) = found.all_views
    assert view.freshness == freshness
    assert (view.source.stream is not None) is streamed
    assert '"what it spent"' in text


def test_words_that_would_break_python_do_not(tmp_path):
    text, found = drafted(tmp_path, answers(tmp_path, ('say """ and \\ "x"', "card_id", "1m")))
    assert len(found.all_views) == 1
    assert "say" in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "binary"', 'kind = "binry"', "binary"),
        ('known_after = "7d"', 'known_after = "soon"', "known_after"),
        (
            'keys = ["card_id", "merchant_id"]',
            'keys = ["card"]',
            "which is not a key of the request",
        ),
        ('predict = "is_fraud"', 'predcit = "is_fraud"', "predict"),
        ('over = ["1h", "7d"]', "over = []", "over is empty"),
        ("[task]", "[task", "not TOML"),
    ],
)
def test_wrong_answers_are_named(tmp_path, old, new, words):
    path = answers(tmp_path, ("a", "card_id", "1m"))
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError) as error:
        interview.read(path)
    assert words in str(error.value)
