"""The result of an assessment: whether real time is right for a model, with all the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.definitions.readable import Readable
from headwater.results.assessment_parts import AtRequest, Change, Network, Plan, Published
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.cost_result import Cost
from headwater.results.decision_result import Decision
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Reading
from headwater.results.readiness_result import Readiness


@dataclass(frozen=True)
class AssessmentResult(Readable):
    """The data of an `Assessment`."""

    project: str
    model: str
    at: str
    verdict: str
    decision: Decision
    plan: Plan
    changes: Sequence[Change]
    risks: Sequence[str]
    lift: Lift | Missing
    attribution: AttributionResult | Missing
    cost: Cost | Missing
    readiness: Readiness | Missing
    latency: Reading
    budget: Reading
    at_request: Sequence[AtRequest]
    network: Network
    published: Sequence[Published]
    result: BacktestResult | None = None

    def to_dict(self) -> dict[str, object]:
        """The assessment as JSON data."""
        attributed = self.lift.source_json.get("attribution") if isinstance(self.lift, Lift) else None
        return {
            "project": self.project,
            "model": self.model,
            "at": self.at,
            "verdict": self.verdict,
            "decision": self.decision.to_dict(),
            "plan": self.plan.to_dict(),
            "changes": [item.to_dict() for item in self.changes],
            "risks": list(self.risks),
            "backtest": {"missing": self.lift.reason} if isinstance(self.lift, Missing) else dict(self.lift.source_json),
            "attribution": (
                self.attribution.to_dict()
                if isinstance(self.attribution, AttributionResult)
                else attributed or {"missing": self.attribution.reason}
            ),
            "cost": _part(self.cost),
            "readiness": _part(self.readiness),
            "latency": {"p99": self.latency.to_dict(), "budget": self.budget.to_dict()},
            "at_request": [item.to_dict() for item in self.at_request],
            "network": self.network.to_dict(),
            "published": [item.to_dict() for item in self.published],
        }

    def __str__(self) -> str:
        return self.verdict


def _part(result: Cost | Readiness | Missing) -> dict[str, object]:
    return {"missing": result.reason} if isinstance(result, Missing) else result.to_dict()
