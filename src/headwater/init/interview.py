"""An interview for when there is no data yet: with all the time in the world, what would you look at, and when is it known?

It asks of the prediction first, and then of each thing that somebody would look at to make it: of whom, in which events, over how long,
how soon an event is known, and how old a value may be and still help. The answers come from a terminal or from a file of TOML.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from headwater.definitions.durations import micros
from headwater.definitions.tasks import written
from headwater.errors import DefinitionError, UsageError, nearest
from headwater.init.tables import usable

TYPES = ("float", "int", "str", "bool", "datetime")
_LOOK = "With all the time in the world, what would you look at to decide? One thing, in your words (an empty line: nothing more)"

_QUESTIONS: Mapping[str, tuple[str, str]] = {
    "name": ("What is the project called?", "card_fraud"),
    "predict": ("What is predicted? The name of the outcome's column", "is_fraud"),
    "kind": (f"Of which kind is it: {', '.join(written())}?", "binary"),
    "asked_at": ("Which column says when a prediction is asked for?", "asked_at"),
    "known_after": ("How long after that is the outcome known?", "7d"),
    "keys": ("Whom or what does a request name? Columns, with commas", "card_id, merchant_id"),
    "fields": (f"What else is known then? Columns, each with its type after a colon ({', '.join(TYPES)})", "amount:float, country:str"),
}
_OF_A_LOOK: Mapping[str, tuple[str, str]] = {
    "events": ("In which events would you see it? A name for them", "payments"),
    "key": ("Of whom? One of the request's keys; empty for all together", "card_id"),
    "values": ("Which numbers of such an event count? Columns, with commas; empty to count events alone", "amount"),
    "texts": ("Which texts? Columns, with commas; empty for none", ""),
    "over": ("Over how long would you look? Windows, with commas", "1h, 7d"),
    "known": ("How long after it happened is such an event known?", "0s"),
    "fresh": ("How old may the answer be and still help?", "1m"),
}
_LISTS = {"keys", "fields", "values", "texts", "over"}
_EMPTY = {"fields", "key", "values", "texts"}
_HEAD = """\
# Answers to `headwater assess interview`. Change each, and pass the file as --answers.
# With all the time in the world, what would you look at to decide, and when is it known? One [[look]] for each thing.
"""

Ask = Callable[[str], str]


@dataclass(frozen=True)
class Look:
    """One thing that somebody would look at, in their words: of whom, in which events, over how long, and how fresh."""

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
    """All answers. fields: the type of each column of the request that is a feature itself."""

    name: str
    predict: str
    kind: str
    asked_at: str
    known_after: str
    keys: Sequence[str]
    fields: Mapping[str, str]
    looks: Sequence[Look] = field(default_factory=list)


def asked(ask: Ask) -> Interview:
    """The answers of whoever `ask` asks: it is given a question with an example, and returns a line.

    Raises:
        UsageError: an answer that is none.
    """
    task = {name: ask(_with(text, example)).strip() for name, (text, example) in _QUESTIONS.items()}
    looks = []
    while said := ask(_LOOK).strip():
        looks.append({"at": said, **{name: ask(_with(text, example)).strip() for name, (text, example) in _OF_A_LOOK.items()}})
    return _made(task, looks, "the interview")


def read(path: Path) -> Interview:
    """The answers in a file.

    Raises:
        UsageError: no such file, no TOML, or an answer that is none.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no answers at {path}; write the questions with --write-questions {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    for name in said:
        if name not in {"task", "look"}:
            raise UsageError(f"{path}: a part is named {name!r}; {nearest(name, ['task', 'look'])}")
    task, looks = said.get("task"), said.get("look", [])
    if not isinstance(task, dict) or not isinstance(looks, list):
        raise UsageError(f"{path}: give one [task], and a [[look]] for each thing that you would look at")
    return _made(task, looks, str(path))


def write_questions(path: Path) -> None:
    """Write the questions, answered by an example, into a new file.

    Raises:
        UsageError: the file is there already, and may hold answers.
    """
    parts = [_HEAD, "[task]", *(_line(name, *_QUESTIONS[name]) for name in _QUESTIONS), "\n[[look]]"]
    parts += [f'# {_LOOK}\nat = "how much the card spent within the hour, against its usual"']
    parts += [_line(name, *_OF_A_LOOK[name]) for name in _OF_A_LOOK]
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(parts) + "\n")
    except FileExistsError:
        raise UsageError(f"{path} is there already, and may hold answers; name a new file") from None


def _with(text: str, example: str) -> str:
    return f"{text} (such as {example})" if example else text


def _line(name: str, text: str, example: str) -> str:
    if name in _LISTS:
        return f"# {text}\n{name} = {json.dumps([one.strip() for one in example.split(',') if one.strip()])}"
    return f'# {text}\n{name} = "{example}"'


def _made(task: Mapping[str, object], looks: Sequence[object], where: str) -> Interview:
    """The answers, each checked."""
    of = _Reader(task, f"{where}: [task]", _QUESTIONS)
    kind = of.word("kind")
    if kind not in written():
        raise UsageError(f"{where}: kind is {kind!r}; {nearest(kind, written())} (of {', '.join(written())})")
    keys = of.names("keys")
    made = []
    for number, given in enumerate(looks, start=1):
        if not isinstance(given, Mapping):
            raise UsageError(f"{where}: look {number} is {given!r}; write it as [[look]]")
        made.append(_look(_Reader(given, f"{where}: look {number}", {"at": ("", ""), **_OF_A_LOOK}), keys))
    if not made:
        raise UsageError(f"{where}: nothing to look at; name at least one thing, since features are made of those")
    return Interview(
        name=of.word("name"),
        predict=of.name("predict"),
        kind=kind,
        asked_at=of.name("asked_at"),
        known_after=of.duration("known_after"),
        keys=keys,
        fields=of.types("fields"),
        looks=made,
    )


def _look(of: _Reader, keys: Sequence[str]) -> Look:
    key = of.word("key")
    if key and key not in keys:
        raise UsageError(
            f"{of.where}: key is {key!r}, which a request does not name, so it cannot be looked up then; {nearest(key, keys)}, or add it to keys"
        )
    over = of.listed("over")
    for window in over:
        of.check(window, "over")
    return Look(
        at=of.word("at"),
        events=of.name("events"),
        key=key,
        values=of.names("values"),
        texts=of.names("texts"),
        over=over,
        known=of.duration("known"),
        fresh=of.duration("fresh"),
    )


@dataclass(frozen=True)
class _Reader:
    """Answers by name, read as what each has to be."""

    said: Mapping[str, object]
    where: str
    known: Mapping[str, tuple[str, str]]

    def __post_init__(self) -> None:
        for name in self.said:
            if name not in self.known:
                raise UsageError(f"{self.where}: nothing is asked that is named {name!r}; {nearest(name, self.known)}")

    def word(self, name: str) -> str:
        found = self.said.get(name, "")
        if not isinstance(found, str) or (not found and name not in _EMPTY):
            example = self.known[name][1]
            raise UsageError(f"{self.where}: {name} is {found!r}; give a text{f', such as {example}' if example else ''}")
        return found

    def name(self, name: str) -> str:
        return self._usable(self.word(name), name)

    def listed(self, name: str) -> list[str]:
        found = self.said.get(name, [])
        parts = found.split(",") if isinstance(found, str) else found
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise UsageError(f"{self.where}: {name} is {found!r}; give a list of texts, such as {self.known[name][1]}")
        made = [part.strip() for part in cast("list[str]", parts) if part.strip()]
        if not made and name not in _EMPTY:
            raise UsageError(f"{self.where}: {name} is empty; give at least one, such as {self.known[name][1]}")
        return made

    def names(self, name: str) -> list[str]:
        return [self._usable(one, name) for one in self.listed(name)]

    def types(self, name: str) -> dict[str, str]:
        found = {}
        for one in self.listed(name):
            column, _, kind = (part.strip() for part in one.partition(":"))
            kind = kind or "float"
            if kind not in TYPES:
                raise UsageError(f"{self.where}: {name}: {column} is of type {kind!r}; {nearest(kind, TYPES)}")
            found[self._usable(column, name)] = kind
        return found

    def duration(self, name: str) -> str:
        return self.check(self.word(name), name)

    def check(self, given: str, name: str) -> str:
        try:
            micros(given, f"{self.where}: {name}")
        except DefinitionError as error:
            raise UsageError(str(error)) from error
        return given

    def _usable(self, given: str, name: str) -> str:
        if not usable(given):
            raise UsageError(f"{self.where}: {name}: {given!r} cannot be a column here; use letters, digits and underscores")
        return given
