"""What the served log keeps of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headwater.logs.serving_log import ServedLog
from headwater.logs.serving_log_rows import About, Entry, Kind, Many, One
from headwater.online.compiled_reader import Answer, Answers
from headwater.online.predictor import Predicted
from headwater.serving.http.handlers import Ready, Said
from headwater.serving.service import Service

_STAGES: Mapping[Kind, tuple[str, ...]] = {
    "features": ("third party", "read", "write"),
    "predict": ("third party", "look up", "read", "score"),
    "rank": ("third party", "retrieve", "look up", "read", "score"),
}


class Recorder:
    """Leaves what was answered in a served log; one in each process.

    Of a request whose predictions were partly made ahead there are two entries, since those have no features.
    """

    def __init__(self, log: ServedLog, service: Service) -> None:
        self.log, self._service = log, service
        self._about: dict[tuple[Kind, str, str | None, str | None], About] = {}

    def collect(self) -> Iterator[Metric]:
        """What became of entries, as prometheus_client asks for it."""
        counts = self.log.counts()
        entries = CounterMetricFamily("headwater_served_log_entries", "entries of the served log", labels=["outcome"])
        entries.add_metric(["taken"], counts.taken)
        entries.add_metric(["written"], counts.written)
        for reason, count in counts.dropped.items():
            entries.add_metric([f"dropped: {reason}"], count)
        yield entries
        yield GaugeMetricFamily("headwater_served_log_bytes", "bytes that wait to be written", counts.memory)

    def put(self, kind: Kind, name: str, level: str | None, id: str, t: int, ready: Ready, said: Said, seconds: float) -> None:  # noqa: A002 (as `One`)
        """Leave one answer."""
        about = self._of(kind, name, level, said.version)
        for entry in _entries(about, id, t, ready, said, seconds):
            self.log.put(entry, len(said.body))

    def _of(self, kind: Kind, name: str, level: str | None, version: str | None) -> About:
        known = self._about.get((kind, name, level, version))
        if known is None:
            model = next(one for one in self._service.project.models if name == (one.features.name if kind == "features" else one.name))
            service = self._service.project.arm(model.name, level).service
            known = About.of(
                kind,
                self._service.project.name,
                service,
                model=None if kind == "features" else name,
                version=version,
                level=level,
                stages=_STAGES[kind],
            )
            self._about[kind, name, level, version] = known
        return known


def _entries(about: About, id: str, t: int, ready: Ready, said: Said, seconds: float) -> list[Entry]:  # noqa: A002 (as `One`)
    if said.order is not None:
        return _ranked(about, id, t, ready, said, seconds)
    found = said.found
    if ready.row is not None:
        value, how, age = said.predicted[0] if said.predicted else (None, None, None)
        if isinstance(found, Answer):
            return [One(about, id, t, ready.row, found.values, found.statuses, found.moments, value, how, age, seconds, said.stages)]
        return [One(about.bare, id, t, ready.row, (), b"", (), value, how, age, seconds, said.stages)]
    every = range(ready.height)
    if not isinstance(found, Answers):
        return [_many(about.bare, id, t, ready.columns, None, said.predicted, every, seconds, said.stages)]
    if said.of is None:
        return [_many(about, id, t, ready.columns, found, said.predicted, every, seconds, said.stages)]
    ahead = [n for n in every if n not in set(said.of)]
    return [
        _many(about, id, t, ready.columns, found, said.predicted, said.of, seconds, said.stages),
        _many(about.bare, id, t, ready.columns, None, said.predicted, ahead, seconds, said.stages),
    ]


def _ranked(about: About, id: str, t: int, ready: Ready, said: Said, seconds: float) -> list[Entry]:  # noqa: A002 (as `One`)
    """The items of the answer, each with what it was scored by."""
    order, proposed = said.order, ready.proposed
    assert order is not None
    assert proposed is not None
    if not order.items:
        return []
    rows, found = order.rows, order.features
    columns: dict[str, Sequence[object]] = {name: [column[n] for n in rows] for name, column in proposed.columns.items()}
    made = [one for _, one in order.items]
    return [_many(about if found is not None else about.bare, id, t, columns, found, made, range(len(made)), seconds, said.stages)]


def _many(  # noqa: PLR0913, PLR0917 (as `Many`)
    about: About,
    id: str,  # noqa: A002 (as `Many`)
    t: int,
    columns: Mapping[str, Sequence[object]],
    found: Answers | None,
    predicted: Sequence[Predicted],
    rows: Sequence[int],
    seconds: float,
    stages: Mapping[str, float],
) -> Many:
    """The entry of some rows of a request; `found` are the features of these alone."""
    made = [predicted[n] for n in rows] if predicted else None
    values, statuses, moments = ([], [], []) if found is None else found
    return Many(
        about,
        id,
        t,
        {name: [column[n] for n in rows] for name, column in columns.items()},
        values,
        statuses,
        moments,
        len(rows),
        None if made is None else [one.value for one in made],
        None if made is None else [one.how for one in made],
        None if made is None else [one.age for one in made],
        seconds,
        stages,
    )
