"""An interview before there is any data: which signals would you use for the prediction, and when
is each known?

Questions about the prediction come first, with the three on network effects, then about each
signal: its key, events and windows, when an event is known, and how old a value may be and still
help. Answers come from a terminal or from a TOML file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from headwater.assessing.network import KINDS
from headwater.definitions.checks import micros
from headwater.definitions.model import written
from headwater.disk import read_toml, write_new
from headwater.errors import DefinitionError, UsageError, nearest
from headwater.init.tables import usable
from headwater.results.assessment_parts import Effect

TYPES = ("float", "int", "str", "bool", "datetime")
_LOOK = (
    "With all the time in the world, what would you look at to decide? One thing, in your words "
    "(an empty line: nothing more)"
)

_QUESTIONS: dict[str, tuple[str, str]] = {
    "name": ("What is the project called?", "card_fraud"),
    "predict": ("What does it predict? The name of the outcome's column", "is_fraud"),
    "kind": (f"Which task is it: {', '.join(written())}?", "binary"),
    "asked_at": ("Which column has the time of the request?", "asked_at"),
    "known_after": ("How long after that is the outcome known?", "7d"),
    "keys": ("Which keys does a request have? Columns, with commas", "card_id, merchant_id"),
    "fields": (
        (
            "What else is known at that time? Columns, each with its type after a colon "
            f"({', '.join(TYPES)})"
        ),
        "amount:float, country:str",
    ),
}
_EFFECTS: dict[str, tuple[str, str]] = {
    name: (f"{kind.question} yes or no; empty if it is not known", "")
    for name, kind in KINDS.items()
}
_OF_A_LOOK: Mapping[str, tuple[str, str]] = {
    "events": ("In which events would you see it? A name for them", "payments"),
    "key": ("Which key? One of the request's; empty for all events together", "card_id"),
    "values": (
        "Which numbers of such an event count? Columns, with commas; empty to count events alone",
        "amount",
    ),
    "texts": ("Which strings of such an event count? Columns, with commas; empty for none", ""),
    "over": ("Over how long would you look? Windows, with commas", "1h, 7d"),
    "known": ("How long after it happened is such an event known?", "0s"),
    "fresh": ("How old may the answer be and still help?", "1m"),
}
_LISTS = {"keys", "fields", "values", "texts", "over"}
_EMPTY = {"fields", "key", "values", "texts", *_EFFECTS}
_HEAD = """\
# Answers to `headwater assess interview`. Change each, and pass the file as --answers.
# With all the time in the world, what would you look at to decide, and when is it known?
# One [[look]] for each signal.
"""

Ask = Callable[[str], str]


@dataclass(frozen=True)
class Signal:
    """A signal of the interview, with its key, events, windows and freshness. at: its description
    in the user's words.
    """

    at: str
    events: str
    key: str
    values: Sequence[str]
    texts: Sequence[str]
    over: Sequence[str]
    known: str
    fresh: str


@dataclass(frozen=True)
class Interview:
    """All answers. fields: types of the request's columns that are features themselves. effects: of
    the network effects, those answered.
    """

    name: str
    predict: str
    kind: str
    asked_at: str
    known_after: str
    keys: Sequence[str]
    fields: Mapping[str, str]
    looks: Sequence[Signal] = field(default_factory=list)
    effects: Mapping[Effect, bool] = field(default_factory=dict)


def ask_all(ask: Ask) -> Interview:
    """Run the interview. ask: takes a question with an example, and returns a line.

    Raises:
        UsageError: an invalid answer.
    """
    task = {
        name: ask(_with(text, example)).strip()
        for name, (text, example) in (_QUESTIONS | _EFFECTS).items()
    }
    looks = []
    while answer := ask(_LOOK).strip():
        looks.append(
            {
                "at": answer,
                **{
                    name: ask(_with(text, example)).strip()
                    for name, (text, example) in _OF_A_LOOK.items()
                },
            }
        )
    return _interview(task, looks, "the interview")


def read(path: Path) -> Interview:
    """The answers in a file.

    Raises:
        UsageError: the file does not exist or is not TOML, or an answer is invalid.
    """
    content = read_toml(
        path, f"no answers at {path}; write the questions with --write-questions {path}"
    )
    for name in content:
        if name not in {"task", "look"}:
            raise UsageError(
                f"{path} has an unknown key {name!r}; {nearest(name, ['task', 'look'])}"
            )
    task, looks = content.get("task"), content.get("look", [])
    if not isinstance(task, dict) or not isinstance(looks, list):
        raise UsageError(f"{path}: give one [task], and a [[look]] for each signal")
    return _interview(task, looks, str(path))


def write_questions(path: Path) -> None:
    """Write the questions, answered by an example, into a new file.

    Raises:
        UsageError: the file exists, and may have answers.
    """
    parts = [
        _HEAD,
        "[task]",
        *(_line(name, *question) for name, question in (_QUESTIONS | _EFFECTS).items()),
        "\n[[look]]",
    ]
    parts += [f'# {_LOOK}\nat = "how much the card spent within the hour, against its usual"']
    parts += [_line(name, *_OF_A_LOOK[name]) for name in _OF_A_LOOK]
    write_new(path, "\n".join(parts) + "\n", "answers")


def _with(text: str, example: str) -> str:
    return f"{text} (such as {example})" if example else text


def _line(name: str, text: str, example: str) -> str:
    if name in _LISTS:
        return (
            f"# {text}\n{name} = "
            f"{json.dumps([item.strip() for item in example.split(',') if item.strip()])}"
        )
    return f'# {text}\n{name} = "{example}"'


def _interview(task: Mapping[str, object], looks: Sequence[object], location: str) -> Interview:
    """Check all answers."""
    reader = _Reader(task, f"{location}: [task]", _QUESTIONS | _EFFECTS)
    kind = reader.word("kind")
    if kind not in written():
        raise UsageError(
            f"{location}: kind is {kind!r}; {nearest(kind, written())} (of {', '.join(written())})"
        )
    keys = reader.names("keys")
    parsed = []
    for number, entry in enumerate(looks, start=1):
        if not isinstance(entry, Mapping):
            raise UsageError(f"{location}: look {number} is {entry!r}; write it as [[look]]")
        parsed.append(
            _look(
                _Reader(entry, f"{location}: look {number}", {"at": ("", ""), **_OF_A_LOOK}), keys
            )
        )
    if not parsed:
        raise UsageError(
            f"{location}: no signal; give at least one, since features are computed from signals"
        )
    return Interview(
        name=reader.word("name"),
        predict=reader.name("predict"),
        kind=kind,
        asked_at=reader.name("asked_at"),
        known_after=reader.duration("known_after"),
        keys=keys,
        fields=reader.types("fields"),
        looks=parsed,
        effects={
            name: answer == "yes"
            for name in KINDS
            if (answer := reader.choice(name, ("yes", "no")))
        },
    )


def _look(reader: _Reader, keys: Sequence[str]) -> Signal:
    key = reader.word("key")
    if key and key not in keys:
        raise UsageError(
            f"{reader.where}: key is {key!r}, which is not a key of the request, so it cannot be "
            f"looked up; {nearest(key, keys)}, or add it to keys"
        )
    over = reader.listed("over")
    for window in over:
        reader.check(window, "over")
    return Signal(
        at=reader.word("at"),
        events=reader.name("events"),
        key=key,
        values=reader.names("values"),
        texts=reader.names("texts"),
        over=over,
        known=reader.duration("known"),
        fresh=reader.duration("fresh"),
    )


@dataclass(frozen=True)
class _Reader:
    """Answers by name, converted and checked."""

    answers: Mapping[str, object]
    where: str
    known: Mapping[str, tuple[str, str]]

    def __post_init__(self) -> None:
        for name in self.answers:
            if name not in self.known:
                raise UsageError(
                    f"{self.where}: unknown question {name!r}; {nearest(name, self.known)}"
                )

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        answer = self.word(name)
        if answer and answer not in allowed:
            raise UsageError(
                f"{self.where}: {name} is {answer!r}; give {' or '.join(allowed)}, or nothing if "
                "it is not known"
            )
        return answer

    def word(self, name: str) -> str:
        answer = self.answers.get(name, "")
        if not isinstance(answer, str) or (not answer and name not in _EMPTY):
            example = self.known[name][1]
            raise UsageError(
                f"{self.where}: {name} is {answer!r}; give a "
                f"string{f', such as {example}' if example else ''}"
            )
        return answer

    def name(self, name: str) -> str:
        return self._usable(self.word(name), name)

    def listed(self, name: str) -> list[str]:
        answer = self.answers.get(name, [])
        parts = answer.split(",") if isinstance(answer, str) else answer
        if not isinstance(parts, list) or not all(isinstance(item, str) for item in parts):
            raise UsageError(
                f"{self.where}: {name} is {answer!r}; give a list of strings, such as "
                f"{self.known[name][1]}"
            )
        items = [item.strip() for item in cast("list[str]", parts) if item.strip()]
        if not items and name not in _EMPTY:
            raise UsageError(
                f"{self.where}: {name} is empty; give at least one, such as {self.known[name][1]}"
            )
        return items

    def names(self, name: str) -> list[str]:
        return [self._usable(item, name) for item in self.listed(name)]

    def types(self, name: str) -> dict[str, str]:
        kinds = {}
        for item in self.listed(name):
            column, _, kind = (text.strip() for text in item.partition(":"))
            kind = kind or "float"
            if kind not in TYPES:
                raise UsageError(
                    f"{self.where}: {name}: {column} is of type {kind!r}; {nearest(kind, TYPES)}"
                )
            kinds[self._usable(column, name)] = kind
        return kinds

    def duration(self, name: str) -> str:
        return self.check(self.word(name), name)

    def check(self, text: str, name: str) -> str:
        try:
            micros(text, f"{self.where}: {name}")
        except DefinitionError as error:
            raise UsageError(str(error)) from error
        return text

    def _usable(self, text: str, name: str) -> str:
        if not usable(text):
            raise UsageError(
                f"{self.where}: {name}: {text!r} cannot be a column here; use letters, digits and "
                "underscores"
            )
        return text
