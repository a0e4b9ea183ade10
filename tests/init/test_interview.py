"""The interview: answers from a terminal or a file become a project that loads, and a wrong answer
is named.
"""

import pytest

import headwater as hw
from headwater.assessing.network import KINDS
from headwater.cli.projects import load
from headwater.errors import UsageError
from headwater.init import interview
from headwater.init.draft import draft
from tests.assessing.conftest import home, run  # noqa: F401 (fixtures)

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


def test_each_look_becomes_a_view_and_sources_are_shared(tmp_path):
    path = answers(
        tmp_path,
        ("a", "card_id", "1m"),
        ("b", "card_id", "1d"),
        ("c", "merchant_id", "1h"),
        ("d", "", "1d"),
    )
    _, found = drafted(tmp_path, path)
    assert [view.name for view in found.all_views] == [
        "card_id_payments",
        "card_id_payments_look2",
        "merchant_id_payments",
        "all_payments",
    ]
    assert [list(view.keys) for view in found.all_views] == [
        ["card_id"],
        ["card_id"],
        ["merchant_id"],
        [],
    ]
    (source,) = found.sources
    assert {"card_id", "merchant_id", "amount", "country"} <= set(source.select)
    (model,) = found.models
    assert model.labels.known_after == "7d"
    assert [field.name for field in model.features.request_fields] == ["amount", "country"]


def test_words_that_would_break_python_do_not(tmp_path):
    text, found = drafted(tmp_path, answers(tmp_path, ('say """ and \\ "x"', "card_id", "1m")))
    assert len(found.all_views) == 1
    assert "say" in text


def test_an_interview_at_a_terminal_is_the_file_of_the_same_answers(tmp_path):
    lines = [
        "card_fraud",
        "is_fraud",
        "binary",
        "asked_at",
        "7d",
        "card_id, merchant_id",
        "amount:float, country:str",
    ]
    lines += ["", "", ""]  # network effects: not known
    lines += ["what it spent", "payments", "card_id", "amount", "country", "1h, 7d", "0s", "1m", ""]
    said = iter(lines)
    questions = []

    def ask(question):
        questions.append(question)
        return next(said)

    assert interview.ask_all(ask) == interview.read(
        answers(tmp_path, ("what it spent", "card_id", "1m"))
    )
    assert sum("With all the time in the world" in question for question in questions) == 2
    assert next(said, None) is None


def test_the_questions_are_answers_that_can_be_read(tmp_path):
    path = tmp_path / "questions.toml"
    interview.write_questions(path)
    _, found = drafted(tmp_path, path)
    assert found.name == "card_fraud"
    with pytest.raises(UsageError, match="already exists, and may hold answers"):
        interview.write_questions(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "binary"', 'kind = "binry"', "binary"),
        ('known_after = "7d"', 'known_after = "soon"', "known_after"),
        ('known_after = "7d"', "known_after = 7", "known_after is 7"),
        (
            'keys = ["card_id", "merchant_id"]',
            'keys = ["card"]',
            "which is not a key of the request",
        ),
        ('keys = ["card_id", "merchant_id"]', 'keys = ["card id"]', "cannot be a column"),
        ('predict = "is_fraud"', 'predcit = "is_fraud"', "predict"),
        (
            'kind = "binary"',
            'kind = "binary"\nsupply = "maybe"',
            "supply is 'maybe'; give yes or no, or nothing",
        ),
        ("[task]", "[tsak]", "task"),
        ('over = ["1h", "7d"]', "over = []", "over is empty"),
        ('"country:str"', '"country:text"', "country is of type 'text'"),
        ("[[look]]", "[look]", "[[look]]"),
        ("[task]", "[task", "not TOML"),
    ],
)
def test_wrong_answers_are_named(tmp_path, old, new, words):
    path = answers(tmp_path, ("a", "card_id", "1m"))
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError) as error:
        interview.read(path)
    assert words in str(error.value)


def test_network_effects_are_asked_and_name_the_experiment(tmp_path, run):
    """The same three questions as `headwater assess` asks; a question without an answer stays
    unknown.
    """
    path = answers(tmp_path, ("a", "card_id", "1m"))
    assert interview.read(path).effects == {}
    questions = []
    interview_lines = iter(
        [
            "n",
            "y",
            "binary",
            "at",
            "7d",
            "k",
            "",
            "yes",
            "no",
            "no",
            "spent",
            "e",
            "k",
            "",
            "",
            "1h",
            "0s",
            "1m",
            "",
        ]
    )
    found = interview.ask_all(
        lambda question: (questions.append(question), next(interview_lines))[1]
    )
    assert found.effects == {"supply": True, "adversaries": False, "feedback": False}
    assert [
        sum(kind.question in question for question in questions) for kind in KINDS.values()
    ] == [1, 1, 1]
    task = TASK + 'supply = "yes"\nadversaries = "no"\nfeedback = "no"\n'
    said = run(
        "assess",
        "interview",
        "--answers",
        str(answers(tmp_path, ("a", "card_id", "1m"), task=task)),
    )
    assert "experiment after the backtest: switchback by region and time" in said.stderr
    assert "--network supply\n" in said.stderr


def test_nothing_to_look_at_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no signal"):
        interview.read(answers(tmp_path))
    with pytest.raises(UsageError, match="--write-questions"):
        interview.read(tmp_path / "gone.toml")


def test_the_command(tmp_path, run):
    assert "no terminal to answer questions" in run("assess", "interview").stderr
    assert run("assess", "interview", "--write-questions", "q.toml").returncode == 0
    found = run("assess", "interview", "--answers", "q.toml")
    assert found.returncode == 0, found.stderr
    assert load(str(tmp_path / "features.py")).project.all_views
    again = run("assess", "interview", "--answers", "q.toml")
    assert again.returncode != 0
    assert "features.py exists" in again.stderr
