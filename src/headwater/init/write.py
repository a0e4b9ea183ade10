"""The text of the project file, from guesses and answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.errors import UsageError
from headwater.init.guess import Guesses, InitAnswers, same_table
from headwater.init.tables import TableProfile, TimeColumn, quoted, usable

_UNITS = (("days", 86_400_000_000), ("hours", 3_600_000_000), ("minutes", 60_000_000), ("seconds", 1_000_000), ("microseconds", 1))
ASKED = "asked_at"


@dataclass(frozen=True)
class _File:
    events: TableProfile
    labels: TableProfile
    answers: InitAnswers
    guesses: Guesses
    command: str

    def text(self) -> str:
        parts = [self._source(), self._views(), self._request(), self._labels(), self._model()]
        body = "\n".join(parts)
        imports = ["import polars as pl\n"] if "pl." in body else []
        zone = [f"local = ZoneInfo({quoted(self.answers.timezone)})"] if self.answers.timezone else []
        standard = ["from datetime import datetime", "from functools import partial", *(["from zoneinfo import ZoneInfo"] if zone else [])]
        opening = f'"""Written by `{self.command}`. Check each guess; the comments give its evidence."""'
        return "\n".join([opening, "", *standard, "", *imports, "import headwater as hw", "", *zone, body])

    def _source(self) -> str:
        g = self.guesses
        moment = self.events.time_columns[g.time.name]
        zone = (
            [f"    timezone={quoted(self._zone(moment))},"] if moment.naive else []
        )  # as an argument, since `select` does not apply it to a stream's records
        time_code = [moment.code] if moment.code else []
        select = [*map(quoted, [*(k.name for k in g.keys), *g.numbers, *g.texts]), *time_code]
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
                f"    # Columns known at {quoted(g.time.name)}; remove those known only later.",
                *([f"    # Left out, since it determines the label: {', '.join([g.label.name, *g.leaking])}"] if same else []),
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
        lines = ["fields: list[hw.RequestField] = [  # only fields known at request time"]
        lines += [f"    {self._field(name)}," for name in self.guesses.request]
        lines += [
            f"    # {self._field(name)},  # {self.labels.distinct[name]:,} values; if known at request time"
            for name in self.guesses.offered
        ]
        return "\n".join([*functions, "\n", *lines, "]"])

    def _field(self, name: str) -> str:
        return f"hw.RequestField({quoted(name)}, {'str' if name in self.labels.texts() else 'float'})"

    def _labels(self) -> str:
        g = self.guesses
        names = list(dict.fromkeys([*(k.name for k in g.keys), *g.request]))
        label = quoted(g.label.name) if usable(g.label.name) else f'pl.col({quoted(g.label.name)}).alias("label")'
        select = [*map(quoted, names), *self._asked_code(), label]
        if g.known is not None and g.known.name != g.request_time.moment.name:
            select += self._made(g.known) or [quoted(g.known.name)]
        known = (
            f"known_at_field={quoted(g.known.name)},  # {g.known_evidence}"
            if g.known
            else f"known_after={quoted(str(self.answers.known_after))},  # after the request, as answered"
        )
        return "\n".join(
            [
                "labels = hw.Labels(",
                f"    {quoted(plain(g.label.name) + '_labels')},",
                f"    table={self.labels.code},  # {self.labels.rows:,} rows",
                f"    select=[{', '.join(select)}],",
                f"    timestamp_field={quoted(self._asked_field())},  # as answered: {self.answers.asked_at}",
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
        """The column of the request time: the table's own, if its name can be a parameter."""
        request_time = self.guesses.request_time
        return request_time.moment.name if not request_time.offset and usable(request_time.moment.name) else ASKED

    def _asked_code(self) -> list[str]:
        request_time, field = self.guesses.request_time, self._asked_field()
        time_code = self._made(request_time.moment)
        if field == request_time.moment.name:
            return time_code or [quoted(field)]
        code = re.sub(r"\.alias\([^()]*\)$", "", time_code[0]) if time_code else f"pl.col({quoted(request_time.moment.name)})"
        if request_time.offset:
            unit, size = next((u, n) for u, n in _UNITS if request_time.offset % n == 0)
            code = f"({code} {'-' if request_time.offset < 0 else '+'} pl.duration({unit}={abs(request_time.offset) // size}))"
        return [f"{code}.alias({quoted(field)})"]

    def _made(self, moment: TimeColumn) -> list[str]:
        """The code that converts a column to a tz-aware time; empty where it is one."""
        if not moment.naive:
            return [] if moment.code is None else [moment.code]
        alias = f".alias({quoted(moment.name)})"
        code = f"pl.col({quoted(moment.name)})" if moment.code is None else moment.code.removesuffix(alias)
        return [f'{code}.dt.replace_time_zone({quoted(self._zone(moment))}, ambiguous="earliest", non_existent="null"){alias}']

    def _zone(self, moment: TimeColumn) -> str:
        if self.answers.timezone is None:
            raise UsageError(f"the times in {moment.name!r} have no time zone; give it with --timezone, such as --timezone UTC")
        return self.answers.timezone


def project_file(events: TableProfile, labels: TableProfile, answers: InitAnswers, guesses: Guesses, command: str) -> str:
    """The text of features.py. command: the command line that wrote it."""
    return _File(events, labels, answers, guesses, command).text()


def naive_columns(events: TableProfile, guesses: Guesses) -> Sequence[str]:
    """The time columns in use that have no time zone."""
    used = [events.time_columns[guesses.time.name], guesses.request_time.moment, *([guesses.known] if guesses.known else [])]
    return list(dict.fromkeys(m.name for m in used if m.naive))


def plain(name: str) -> str:
    """`name` converted for definitions: letters, digits, single underscores.

    >>> plain("2nd  user-id_")
    'x2nd_user_id'
    """
    identifier = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).strip("_") or "x"
    return identifier if identifier[0].isalpha() else f"x{identifier}"
