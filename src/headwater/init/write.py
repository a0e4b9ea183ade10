"""The project file, from what was guessed and answered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.errors import UsageError
from headwater.init.guess import Answers, Guesses, same_table
from headwater.init.tables import Moment, TableProfile, quoted, usable

_UNITS = (("days", 86_400_000_000), ("hours", 3_600_000_000), ("minutes", 60_000_000), ("seconds", 1_000_000), ("microseconds", 1))
ASKED = "asked_at"


@dataclass(frozen=True)
class _File:
    events: TableProfile
    labels: TableProfile
    answers: Answers
    guesses: Guesses
    command: str

    def text(self) -> str:
        parts = [self._source(), self._views(), self._request(), self._labels(), self._model()]
        body = "\n".join(parts)
        imports = ["import polars as pl\n"] if "pl." in body else []
        zone = [f"local = ZoneInfo({quoted(self.answers.timezone)})"] if self.answers.timezone else []
        standard = ["from datetime import datetime", "from functools import partial", *(["from zoneinfo import ZoneInfo"] if zone else [])]
        opening = f'"""Written by `{self.command}`. Check each guess; the comments say what it rests on."""'
        return "\n".join([opening, "", *standard, "", *imports, "import headwater as hw", "", *zone, body])

    def _source(self) -> str:
        g = self.guesses
        moment = self.events.moments[g.time.name]
        zone = [f"    timezone={quoted(self._zone(moment))},"] if moment.naive else []  # in select, no record of a stream would have it
        made = [moment.code] if moment.code else []
        select = [*map(quoted, [*(k.name for k in g.keys), *g.numbers, *g.texts]), *made]
        same = same_table(self.events, self.labels)
        return "\n".join(
            [
                "events = hw.Source(",
                '    "events",',
                f"    history={self.events.code},  # {self.events.rows:,} rows",
                f"    # {g.time.evidence}",
                f"    timestamp_field={quoted(g.time.name)},",
                *zone,
                *([f"    id_field={quoted(g.ident.name)},  # {g.ident.evidence}"] if g.ident else []),
                f"    # What is known at {quoted(g.time.name)}; take out what becomes known only later.",
                *([f"    # Left out, since it tells the label: {', '.join([g.label.name, *g.made])}"] if same else []),
                f"    select=[{', '.join(select)}],",
                ")",
            ]
        )

    def _views(self) -> str:
        g = self.guesses
        values = ["hw.count()"]
        values += [f"hw.mean({', '.join(map(quoted, g.numbers))})"] if g.numbers else []
        values += [f"hw.last({', '.join(map(quoted, g.texts))})"] if g.texts else []
        zone = f", timezone={quoted(self.answers.timezone)}" if self.answers.timezone else ""
        lines = [
            f'daily = hw.batch("1d"{zone}, delay="4h")  # how it could run today; a backtest tries fresher ones',
            f"windows = [{', '.join(map(quoted, g.windows))}]  # the events span {g.span}",
            "view = partial(hw.FeatureView, source=events, windows=windows, freshness=daily)",
            f"values = [{', '.join(values)}]",
            "views = [",
        ]
        for key in g.keys:
            lines += [f"    # {key.evidence}", f"    view({quoted(plain(key.name))}, keys=[{quoted(key.name)}], features=values),"]
        return "\n".join([*lines, "]"])

    def _request(self) -> str:
        field = self._asked_field()
        local = f"{field}.astimezone(local)" if self.answers.timezone else field
        functions = [
            f"\n\n@hw.request_feature\ndef {name}({field}: datetime) -> int:\n    return {local}.{code}"
            for name, code in (("hour", "hour"), ("weekday", "weekday()"))
        ]
        if not (self.guesses.request or self.guesses.offered):
            return "\n".join([*functions, "\n", "fields: list[hw.RequestField] = []"])
        lines = ["fields: list[hw.RequestField] = [  # only what is known when the prediction is asked for"]
        lines += [f"    {self._field(name)}," for name in self.guesses.request]
        lines += [
            f"    # {self._field(name)},  # {self.labels.distinct[name]:,} values; if it is known then" for name in self.guesses.offered
        ]
        return "\n".join([*functions, "\n", *lines, "]"])

    def _field(self, name: str) -> str:
        return f"hw.RequestField({quoted(name)}, {'str' if name in self.labels.texts() else 'float'})"

    def _labels(self) -> str:
        g = self.guesses
        names = list(dict.fromkeys([*(k.name for k in g.keys), *g.request]))
        label = quoted(g.label.name) if usable(g.label.name) else f'pl.col({quoted(g.label.name)}).alias("label")'
        select = [*map(quoted, names), *self._asked_code(), label]
        if g.known is not None and g.known.name != g.asked.moment.name:
            select += self._made(g.known) or [quoted(g.known.name)]
        known = (
            f"known_at_field={quoted(g.known.name)},  # {g.known_evidence}"
            if g.known
            else f"known_after={quoted(str(self.answers.known_after))},  # after the request, as you said"
        )
        return "\n".join(
            [
                "labels = hw.Labels(",
                f"    {quoted(plain(g.label.name) + '_labels')},",
                f"    table={self.labels.code},  # {self.labels.rows:,} rows",
                f"    select=[{', '.join(select)}],",
                f"    timestamp_field={quoted(self._asked_field())},  # as you said: {self.answers.asked_at}",
                f"    # {g.label.evidence}",
                f"    label={quoted(self._label_name())},",
                f"    {known}",
                ")",
            ]
        )

    def _model(self) -> str:
        name = plain(self.guesses.label.name)
        service = quoted(name + "_v1")
        return "\n".join(
            [
                f"service = hw.FeatureService({service}, [*views, hour, weekday, *fields])",
                f'model = hw.Model({quoted(name + "_model")}, task="{self.guesses.task}", features=service, labels=labels)',
                f"project = hw.Project({quoted(name)}, [model])\n",
            ]
        )

    def _label_name(self) -> str:
        return self.guesses.label.name if usable(self.guesses.label.name) else "label"

    def _asked_field(self) -> str:
        """The column with the time of asking: the table's own where that serves as a parameter."""
        asked = self.guesses.asked
        return asked.moment.name if not asked.offset and usable(asked.moment.name) else ASKED

    def _asked_code(self) -> list[str]:
        asked, field = self.guesses.asked, self._asked_field()
        made = self._made(asked.moment)
        if field == asked.moment.name:
            return made or [quoted(field)]
        code = re.sub(r"\.alias\([^()]*\)$", "", made[0]) if made else f"pl.col({quoted(asked.moment.name)})"
        if asked.offset:
            unit, size = next((u, n) for u, n in _UNITS if asked.offset % n == 0)
            code = f"({code} {'-' if asked.offset < 0 else '+'} pl.duration({unit}={abs(asked.offset) // size}))"
        return [f"{code}.alias({quoted(field)})"]

    def _made(self, moment: Moment) -> list[str]:
        """The expression that makes a tz-aware time of a column; nothing where it is one."""
        if not moment.naive:
            return [] if moment.code is None else [moment.code]
        alias = f".alias({quoted(moment.name)})"
        code = f"pl.col({quoted(moment.name)})" if moment.code is None else moment.code.removesuffix(alias)
        return [f'{code}.dt.replace_time_zone({quoted(self._zone(moment))}, ambiguous="earliest", non_existent="null"){alias}']

    def _zone(self, moment: Moment) -> str:
        if self.answers.timezone is None:
            raise UsageError(
                f"the times in {moment.name!r} have no time zone; say which they are in with --timezone, such as --timezone UTC"
            )
        return self.answers.timezone


def project_file(events: TableProfile, labels: TableProfile, answers: Answers, guesses: Guesses, command: str) -> str:
    """The text of features.py; `command` is what wrote it."""
    return _File(events, labels, answers, guesses, command).text()


def naive_columns(events: TableProfile, guesses: Guesses) -> Sequence[str]:
    """The time columns in use that have no time zone."""
    used = [events.moments[guesses.time.name], guesses.asked.moment, *([guesses.known] if guesses.known else [])]
    return list(dict.fromkeys(m.name for m in used if m.naive))


def plain(name: str) -> str:
    """`name` as definitions take it: letters, digits, single underscores.

    >>> plain("2nd  user-id_")
    'x2nd_user_id'
    """
    made = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).strip("_") or "x"
    return made if made[0].isalpha() else f"x{made}"
