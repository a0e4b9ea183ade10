"""The third parties of a project, by feature service: asked for a request, within what its model's latency budget leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from headwater.definitions.project import Project
from headwater.online.predictor import Beside
from headwater.serving.third_party.call_result import BUCKETS, Called
from headwater.serving.third_party.fetcher import OnAnswer, ThirdParty
from headwater.serving.third_party.latency_budget import Deadline, LatencyLimit

_STATES: Final = ("closed", "half-open", "open")


class Parties:
    """All third parties that the feature services of a project ask; of one event loop.

    Args:
        project: whose services.
        on_answer: told of each answer; it must not wait.

    Raises:
        UsageError: the environment lacks a secret.
    """

    def __init__(self, project: Project, *, on_answer: OnAnswer | None = None) -> None:
        asking = {model.features.name: model.features.http_features for model in project.models if model.features.http_features}
        self._of = {name: ThirdParty(features, on_answer=on_answer) for name, features in asking.items()}
        self.limits = {model.name: LatencyLimit(model.latency_budget) for model in project.models if model.latency_budget is not None}

    def asks(self, service: str) -> bool:
        """Whether a feature service asks any."""
        return service in self._of

    async def ask(
        self, service: str, request: Mapping[str, Sequence[object]], count: int, *, t: int, limit: LatencyLimit | None, due: Deadline
    ) -> Called:
        """What third parties say of `count` rows.

        Raises:
            DataError: a field is missing, or of another type than defined.
        """
        seconds = None if limit is None else limit.for_calls(due)
        return await self._of[service].get(request, count, seconds=seconds, t=t)

    async def close(self) -> None:
        """End all calls."""
        for one in self._of.values():
            await one.close()

    def collect(self) -> Iterator[Metric]:
        """What became of calls and of latency budgets, as prometheus_client asks for it."""
        rows = CounterMetricFamily(
            "headwater_third_party_rows", "rows that asked, by where values came from", labels=["service", "party", "origin"]
        )
        calls = CounterMetricFamily("headwater_third_party_calls", "calls, by how they ended", labels=["service", "party", "outcome"])
        seconds = HistogramMetricFamily("headwater_third_party_seconds", "seconds that a call took", labels=["service", "party"])
        breaker = GaugeMetricFamily("headwater_third_party_breaker", "1 for the state of a breaker", labels=["service", "party", "state"])
        for service, asked in self._of.items():
            for party, tally in asked.tallies.items():
                for origin, count in tally.rows.items():
                    rows.add_metric([service, party, origin], count)
                for outcome, count in tally.calls.items():
                    calls.add_metric([service, party, outcome], count)
                sums = [float(sum(tally.seconds[: n + 1])) for n in range(len(tally.seconds))]
                seconds.add_metric([service, party], list(zip([*map(str, BUCKETS), "+Inf"], sums, strict=True)), tally.total)
            for party, state in asked.states().items():
                for name in _STATES:
                    breaker.add_metric([service, party, name], float(name == state))
        late = CounterMetricFamily("headwater_late", "answers that came after their model's latency budget", labels=["model"])
        cut = CounterMetricFamily("headwater_cut_off", "answers without what a third party had not said in time", labels=["model"])
        for model, limit in self.limits.items():
            late.add_metric([model], limit.late)
            cut.add_metric([model], limit.cut_off)
        yield from (rows, calls, seconds, breaker, late, cut)


def beside(called: Called, seconds: float) -> Beside:
    """What third parties have answered, as predictions take it; `seconds` that it took."""
    known = {party: [age for age in ages if age is not None] for party, ages in called.ages.items()}
    return Beside(called.values, called.statuses, {party: max(ages) for party, ages in known.items() if ages}, seconds)


class Asking:
    """Third parties asked by who is not in an event loop: the loop is that of a thread."""

    def __init__(self, project: Project) -> None:
        self._parties = Parties(project)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="third parties", daemon=True)
        self._thread.start()

    def ask(self, service: str, request: Mapping[str, Sequence[object]], count: int, *, t: int, model: str | None) -> Beside:
        """What third parties say of `count` rows; within the budget of the model that asks."""
        limit = None if model is None else self._parties.limits.get(model)
        due = Deadline() if limit is None else limit.start()
        waiting = self._parties.ask(service, request, count, t=t, limit=limit, due=due)
        called = asyncio.run_coroutine_threadsafe(waiting, self._loop).result()
        return beside(called, due.spent())

    def close(self) -> None:
        """End all calls, and the thread."""
        asyncio.run_coroutine_threadsafe(self._parties.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
