"""Features of rows on the machines of an engine: the code of rows in memory runs there, stage by
stage.

Each run of it is with an engine that gives back the answers that the rows have brought along, and
stops at the stage at hand.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import NoReturn

import numpy as np
import polars as pl

from headwater.definitions.feature_service import FeatureService
from headwater.definitions.freshness import Freshness
from headwater.engine.query import (
    Engine,
    EngineRun,
    EventQuery,
    FeatureValues,
    Query,
    RequestSet,
    StateParts,
    StateQuery,
    States,
)
from headwater.engine.row_work import OnStage, answer_columns, answers_of
from headwater.kernel.as_of import NEVER, as_of
from headwater.training.requests import ASKED_AT
from headwater.training.resources import Resources

_ANSWER = "__answer"


class ReplayedRows:
    """The part of `RowWork` that is the same for all rows."""

    def computed(self, rows: pl.DataFrame, resources: Resources) -> pl.DataFrame:
        """The work on rows, by the engine of the resources. It reads no table."""
        raise NotImplementedError

    def stage_requests(self, rows: pl.DataFrame, stage: int) -> RequestSet:
        """As `RowWork`."""
        try:
            self._run(rows, stage)
        except _Reached as reached:
            return reached.requests
        raise AssertionError(f"no stage {stage}")

    def answered(
        self,
        rows: pl.DataFrame,
        stage: int,
        request_set: RequestSet,
        answers: Sequence[FeatureValues],
    ) -> pl.DataFrame:
        """As `RowWork`."""
        columns = answer_columns(answers, f"{_ANSWER}.{stage}.")
        return rows.with_columns(
            columns
            if request_set.list_rows is None
            else map(request_set.list_rows.lists.lists, columns)
        )

    def finished(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As `RowWork`."""
        return self._run(rows, None)

    @property
    def together(self) -> Sequence[str]:
        """As `RowWork`."""
        return ()

    def to_write(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
        """As `RowWork`."""
        return rows, Counter()

    def _run(self, rows: pl.DataFrame, stage: int | None) -> pl.DataFrame:
        return self.computed(
            rows, Resources(progress=False, cache=False, engine=_Replay(rows, stage))
        )


def ends_of(rows: pl.DataFrame, freshnesses: Iterable[Freshness]) -> pl.DataFrame:
    """The rows with the first and the last request time, T and K; all other rows are between them.

    T and K rise with the request time, but for measured ages.
    """
    if rows.height <= 2:
        return rows
    t = rows[ASKED_AT].to_numpy()
    ends = {int(t.argmin()), int(t.argmax())}
    for freshness in freshnesses:
        if freshness.reads_events and not freshness.servable:
            T, K = as_of(freshness, t)
            live = np.flatnonzero(T > NEVER)
            ends |= (
                {int(live[at]) for at in (T[live].argmin(), T[live].argmax(), K[live].argmax())}
                if len(live)
                else set()
            )
    return rows[sorted(ends)]


def planning(on_stage: OnStage) -> Resources:
    """Resources whose engine calls `on_stage` for each stage."""
    return Resources(progress=False, cache=False, engine=_Planning(on_stage))


def own_columns(rows: pl.DataFrame) -> list[str]:
    """The columns of rows without those of answers."""
    return [name for name in rows.columns if not name.startswith(_ANSWER)]


def modules_of(service: FeatureService | None) -> list[ModuleType]:
    """The modules of the functions of a service."""
    names = (
        set()
        if service is None
        else {feature.function.__module__ for feature in service.request_features}
    )
    return [sys.modules[name] for name in sorted(names - {"__main__"}) if name in sys.modules]


class _Reached(Exception):  # noqa: N818 (no error)
    """The stage at hand is reached."""

    def __init__(self, requests: RequestSet) -> None:
        self.requests = requests


class Stageless(Engine):
    """An engine that reads no table."""

    def features(
        self, query: Query, requests: Sequence[RequestSet], run: EngineRun
    ) -> list[list[FeatureValues]]:
        """Never called."""
        raise NotImplementedError

    def events(self, query: EventQuery, run: EngineRun) -> NoReturn:
        """Never called."""
        raise NotImplementedError

    def states(
        self, query: StateQuery[States], run: EngineRun
    ) -> AbstractContextManager[StateParts[States]]:
        """Never called."""
        raise NotImplementedError


class _Planning(Stageless):
    """Calls for each stage."""

    def __init__(self, on_stage: OnStage) -> None:
        self._on_stage = on_stage

    def features(
        self,
        query: Query,
        requests: Sequence[RequestSet],
        run: EngineRun,  # noqa: ARG002
    ) -> list[list[FeatureValues]]:
        """As `Engine`."""
        return [self._on_stage(query, request_set) for request_set in requests]


class _Replay(Stageless):
    """Gives the answers that rows have, and stops at a stage; None: at none."""

    def __init__(self, rows: pl.DataFrame, stage: int | None) -> None:
        self._rows, self._stage, self._next = rows, stage, 0

    def features(
        self,
        query: Query,  # noqa: ARG002
        requests: Sequence[RequestSet],
        run: EngineRun,  # noqa: ARG002
    ) -> list[list[FeatureValues]]:
        """As `Engine`."""
        return [self._answers(request_set) for request_set in requests]

    def _answers(self, request_set: RequestSet) -> list[FeatureValues]:
        number, self._next = self._next, self._next + 1
        if number == self._stage:
            raise _Reached(request_set)
        prefix = f"{_ANSWER}.{number}."
        columns = self._rows.select(name for name in self._rows.columns if name.startswith(prefix))
        return answers_of(
            columns
            if request_set.list_rows is None
            else pl.DataFrame(map(request_set.list_rows.lists.elements, columns)),
            len(request_set.as_of),
            prefix,
        )
