"""Clients of a project's third parties, by feature service, with the latency budgets of its
models.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from headwater.definitions.project import Project
from headwater.online.predictor import ThirdPartyValues
from headwater.serving.third_party.call_result import BUCKETS, ThirdPartyResult
from headwater.serving.third_party.fetcher import OnAnswer, ThirdPartyFetcher
from headwater.serving.third_party.latency_budget import Deadline, LatencyLimit

_STATES: Final = ("closed", "half-open", "open")


class ThirdPartyClients:
    """Clients of the third parties of a project; for one event loop.

    Args:
        project: with feature services.
        on_answer: called with each response; it must not block.

    Raises:
        UsageError: a secret is not in the environment.
    """

    def __init__(self, project: Project, *, on_answer: OnAnswer | None = None) -> None:
        asking = {
            model.features.name: model.features.http_features
            for model in project.models
            if model.features.http_features
        }
        self._fetchers = {
            name: ThirdPartyFetcher(features, on_answer=on_answer)
            for name, features in asking.items()
        }
        self.limits = {
            model.name: LatencyLimit(model.latency_budget)
            for model in project.models
            if model.latency_budget is not None
        }

    def asks(self, service: str) -> bool:
        """Whether a feature service has third-party features."""
        return service in self._fetchers

    async def ask(
        self,
        service: str,
        request: Mapping[str, Sequence[object]],
        count: int,
        *,
        t: int,
        limit: LatencyLimit | None,
        due: Deadline,
    ) -> ThirdPartyResult:
        """The third-party features of `count` rows.

        Raises:
            DataError: a field is missing, or of a type other than defined.
        """
        seconds = None if limit is None else limit.for_calls(due)
        return await self._fetchers[service].get(request, count, seconds=seconds, t=t)

    async def close(self) -> None:
        """Cancel all calls."""
        for fetcher in self._fetchers.values():
            await fetcher.close()

    def collect(self) -> Iterator[Metric]:
        """Metrics of calls and latency budgets: the collector interface of prometheus_client."""
        rows = CounterMetricFamily(
            "headwater_third_party_rows",
            "requested rows, by origin of their values",
            labels=["service", "party", "origin"],
        )
        calls = CounterMetricFamily(
            "headwater_third_party_calls",
            "calls, by outcome",
            labels=["service", "party", "outcome"],
        )
        seconds = HistogramMetricFamily(
            "headwater_third_party_seconds", "seconds of a call", labels=["service", "party"]
        )
        breaker = GaugeMetricFamily(
            "headwater_third_party_breaker",
            "1 for the state of a circuit breaker",
            labels=["service", "party", "state"],
        )
        for service, fetcher in self._fetchers.items():
            for party, tally in fetcher.counts.items():
                for origin, count in tally.rows.items():
                    rows.add_metric([service, party, origin], count)
                for outcome, count in tally.calls.items():
                    calls.add_metric([service, party, outcome], count)
                sums = [float(sum(tally.seconds[: n + 1])) for n in range(len(tally.seconds))]
                seconds.add_metric(
                    [service, party],
                    list(zip([*map(str, BUCKETS), "+Inf"], sums, strict=True)),
                    tally.total,
                )
            for party, state in fetcher.states().items():
                for name in _STATES:
                    breaker.add_metric([service, party, name], float(name == state))
        late = CounterMetricFamily(
            "headwater_latency_budget_exceeded",
            "responses after their model's latency budget",
            labels=["model"],
        )
        cut = CounterMetricFamily(
            "headwater_cut_off", "responses with third-party features cut off", labels=["model"]
        )
        for model, limit in self.limits.items():
            late.add_metric([model], limit.late)
            cut.add_metric([model], limit.cut_off)
        yield from (rows, calls, seconds, breaker, late, cut)


def third_party_values(called: ThirdPartyResult, seconds: float) -> ThirdPartyValues:
    """The third-party values that a prediction takes. seconds: duration of the calls."""
    known_ages = {
        party: [age for age in ages if age is not None] for party, ages in called.ages.items()
    }
    return ThirdPartyValues(
        called.values,
        called.statuses,
        {party: max(ages) for party, ages in known_ages.items() if ages},
        seconds,
    )


class BlockingThirdPartyClients:
    """Blocking clients of third parties: their event loop runs in a thread."""

    def __init__(self, project: Project) -> None:
        self._third_parties = ThirdPartyClients(project)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="third parties", daemon=True
        )
        self._thread.start()

    def ask(
        self,
        service: str,
        request: Mapping[str, Sequence[object]],
        count: int,
        *,
        t: int,
        model: str | None,
    ) -> ThirdPartyValues:
        """The third-party values of `count` rows, within the latency budget of a model."""
        limit = None if model is None else self._third_parties.limits.get(model)
        due = Deadline() if limit is None else limit.start()
        waiting = self._third_parties.ask(service, request, count, t=t, limit=limit, due=due)
        called = asyncio.run_coroutine_threadsafe(waiting, self._loop).result()
        return third_party_values(called, due.spent())

    def close(self) -> None:
        """Cancel all calls, and end the thread."""
        asyncio.run_coroutine_threadsafe(self._third_parties.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
