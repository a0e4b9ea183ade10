"""An assessment: whether real time is right for a model, with all that the answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.assessing.cost_result import Cost
from headwater.assessing.decision_result import Decision
from headwater.assessing.decision_words import Change
from headwater.assessing.lift import Lift
from headwater.assessing.network import Network
from headwater.assessing.numbers import Missing, Reading
from headwater.assessing.published import Published
from headwater.assessing.readiness_result import Readiness
from headwater.assessing.request_time import AtRequest
from headwater.assessing.stages import Plan
from headwater.backtesting.attribution_result import Attribution
from headwater.backtesting.result import BacktestResult
from headwater.definitions.readable import Readable


@dataclass(frozen=True)
class Assessment(Readable):
    """Lift, attribution, cost, readiness and latency of a model, and the verdict that they come to.

    verdict: what to do, in a sentence. decision: the same, with the rule that said each part. plan: the stages. risks: what the verdict
    does not rule out. changes: what would change it. attribution: where it was made here, with its tables. latency, budget: p99 of served
    answers and what is allowed, in seconds. at_request: features that are made while somebody waits. published: what others say of theirs.
    result: of the backtest, where there is more of it than its JSON. Each part that there is nothing of is Missing, with the reason.
    """

    project: str
    model: str
    at: str
    verdict: str
    decision: Decision
    plan: Plan
    changes: Sequence[Change]
    risks: Sequence[str]
    lift: Lift | Missing
    attribution: Attribution | Missing
    cost: Cost | Missing
    readiness: Readiness | Missing
    latency: Reading
    budget: Reading
    at_request: Sequence[AtRequest]
    network: Network
    published: Sequence[Published]
    result: BacktestResult | None = None

    def to_dict(self) -> dict[str, object]:
        """The assessment as what json.dumps takes."""
        attributed = self.lift.said.get("attribution") if isinstance(self.lift, Lift) else None
        return {
            "project": self.project,
            "model": self.model,
            "at": self.at,
            "verdict": self.verdict,
            "decision": self.decision.to_dict(),
            "plan": self.plan.to_dict(),
            "changes": [one.to_dict() for one in self.changes],
            "risks": list(self.risks),
            "backtest": {"missing": self.lift.reason} if isinstance(self.lift, Missing) else dict(self.lift.said),
            "attribution": (
                self.attribution.to_dict()
                if isinstance(self.attribution, Attribution)
                else attributed or {"missing": self.attribution.reason}
            ),
            "cost": _part(self.cost),
            "readiness": _part(self.readiness),
            "latency": {"p99": self.latency.to_dict(), "budget": self.budget.to_dict()},
            "at_request": [one.to_dict() for one in self.at_request],
            "network": self.network.to_dict(),
            "published": [one.to_dict() for one in self.published],
        }

    def to_markdown(self) -> str:
        """The assessment as Markdown: the same parts as the page, with the tables of checks and of numbers left to it."""
        from headwater.assessing.assessment_page import to_markdown

        return to_markdown(self)

    def write_html(self, path: str | Path) -> Path:
        """Write the assessment as one page that needs no network, and return its path."""
        from headwater.assessing.assessment_page import to_html

        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(to_html(self), encoding="utf-8")
        return place

    def __str__(self) -> str:
        return self.verdict


def _part(part: Cost | Readiness | Missing) -> dict[str, object]:
    return {"missing": part.reason} if isinstance(part, Missing) else part.to_dict()
