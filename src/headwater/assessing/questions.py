"""Questions about what cannot be measured, and their answers: in a TOML file, or given in
Python.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from headwater.assessing.checks import TABLE
from headwater.assessing.checks.check import Check
from headwater.assessing.network import KINDS
from headwater.disk import read_toml, write_new
from headwater.errors import UsageError, nearest
from headwater.results.assessment_parts import Effect
from headwater.results.measurement import Missing, Number, Reading

_SECONDS = "seconds"
_HEAD = """\
# What `headwater assess` cannot measure. Write an answer between the quotes, and pass the file as
# --answers. An empty answer stays unknown; it never counts as a good one. A measurement takes
# precedence over an answer.
"""
_YES_NO = ("yes", "no")
_BY_ID: Mapping[str, tuple[str, Sequence[str]]] = {  # id -> the question, and its answers
    **{name: (kind.question, _YES_NO) for name, kind in KINDS.items()},
    **{
        c.id: (
            c.question.text,
            [word for word in (c.question.green, c.question.amber, c.question.red) if word],
        )
        for c in TABLE
        if c.question is not None
    },
}


@dataclass(frozen=True)
class Answers:
    """Answers by the id of their question: one of its words, or seconds."""

    by_id: Mapping[str, str | float]

    def reading(self, check: Check) -> Reading:
        """The answer to a check's question, as 1, 0.5 or 0 (or seconds); Missing without an
        answer.
        """
        question = check.question
        if question is None or self.by_id.get(check.id, "") == "":
            return Missing("not answered")
        answer = self.by_id[check.id]
        if question.green == _SECONDS:
            return Number(float(answer), "s", "given", "the answers file")
        value = question.value(str(answer))
        assert value is not None, "other words are refused where answers are read"
        return Number(value, "", "given", f"answered: {answer}")

    @property
    def effects(self) -> Mapping[Effect, bool]:
        """Whether the task has each network effect; those without an answer are left out."""
        return {name: self.by_id[name] == "yes" for name in KINDS if self.by_id.get(name, "") != ""}


def write_questions(path: Path) -> None:
    """Write the questions into a new file.

    Raises:
        UsageError: the file exists, and may hold answers.
    """
    parts = [_HEAD]
    for name, (text, words) in _BY_ID.items():
        choice = "a number of seconds" if list(words) == [_SECONDS] else " | ".join(words)
        parts.append(f"[{name}]  # {text}\n# {choice}\nanswer = {json.dumps('')}\n")
    write_new(path, "\n".join(parts), "answers")


def read_answers(path: Path) -> Answers:
    """The answers in a file.

    Raises:
        UsageError: the file does not exist or is not TOML, a check has no question, or an answer is
            not allowed.
    """
    table = read_toml(
        path, f"no answers at {path}; write the questions with --write-questions {path}"
    )
    return checked(
        {
            name: entry.get("answer", "") if isinstance(entry, dict) else entry
            for name, entry in table.items()
        },
        f"{path}: ",
    )


def checked(answers: Mapping[str, object], origin: str = "answers: ") -> Answers:
    """Answers by the id of their question, such as `{"supply": "yes", "S2": 0.08}`.

    Raises:
        UsageError: an id has no question, or an answer is not allowed.
    """
    valid: dict[str, str | float] = {}
    for name, answer in answers.items():
        if name not in _BY_ID:
            raise UsageError(f"{origin}no question is named {name!r}; {nearest(name, _BY_ID)}")
        words = list(_BY_ID[name][1])
        if words == [_SECONDS]:
            if answer != "" and (
                isinstance(answer, bool) or not isinstance(answer, int | float) or answer < 0
            ):
                raise UsageError(
                    f"{origin}{name} is answered {answer!r}; give a number of seconds, such as 0.08"
                )
        elif answer != "" and answer not in words:
            raise UsageError(
                f"{origin}{name} is answered {answer!r}; give one of "
                f"{', '.join(map(repr, words))}, or nothing"
            )
        valid[name] = cast("str | float", answer)
    return Answers(valid)


def with_effects(answers: Answers | None, effects: str) -> Answers:
    """Answers in which the three questions on network effects are answered: yes for those named,
    with commas between them, no for others.

    Raises:
        UsageError: an unknown effect, or "none" together with another.

    >>> dict(with_effects(None, "supply").by_id)
    {'supply': 'yes', 'adversaries': 'no', 'feedback': 'no'}
    """
    named = [name.strip() for name in effects.split(",")]
    allowed = [*KINDS, "none"]
    for name in named:
        if name not in allowed:
            raise UsageError(
                f"network effect {name!r}; {nearest(name, allowed)} (of {', '.join(allowed)})"
            )
    if "none" in named and len(named) > 1:
        raise UsageError(f"network effects {effects}: 'none' cannot be combined with others")
    return Answers(
        {
            **(answers.by_id if answers else {}),
            **{name: "yes" if name in named else "no" for name in KINDS},
        }
    )
