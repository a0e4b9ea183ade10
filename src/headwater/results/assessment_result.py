"""The result of an assessment: whether real time is right for a model, with all the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.results.assessment_parts import AtRequest, Network
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.cost_result import Cost
from headwater.results.decision_result import Decision
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Reading
from headwater.results.readiness_result import Readiness
from headwater.results.result import Result
from headwater.terminal.text import visible


class AssessmentResult(Result, frozen=True):
    """The data of an `Assessment`."""

    project: str
    model: str
    at: str
    verdict: str
    decision: Decision
    backtest: BacktestResult | Missing
    attribution: AttributionResult | Missing
    cost: Cost | Missing
    readiness: Readiness | Missing
    latency: Reading
    budget: Reading
    at_request: Sequence[AtRequest]
    network: Network

    @property
    def lift(self) -> Lift | Missing:
        """The lift of the backtest, with the attribution."""
        earned = None if isinstance(self.attribution, Missing) else self.attribution
        return self.backtest if isinstance(self.backtest, Missing) else Lift(self.backtest, earned)

    @property
    def result(self) -> BacktestResult | None:
        """The backtest, if there is one."""
        return None if isinstance(self.backtest, Missing) else self.backtest

    def __str__(self) -> str:
        return visible(self.verdict)
