"""Values of an `outcome(...)` for requests, as of any times: after a request for labels, before it
for covariates of experiments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from headwater.aggregations.moments import count
from headwater.definitions.feature_view import Feature
from headwater.definitions.labels import Outcome
from headwater.definitions.source import Source
from headwater.definitions.windows import Window
from headwater.engine.engines import open_engine
from headwater.engine.query import AsOf, EngineRun, Query, RequestSet, reach_of
from headwater.events.read_events import Notes, column
from headwater.training.enrichment import Tables
from headwater.training.feature_frames import tables
from headwater.training.requests import Requests
from headwater.training.resources import Resources

EVENTS = "__events"

OutcomeTables = Callable[[int, int], Tables]
"""(last, known) -> the tables that an enriched source is read from; as `feature_frames.tables`."""


@dataclass(frozen=True)
class OutcomeRequests:
    """Requests of an outcome.

    Args:
        outcome: which.
        requests: their frame has the outcome's keys.
        as_of: the end of each request's window, and the time up to which its events must be known.
        context: what errors name, such as "labels 'churn'".
        tables_of: the tables of an enriched source; those that the engine of the resources makes
            where None.
    """

    outcome: Outcome
    requests: Requests
    as_of: AsOf
    context: str
    tables_of: OutcomeTables | None = None

    def values(
        self, name: str, window: Window, resources: Resources, *, counted: bool = False
    ) -> pl.DataFrame:
        """The outcome over a window that ends at `as_of.T`, in a column of that name; `counted`
        adds the number of events, `EVENTS`.
        """
        outcome, aggregation = self.outcome, self.outcome.aggregation
        features = [
            Feature(
                name,
                aggregation,
                aggregation.columns[:1] if aggregation.each else aggregation.columns,
                window,
            )
        ]
        if counted:
            features.append(Feature(EVENTS, count(), (), window))
        for key in outcome.keys:
            column(key, self.requests.frame.schema, f"{self.context}: outcome")
        t = self.requests.t
        keys = (
            self.requests.frame.select(outcome.keys)
            if outcome.keys
            else pl.DataFrame({"": pl.repeat(0, len(t), eager=True)})
        )
        ask = RequestSet(keys, t, (self.as_of,))
        run = EngineRun(threads=resources.threads, memory=resources.bytes)
        query = Query(self._readable(features[0], ask, resources), outcome.keys, features)
        values = open_engine(resources.engine).features(query, [ask], run)[0][0].values
        self.requests.left_out.update(run.notes.left_out)
        return values

    def _readable(self, feature: Feature, ask: RequestSet, resources: Resources) -> Source:
        """The outcome's source; where its events are enriched, over a table of them."""
        source, reach = self.outcome.source, reach_of([ask], [feature.window])
        if reach is None:
            return source
        quiet = replace(resources, progress=False, cache=None)
        enriched = (
            tables(reach.last, reach.known, Notes(), quiet)
            if self.tables_of is None
            else self.tables_of(reach.last, reach.known)
        )
        enriched.read(source, {*self.outcome.keys, *feature.reads}, reach.first)
        return enriched.readable(source)


def outcome_values(requests: OutcomeRequests, name: str, resources: Resources) -> pl.Series:
    """The outcome of each request over the outcome's own window, in the aggregation's dtype."""
    return requests.values(name, requests.outcome.window, resources)[name]
