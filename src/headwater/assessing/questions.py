"""Questions that cannot be measured, in a TOML file, and the answers that a user wrote into it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headwater.assessing.checks import TABLE
from headwater.assessing.checks.check import Check
from headwater.errors import UsageError, nearest
from headwater.results.measurement import Missing, Number, Reading

_SECONDS = "seconds"
_HEAD = """\
# What `headwater assess readiness` cannot measure. Write an answer between the quotes, and pass the file as --answers.
# An empty answer stays unknown; it never counts as a good one. A measurement takes precedence over an answer.
"""


@dataclass(frozen=True)
class Answers:
    """Answers by the id of their check: one of its words, or seconds."""

    by_check: Mapping[str, str | float]

    def reading(self, check: Check) -> Reading:
        """The answer to a check's question, as 1, 0.5 or 0 (or seconds); Missing without an answer."""
        asks = check.asks
        if asks is None or self.by_check.get(check.id, "") == "":
            return Missing("not answered")
        answer = self.by_check[check.id]
        if asks.green == _SECONDS:
            return Number(float(answer), "s", "given", "the answers file")
        value = asks.value(str(answer))
        assert value is not None, "read_answers has refused other words"
        return Number(value, "", "given", f"answered: {answer}")


def write_questions(path: Path) -> None:
    """Write the questions into a new file.

    Raises:
        UsageError: the file exists, and may hold answers.
    """
    parts = [_HEAD]
    for check in TABLE:
        if check.asks is not None:
            words = [word for word in (check.asks.green, check.asks.amber, check.asks.red) if word]
            choice = "a number of seconds" if words == [_SECONDS] else " | ".join(words)
            parts.append(f"[{check.id}]  # {check.asks.text}\n# {choice}\nanswer = {json.dumps('')}\n")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(parts))
    except FileExistsError:
        raise UsageError(f"{path} already exists, and may hold answers; name a new file") from None


def read_answers(path: Path) -> Answers:
    """The answers in a file.

    Raises:
        UsageError: the file does not exist or is not TOML, a check has no question, or an answer is not allowed.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no answers at {path}; write the questions with --write-questions {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    asking = {check.id: check.asks for check in TABLE if check.asks is not None}
    valid: dict[str, str | float] = {}
    for name, entry in table.items():
        if name not in asking:
            raise UsageError(f"{path}: no question is named {name!r}; {nearest(name, asking)}")
        answer = entry.get("answer", "") if isinstance(entry, dict) else entry
        asks = asking[name]
        if asks.green == _SECONDS:
            if answer != "" and (isinstance(answer, bool) or not isinstance(answer, int | float) or answer < 0):
                raise UsageError(f"{path}: {name} is answered {answer!r}; give a number of seconds, such as answer = 0.08")
        elif answer != "" and asks.value(str(answer)) is None:
            words = [asks.green, asks.amber, asks.red]
            raise UsageError(f"{path}: {name} is answered {answer!r}; give one of {', '.join(map(repr, words))}, or nothing")
        valid[name] = answer
    return Answers(valid)
