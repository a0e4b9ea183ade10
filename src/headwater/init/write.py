"""The text of the project file, from guesses and answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.definitions.checks import text
from headwater.errors import UsageError
from headwater.init.guess import EventGuesses, Guesses, InitAnswers
from headwater.init.key_guess import KeyGuess
from headwater.init.left_out import comments, wrapped
from headwater.init.tables import TableProfile, TimeColumn, quoted, usable

_UNITS = (
    ("days", 86_400_000_000),
    ("hours", 3_600_000_000),
    ("minutes", 60_000_000),
    ("seconds", 1_000_000),
    ("microseconds", 1),
)
ASKED = "asked_at"
PAST = "past_outcome"
OFFERED = 30


@dataclass(frozen=True)
class _SourcesFile:
    """Sources and views, before an outcome exists."""

    events: TableProfile
    answers: InitAnswers
    guesses: EventGuesses
    command: str

    def written(self) -> str:
        return self._joined([self._source(), self._views(), self._end()])

    def _joined(self, parts: Sequence[str]) -> str:
        body = "\n".join(part for part in parts if part)
        imports = ["import polars as pl\n"] if "pl." in body else []
        zone = (
            [f"local = ZoneInfo({quoted(self.answers.timezone)})"]
            if self.answers.timezone and "(local)" in body
            else []
        )
        standard = [
            *(["from datetime import datetime"] if "datetime)" in body else []),
            "from functools import partial",
            *(["from zoneinfo import ZoneInfo"] if zone else []),
        ]
        opening = (
            f'"""Written by `{self.command}`. Check each guess; the comments give its evidence."""'
        )
        return "\n".join(
            [opening, "", *standard, "", *imports, "import headwater as hw", "", *zone, body]
        )

    def _source(self) -> str:
        g = self.guesses
        naive = next((c for c in g.time.columns if c.naive), None)
        zone = (
            [f"    timezone={quoted(self._zone(naive))},"] if naive else []
        )  # as an argument, since `select` does not apply it to a stream's records
        time_code = (
            self._latest() if g.time.computed else [c.code for c in g.time.columns if c.code]
        )
        select = [*map(_key_code, g.keys), *map(quoted, [*g.numbers, *g.texts]), *time_code]
        return "\n".join(
            [
                "events = hw.Source(",
                '    "events",',
                f"    history={self.events.code},  # {self.events.rows:,} rows",
                f"    # {g.time.evidence}",
                f"    timestamp_field={quoted(g.time.name)},",
                "    stream=hw.push(),  # events as they happen, over HTTP; or hw.kafka(topic)",
                *zone,
                *self._rounded(),
                *([f"    id_field={quoted(g.ident[0])},  # {g.ident[1]}"] if g.ident else []),
                *comments(g.left_out, self.events),
                f"    # Columns known at {quoted(g.time.name)}; remove those known only later.",
                f"    select=[{', '.join(select)}],",
                ")",
            ]
        )

    def _latest(self) -> list[str]:
        """The code of the latest time of each row."""
        columns = self.guesses.time.columns
        mixed = len({c.naive for c in columns}) > 1
        codes = []
        for column in columns:
            made = (
                self._made(column)
                if mixed and not column.is_date
                else [column.code]
                if column.code
                else []
            )
            code = (
                re.sub(r"\.alias\([^()]*\)$", "", made[0])
                if made
                else f"pl.col({quoted(column.name)})"
            )
            if column.is_date:
                code = f'({code}.cast(pl.Datetime("us")) + pl.duration(days=1))'
                code += f".dt.replace_time_zone({quoted(self._zone(column))})" if mixed else ""
            codes.append(code)
        return [f"pl.max_horizontal({', '.join(codes)}).alias({quoted(self.guesses.time.name)})"]

    def _rounded(self) -> list[str]:
        """When rounded times are known; a date says so by its type."""
        time = self.guesses.time
        if not time.period:
            return []
        if any(c.is_date for c in time.columns):
            return [f"    # {time.period_evidence}"]
        after = text(time.period)
        return [
            f'    # {time.period_evidence}; "0s" if they are exact, more if rows arrive later',
            f"    known_after={quoted(after)},",
        ]

    def _views(self) -> str:
        g = self.guesses
        values = ["hw.count()"]
        values += [f"hw.mean({', '.join(map(quoted, g.numbers))})"] if g.numbers else []
        values += [f"hw.last({', '.join(map(quoted, g.texts))})"] if g.texts else []
        zone = f", timezone={quoted(self.answers.timezone)}" if self.answers.timezone else ""
        half = (len(g.windows) + 1) // 2
        lines = [
            (
                f'daily = hw.batch("1d"{zone}, delay="4h")  # how it could run today; a backtest '
                "tries fresher ones"
            ),
            (
                'live = hw.streaming("2s")  # what `headwater ingest` keeps up to date; a backtest '
                "tries the same levels for all views"
            ),
            f"short = [{', '.join(map(quoted, g.windows[:half]))}]  # the events span {g.span}",
            *([f"long = [{', '.join(map(quoted, g.windows[half:]))}]"] if g.windows[half:] else []),
            "view = partial(hw.FeatureView, source=events)",
            f"values = [{', '.join(values)}]",
            "views = [",
        ]
        for name, keys, evidence in self._keyed():
            rest = f"keys={keys}, features=values"
            lines += [
                f"    # {evidence}",
                f"    view({quoted(name + '_recent')}, {rest}, windows=short, freshness=live),",
            ]
            lines += (
                [f"    view({quoted(name)}, {rest}, windows=long, freshness=daily),"]
                if g.windows[half:]
                else []
            )
        lines.append("]")
        lines += self._outcome_views()
        return "\n".join(lines)

    def _keyed(self) -> list[tuple[str, str, str]]:
        """By key: the name of its views, the code of their keys, and the evidence; one of all
        events without a key.
        """
        keys = self.guesses.keys
        return [(plain(k.name), f"[{quoted(k.name)}]", k.evidence) for k in keys] or [
            ("all", "[]", "over all events, as answered")
        ]

    def _outcome_views(self) -> list[str]:
        """Views of past outcomes."""
        return []

    def _zone(self, timestamp: TimeColumn) -> str:
        if self.answers.timezone is None:
            raise UsageError(
                f"the times in {timestamp.name!r} have no time zone; give it with --timezone: the "
                "zone of the clock that they were read from"
            )
        return self.answers.timezone

    def _made(self, timestamp: TimeColumn, *, zoned: bool = True) -> list[str]:
        """The code that converts a column to a time, in its zone where `zoned`; empty where it is
        one.
        """
        if not timestamp.naive or not zoned:
            return [] if timestamp.code is None else [timestamp.code]
        alias = f".alias({quoted(timestamp.name)})"
        # a request on a date is at the day's beginning: features are those of the days before
        if timestamp.is_date:
            code = (
                f"pl.col({quoted(timestamp.name)})"
                if timestamp.code is None
                else timestamp.code.removesuffix(alias)
            )
            placed = (
                f'.dt.replace_time_zone({quoted(self._zone(timestamp))}, ambiguous="earliest")'
                if zoned
                else ""
            )
            return [f'{code}.cast(pl.Datetime("us")){placed}{alias}']
        code = (
            f"pl.col({quoted(timestamp.name)})"
            if timestamp.code is None
            else timestamp.code.removesuffix(alias)
        )
        return [
            (
                f"{code}.dt.replace_time_zone({quoted(self._zone(timestamp))}, "
                f'ambiguous="earliest", non_existent="null"){alias}'
            )
        ]

    def _end(self) -> str:
        name = plain(Path(self.events.path).stem)
        return "\n".join(
            [
                f"service = hw.FeatureService({quoted(name + '_v1')}, views)",
                "",
                (
                    "# No model yet: none of the columns is an outcome. Features of rows with keys "
                    "and times:"
                ),
                '#     hw.get_historical_features(service, rows, timestamp_field="asked_at")',
                (
                    "# With a table of past requests, when each was made and its outcome: "
                    "headwater init EVENTS LABELS --force\n"
                ),
            ]
        )


@dataclass(frozen=True)
class _ProjectFile(_SourcesFile):
    """Sources, views, labels and a model."""

    labels: TableProfile
    guesses: Guesses

    def written(self) -> str:
        return self._joined(
            [
                self._source(),
                self._outcomes(),
                self._views(),
                self._request(),
                self._labels(),
                self._model(),
            ]
        )

    def _outcome_views(self) -> list[str]:
        g, lines = self.guesses, list[str]()
        if g.outcome_windows:
            lines += [
                "views += [",
                "    hw.FeatureView(",
                '        f"{name}_outcomes", source=outcomes, keys=keys, freshness=daily,',
                f"        windows=[{', '.join(map(quoted, g.outcome_windows))}],",
                (
                    "        features=[hw.count(), "
                    f"hw.{'mean' if g.label.numeric else 'last'}({quoted(PAST)})],"
                ),
                "    )",
                (
                    "    for name, keys in "
                    f"[{', '.join(f'({quoted(name)}, {keys})' for name, keys, _ in self._keyed())}]"
                ),
                "]",
            ]
        return lines

    def _outcomes(self) -> str:
        """Past outcomes as a source: they are known when the label is."""
        g = self.guesses
        if not g.outcome_windows:
            return ""
        request_time, naive = g.request_time, g.request_time.timestamp.naive
        rule = self._known_rule()
        select = [
            *(quoted(k.name) for k in g.keys),
            *self._asked_code(zoned=False),
            *self._known_code(zoned=False),
        ]
        number = ".cast(pl.Float64)" if g.label.numeric else ""
        select.append(f"{g.label.code()}{number}.alias({quoted(PAST)})")
        needs_zone = naive or (g.known is not None and g.known.naive)
        return "\n".join(
            [
                "",
                (
                    "# Past outcomes of the same keys, known when the label is. Often most of the "
                    "lift is here."
                ),
                "outcomes = hw.Source(",
                '    "outcomes",',
                f"    history={self.labels.code},",
                (
                    f"    timestamp_field={quoted(self._asked_field())},  # as answered: "
                    f"{self.answers.request_time}"
                ),
                f"    {rule}",
                *(
                    [f"    timezone={quoted(self._zone(request_time.timestamp))},"]
                    if needs_zone
                    else []
                ),
                f"    filter=pl.col({quoted(g.label.name)}).is_not_null(),",
                f"    select=[{', '.join(select)}],",
                ")",
            ]
        )

    def _known_rule(self) -> str:
        g = self.guesses
        if g.known:
            return f"known_at_field={quoted(g.known.name)},  # {g.known_evidence}"
        return (
            f"known_after={quoted(str(self.answers.known_after))},  # after the request, as "
            "answered"
        )

    def _known_code(self, *, zoned: bool = True) -> list[str]:
        known_column = self.guesses.known
        if known_column is None or known_column.name == self.guesses.request_time.timestamp.name:
            return []
        if known_column.is_date:
            return [known_column.code] if known_column.code else [quoted(known_column.name)]
        return self._made(known_column, zoned=zoned) or [quoted(known_column.name)]

    def _request(self) -> str:
        field = self._asked_field()
        local = f"{field}.astimezone(local)" if self.answers.timezone else field
        functions = [
            (
                f"\n\n@hw.request_feature\ndef {name}({field}: datetime) -> int:\n    return "
                f"{local}.{code}"
            )
            for name, code in (("hour", "hour"), ("weekday", "weekday()"))
        ]
        if not (self.guesses.request or self.guesses.offered):
            return "\n".join([*functions, "\n", "fields: list[hw.RequestField] = []"])
        lines = ["fields: list[hw.RequestField] = [  # only fields known at request time"]
        lines += [f"    {self._field(name)}," for name in self.guesses.request]
        lines += [
            (
                f"    # {self._field(name)},  # {self.labels.distinct[name]:,} values; if known at "
                "request time"
            )
            for name in self.guesses.offered[:OFFERED]
        ]
        more = self.guesses.offered[OFFERED:]
        lines += (
            wrapped(
                f"    # and {len(more)} more columns of {self.labels.path}: ", "    #     ", more
            )
            if more
            else []
        )
        return "\n".join([*functions, "\n", *lines, "]"])

    def _field(self, name: str) -> str:
        return f"hw.RequestField({quoted(name)}, {'str' if name in self.labels.texts else 'float'})"

    def _labels(self) -> str:
        g = self.guesses
        names = list(dict.fromkeys([*(k.name for k in g.keys), *g.request]))
        label = quoted(g.label.name)
        if g.label.positive is not None or not usable(g.label.name):
            label = f"{g.label.code()}.alias({quoted(self._label_name())})"
        select = [*map(quoted, names), *self._asked_code(), label]
        select += self._known_code()
        rule = self._known_rule()
        zone = g.request_time.timestamp.naive or (g.known is not None and g.known.naive)
        return "\n".join(
            [
                "labels = hw.Labels(",
                f"    {quoted(plain(g.label.name) + '_labels')},",
                f"    table={self.labels.code},  # {self.labels.rows:,} rows",
                f"    select=[{', '.join(select)}],",
                (
                    f"    timestamp_field={quoted(self._asked_field())},  # as answered: "
                    f"{self.answers.request_time}"
                ),
                f"    # {g.label.evidence}",
                f"    label={quoted(self._label_name())},",
                *comments(g.labels_left_out, self.labels),
                f"    {rule}",
                *(
                    [f"    timezone={quoted(self._zone(g.request_time.timestamp))},"]
                    if zone
                    else []
                ),
                ")",
            ]
        )

    def _model(self) -> str:
        name = plain(self.guesses.label.name)
        service = quoted(name + "_v1")
        return "\n".join(
            [
                f"service = hw.FeatureService({service}, [*views, hour, weekday, *fields])",
                (
                    f"model = hw.Model({quoted(name + '_model')}, "
                    f'task="{self.guesses.label.task}", '
                    "features=service, labels=labels)"
                ),
                f"project = hw.Project({quoted(name)}, [model])\n",
            ]
        )

    def _label_name(self) -> str:
        return self.guesses.label.name if usable(self.guesses.label.name) else "label"

    def _asked_field(self) -> str:
        """The column of the request time: the table's own, if its name can be a parameter."""
        request_time = self.guesses.request_time
        return (
            request_time.timestamp.name
            if not request_time.offset and usable(request_time.timestamp.name)
            else ASKED
        )

    def _asked_code(self, *, zoned: bool = True) -> list[str]:
        request_time, field = self.guesses.request_time, self._asked_field()
        time_code = self._made(request_time.timestamp, zoned=zoned)
        if field == request_time.timestamp.name:
            return time_code or [quoted(field)]
        code = (
            re.sub(r"\.alias\([^()]*\)$", "", time_code[0])
            if time_code
            else f"pl.col({quoted(request_time.timestamp.name)})"
        )
        if request_time.offset:
            unit, size = next((u, n) for u, n in _UNITS if request_time.offset % n == 0)
            code = (
                f"({code} {'-' if request_time.offset < 0 else '+'} "
                f"pl.duration({unit}={abs(request_time.offset) // size}))"
            )
        return [f"{code}.alias({quoted(field)})"]


def project_file(
    events: TableProfile, labels: TableProfile, answers: InitAnswers, guesses: Guesses, command: str
) -> str:
    """The text of features.py. command: the command line that wrote it."""
    return _ProjectFile(events, answers, guesses, command, labels).written()


def sources_file(
    events: TableProfile, answers: InitAnswers, guesses: EventGuesses, command: str
) -> str:
    """The text of features.py without an outcome: sources and views, without a project."""
    return _SourcesFile(events, answers, guesses, command).written()


def naive_columns(guesses: EventGuesses) -> Sequence[str]:
    """The time columns in use that have no time zone."""
    used = list(guesses.time.columns)
    if isinstance(guesses, Guesses):
        used += [guesses.request_time.timestamp, *([guesses.known] if guesses.known else [])]
    return list(dict.fromkeys(m.name for m in used if m.naive))


def _key_code(key: KeyGuess) -> str:
    """The code of a key's column of the events, under the name that requests have."""
    return (
        quoted(key.name)
        if key.column == key.name
        else f"pl.col({quoted(key.column)}).alias({quoted(key.name)})"
    )


def plain(name: str) -> str:
    """`name` converted for definitions: letters, digits, single underscores.

    >>> plain("2nd  user-id_")
    'x2nd_user_id'
    """
    identifier = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).strip("_") or "x"
    return identifier if identifier[0].isalpha() else f"x{identifier}"
