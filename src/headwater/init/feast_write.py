"""The text of a project file from a Feast repository, and what could not be carried over."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater.definitions.checks import text
from headwater.definitions.connectors import is_url
from headwater.init.feast_on_demand import python_type, request_features
from headwater.init.feast_repo import (
    FeastOnDemandView,
    FeastProjection,
    FeastRepo,
    FeastService,
    FeastSource,
    FeastView,
)
from headwater.init.tables import quoted
from headwater.init.write import plain

_CALLS: Mapping[str, str] = {
    "sum": "hw.sum({column})",
    "mean": "hw.mean({column})",
    "avg": "hw.mean({column})",
    "min": "hw.min({column})",
    "max": "hw.max({column})",
    "count": "hw.count()",
    "first": "hw.first({column})",
    "last": "hw.last({column})",
    "std": "hw.std({column})",
    "stddev": "hw.std({column})",
    "var": "hw.var({column})",
    "variance": "hw.var({column})",
    "count_distinct": "hw.count_distinct({column})",
    "nunique": "hw.count_distinct({column})",
}
"""Feast's names of aggregations."""
_KNOWN_STREAMS = {"PushSource", "KafkaSource"}
OPENING = (
    '''"""Written by `{command}` from Feast {version}. Check each comment that says TODO."""'''
)


@dataclass
class FeastProject:
    """The project file of a repository. notes: what differs or was not carried over, a sentence
    each.
    """

    repo: FeastRepo
    folder: Path  # of the repository
    target: Path  # the folder of the file that is written
    notes: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def written(self, command: str) -> str:
        """The file."""
        views = [view for view in self.repo.views if self._carried(view)]
        sources = self._sources(views)
        parts = [*sources, *(self._view(view) for view in views)]
        by_name = {view.name: view for view in views}
        on_demand = {
            view.name: request_features(
                view, by_name, self._request_names(view), self._name, self.notes
            )
            for view in self.repo.on_demand
        }
        parts += [made.code for made in on_demand.values()]
        parts += [
            code
            for service in self.repo.services
            if (code := self._service(service, by_name, {n: m.names for n, m in on_demand.items()}))
        ]
        self.notes += [f"{definition} has no counterpart" for definition in self.repo.others]
        body = _spaced([part for part in parts if part])
        opening = OPENING.format(command=command, version=self.repo.version)
        imports = sorted({line for made in on_demand.values() for line in made.imports})
        standard = (
            ["from datetime import datetime"]
            if re.search(r"\bdatetime\b", body) and "from datetime import datetime" not in imports
            else []
        )
        polars = ["import polars as pl"] if "pl." in body else []
        heads = [opening, "\n".join([*standard, *imports, *polars, "import headwater as hw"])]
        constants = [
            (
                'daily = hw.batch("1d")  # TODO how often Feast was materialized is not in its '
                'repository: such as hw.batch("1h", delay="10m")'
            )
            if "freshness=daily" in body
            else "",
            'live = hw.streaming("2s")' if "freshness=live" in body else "",
        ]
        return (
            "\n\n".join(filter(None, [*heads, "\n".join(filter(None, constants)), body])).rstrip()
            + "\n"
        )

    def _carried(self, view: FeastView) -> bool:
        reason = None
        if view.of_views:
            reason = f"it is made of the views {', '.join(view.of_views)}; see hw.enrich"
        elif view.source is None or view.batch is None:
            reason = "it has no batch source, and headwater computes features from a history"
        elif view.transformed and not view.aggregations:
            reason = (
                "a function makes its columns; do that in select= of a source, with expressions "
                "of polars"
            )
        elif not any(_supported(f.dtype) for f in view.features) and not view.aggregations:
            reason = (
                "it has no feature of a type that headwater reads; name them in schema= and run "
                "this again"
            )
        if reason:
            self.notes.append(f"feature view {view.name!r} is not carried over: {reason}")
        return reason is None

    def _name(self, name: str) -> str:
        """The name in Python and in headwater: letters, digits and single underscores."""
        if name not in self._names:
            made = plain(name)
            while made in self._names.values():
                made += "_2"
            self._names[name] = made
            if made != name:
                self.notes.append(
                    f"{name!r} is named {made!r}: names have letters, digits and single underscores"
                )
        return self._names[name]

    def _request_names(self, view: FeastOnDemandView) -> Mapping[str, str]:
        """The names of request features by those of Feast; with the name of the view where another
        view has the same.
        """
        others = {
            f.name
            for on_demand_view in self.repo.on_demand
            if on_demand_view.name != view.name
            for f in on_demand_view.features
        }
        return {
            f.name: self._name(f"{view.name}_{f.name}" if f.name in others else f.name)
            for f in view.features
        }

    def _sources(self, views: Sequence[FeastView]) -> Iterator[str]:
        """A source for each data source, with the columns that any view reads."""
        used: dict[str, list[FeastView]] = {}
        for view in views:
            assert view.source is not None
            used.setdefault(view.source.name, []).append(view)
        for name, readers in used.items():
            source = readers[0].source
            assert source is not None
            yield self._source(self._name(name), source, readers)

    def _source(self, name: str, source: FeastSource, readers: Sequence[FeastView]) -> str:
        batch = source.batch or source
        time = source.timestamp_field or batch.timestamp_field or ""
        columns = list(
            dict.fromkeys(
                column for view in readers for column in (*view.keys, *self._columns(view))
            )
        )
        from_name = {new: old for old, new in batch.field_mapping.items()}
        select = [
            f"pl.col({quoted(from_name[c])}).alias({quoted(c)})" if c in from_name else quoted(c)
            for c in columns
        ]
        time = from_name.get(time, time)
        lines = [
            f"{_variable(name)} = hw.Source(",
            f"    {quoted(name)},",
            f"    history={self._history(name, batch)},",
        ]
        if source.kind in _KNOWN_STREAMS:
            lines.append(f"    stream={self._stream(name, source)},")
        elif source is not batch:
            self.notes.append(
                f"source {name!r}: {source.kind} is not read; its features are computed from its "
                "batch source"
            )
        lines.append(f"    timestamp_field={quoted(time)},")
        if batch.created:
            lines.append(
                f"    # TODO known_at_field={quoted(batch.created)}, if that is when a row could "
                "first be read"
            )
            self.notes.append(
                f"source {name!r}: Feast takes {batch.created!r} only to choose between rows of "
                "equal time. If it is when a row could first be read, write known_at_field=: "
                "without it, a backtest takes each row for known at its own time"
            )
        return "\n".join([*lines, f"    select=[{', '.join(select)}],", ")"])

    def _columns(self, view: FeastView) -> list[str]:
        if view.aggregations:
            return [a.column for a in view.aggregations if a.column]
        return [f.name for f in view.features if _supported(f.dtype)]

    def _history(self, name: str, batch: FeastSource) -> str:
        if batch.kind == "FileSource" and batch.path and "Delta" not in batch.format:
            path = (
                batch.path
                if is_url(batch.path)
                else os.path.relpath(self.folder / batch.path, self.target)
            )
            return f"hw.parquet({quoted(path)})"
        location = batch.table or batch.path or "its table"
        self.notes.append(
            f"source {name!r}: {batch.kind} ({location}) is not read from here; export it to "
            f"{name}.parquet, or give another table"
        )
        return f'hw.parquet("{name}.parquet")'

    def _stream(self, name: str, source: FeastSource) -> str:
        if source.kind == "PushSource":
            return "hw.push()"
        if source.message != "JsonFormat":
            self.notes.append(
                f"source {name!r}: its messages are {source.message}; give hw.kafka its schema="
            )
        servers = f", servers={quoted(source.servers)}" if source.servers else ""
        return f"hw.kafka({quoted(source.topic or name)}{servers})"

    def _view(self, view: FeastView) -> str:
        assert view.source is not None
        name = self._name(view.name)
        features = (
            [self._aggregation(view, n) for n in range(len(view.aggregations))]
            if view.aggregations
            else self._latest(view)
        )
        unsupported = [f"{f.name} ({f.dtype})" for f in view.features if not _supported(f.dtype)]
        if unsupported and not view.aggregations:
            self.notes.append(
                f"feature view {view.name!r}: {', '.join(unsupported)} left out; these types are "
                "not read"
            )
        if view.transformed:
            self.notes.append(
                f"feature view {view.name!r}: its function is not carried over; do that in "
                "select= of its source"
            )
        notes_of_view = ", ".join(
            [
                *([f"owner {view.owner}"] if view.owner else []),
                *(f"{k} {v}" for k, v in view.tags.items()),
            ]
        )
        comment = " ".join(
            " ".join(
                filter(None, (view.description, f"({notes_of_view})" if notes_of_view else ""))
            ).split()
        )
        return "\n".join(
            [
                *([f"# {comment}"] if comment else []),
                f"{name} = hw.FeatureView(",
                f"    {quoted(name)},",
                f"    source={_variable(self._name(view.source.name))},",
                f"    keys=[{', '.join(map(quoted, view.keys))}],",
                *(["    features=[", *(f"        {line}," for line in features), "    ],"]),
                f"    freshness={'live' if view.source.kind in _KNOWN_STREAMS else 'daily'},",
                *(
                    [f"    ttl={quoted(text(round(view.ttl * 1e6)))},"]
                    if view.ttl and not view.aggregations
                    else []
                ),
                ")",
            ]
        )

    def _latest(self, view: FeastView) -> Iterator[str]:
        for f in view.features:
            if _supported(f.dtype):
                yield f"hw.latest({quoted(f.name)}, name={quoted(self._name(f.name))})"

    def _aggregation(self, view: FeastView, n: int) -> str:
        aggregation = view.aggregations[n]
        call = _CALLS.get(aggregation.function.lower())
        if call is None:
            self.notes.append(
                f"feature view {view.name!r}: {aggregation.function}({aggregation.column}) has no "
                "counterpart of that name; it became a mean"
            )
            call = "hw.mean({column})"
        column = quoted(aggregation.column) if aggregation.column and "{column}" in call else ""
        window = (
            f"windows=[{quoted(text(round(aggregation.window * 1e6)))}]"
            if aggregation.window
            else ""
        )
        name = f"name={quoted(self._name(aggregation.name))}" if aggregation.name else ""
        return f"{call.partition('(')[0]}({', '.join(filter(None, (column, window, name)))})"

    def _service(
        self,
        service: FeastService,
        views: Mapping[str, FeastView],
        on_demand: Mapping[str, Mapping[str, str]],
    ) -> str:
        members: list[str] = []
        for member in service.members:
            if member.view in on_demand:
                names = on_demand[member.view]
                members += [names[f] for f in member.features if f in names]
            elif member.view in views:
                members += self._member(member, views[member.view])
            else:
                self.notes.append(
                    f"feature service {service.name!r}: {member.view!r} is left out, since it is "
                    "not carried over"
                )
        if not members:
            return ""
        return (
            f"{self._name(service.name)} = hw.FeatureService({quoted(self._name(service.name))}, "
            f"[{', '.join(members)}])"
        )

    def _member(self, member: FeastProjection, view: FeastView) -> list[str]:
        name = self._name(member.view)
        if member.keys or member.alias:
            keys = ", ".join(
                f"{quoted(k)}: {quoted(v)}"
                for k, v in (member.keys or {k: k for k in view.keys}).items()
            )
            name = (
                f"{name}.alias({quoted(self._name(member.alias or member.view))}, keys={{{keys}}})"
            )
        if view.aggregations or set(member.features) >= set(self._columns(view)):
            return [name]
        return [
            f"{name}[{quoted(self._name(f))}]" for f in member.features if f in self._columns(view)
        ]


def _supported(dtype: str) -> bool:
    return python_type(dtype) is not None


def _variable(source: str) -> str:
    """The variable of a source; views have variables too, and may share its name."""
    return source if source.endswith("_source") else f"{source}_source"


def _spaced(parts: Sequence[str]) -> str:
    """The parts with a blank line between them, two around functions."""
    lines = ""
    for part in parts:
        lines += part + ("\n\n\n" if "def " in part else "\n\n")
    return lines
