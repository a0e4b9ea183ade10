"""Entries of the serving log, and the names of its columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple, cast

import polars as pl

from headwater.definitions.feature_service import FeatureService
from headwater.state.read_plan import AnswerWords

Kind = Literal["features", "predict", "rank"]
AsOf = tuple[int, int, Mapping[str | None, int], bool, bool]
"""T, K, the last commit that counts by partition, and whether the values are stale: as
`online.read_versions.ReadVersion`.
"""

PREFIX = "headwater_"
REQUEST, ROW, AT = f"{PREFIX}request", f"{PREFIX}row", f"{PREFIX}at"
KIND, PROJECT, SERVICE, MODEL = (
    f"{PREFIX}kind",
    f"{PREFIX}project",
    f"{PREFIX}service",
    f"{PREFIX}model",
)
VERSION, ARM, LEVEL, VIEWS = f"{PREFIX}version", f"{PREFIX}arm", f"{PREFIX}level", f"{PREFIX}views"
PROPENSITY, EXPLORED, CANDIDATES = f"{PREFIX}propensity", f"{PREFIX}explored", f"{PREFIX}candidates"
"""Of a ranking that explores: see `serving_log_files.served`."""
PREDICTION, PREDICTION_HOW, AGE, LATENCY = (
    f"{PREFIX}prediction",
    f"{PREFIX}how",
    f"{PREFIX}prediction_age",
    f"{PREFIX}latency_us",
)

_ABOUT = {
    KIND: "kind",
    PROJECT: "project",
    SERVICE: "service",
    MODEL: "model",
    VERSION: "version",
    ARM: "arm",
    LEVEL: "level",
}


@dataclass(frozen=True, eq=False)
class EntryContext:
    """The context of log entries, which all requests of one kind, service or model, version, arm
    and level share.

    Args:
        kind: of the request.
        project, service, model, version, arm, level: names; None where there is none.
        features: the names of the features, in order.
        views: of each view that is read its name, and its `tiles_fingerprint`.
        request: the columns of a request that are kept: its keys and fields. What else a request
            carries is not logged.
        schema: the dtypes of features and request columns; what has none is inferred from its
            values.
        stages: what the time that an answer takes is told apart into.
    """

    kind: Kind
    project: str
    service: str | None = None
    model: str | None = None
    version: str | None = None
    arm: str | None = None
    level: str | None = None
    features: tuple[str, ...] = ()
    views: Mapping[str, str] = field(default_factory=dict)
    request: tuple[str, ...] = ()
    schema: Mapping[str, pl.DataType] = field(default_factory=dict)
    stages: tuple[str, ...] = ()

    @staticmethod
    def for_service(  # noqa: PLR0913 (each is a column of the log)
        kind: Kind,
        project: str,
        service: FeatureService,
        *,
        model: str | None = None,
        version: str | None = None,
        arm: str | None = None,
        level: str | None = None,
        schema: Mapping[str, pl.DataType] | None = None,
        stages: Sequence[str] = (),
    ) -> EntryContext:
        """From a service's definition, with fields that the server adds."""
        views = {view.name: view.tiles_fingerprint for view in service.views}
        names, request = service.feature_names, tuple(service.needed_by())
        return EntryContext(
            kind,
            project,
            service.name,
            model,
            version,
            arm,
            level,
            names,
            views,
            request,
            schema or {},
            tuple(stages),
        )

    @cached_property
    def bare(self) -> EntryContext:
        """The same, for an answer that read no feature: a default, or a precomputed prediction."""
        return replace(self, features=(), views={})

    @cached_property
    def folder(self) -> str:
        """The folder, below that of the day, where segments of it lie."""
        return f"model={self.model}" if self.model is not None else f"service={self.service}"

    @cached_property
    def constants(self) -> list[pl.Expr]:
        """The columns that all of its rows share."""
        columns = [
            pl.lit(getattr(self, name), pl.String).alias(column) for column, name in _ABOUT.items()
        ]
        return [*columns, pl.lit(json.dumps(dict(self.views)), pl.String).alias(VIEWS)]


class RowEntry(NamedTuple):
    """A request of one row as it was answered.

    id: of the request. t: when it asked, microseconds UTC. request: its columns. values: of each
    feature. statuses: a byte a feature, its index in `events.statuses.STATUSES`. read_versions: the
    read version of each of `about.views`. prediction, how, age: the prediction, its way
    ("precomputed", "on_request", "default"), and the seconds since its oldest input was known; None
    where features were asked for. seconds: that the answer took, and of them those of each of
    `about.stages`. words: of the compiled read that gave the values, if they are still there; they
    are written in place of the values that they hold.
    """

    about: EntryContext
    id: str
    t: int
    request: Mapping[str, object]
    values: Sequence[object]
    statuses: bytes
    read_versions: Sequence[AsOf]
    prediction: object = None
    how: str | None = None
    age: float | None = None
    seconds: float | None = None
    stages: Mapping[str, float] = {}
    words: AnswerWords | None = None


class BatchEntry(NamedTuple):
    """A request of n rows as it was answered: as `RowEntry`, but its columns, values, statuses and
    predictions are n long.

    height: n. how, age: n long too, or one for all.
    """

    about: EntryContext
    id: str
    t: int
    request: Mapping[str, Sequence[object]]
    values: Sequence[Sequence[object]]
    statuses: Sequence[bytes]
    read_versions: Sequence[AsOf]
    height: int
    prediction: Sequence[object] | None = None
    how: Sequence[str] | str | None = None
    age: Sequence[float | None] | float | None = None
    seconds: float | None = None
    stages: Mapping[str, float] = {}
    words: AnswerWords | None = None


Entry = RowEntry | BatchEntry


def sequence_text(commits: Mapping[str | None, int]) -> str | None:
    """The last commits that count as JSON: a number, or where several processes write a number for
    each partition; None for no stream.

    >>> sequence_text({None: 7}), sequence_text({"0": 7, "1": 9}), sequence_text({})
    ('7', '{"0": 7, "1": 9}', None)
    """
    if not commits:
        return None
    return json.dumps(commits[None] if None in commits else dict(commits))


def sequences(text: str) -> Mapping[str | None, int]:
    """What `sequence_text` wrote."""
    decoded = json.loads(text)
    return (
        cast("Mapping[str | None, int]", decoded)
        if isinstance(decoded, dict)
        else {None: int(decoded)}
    )
