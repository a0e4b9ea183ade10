"""A project as the console shows it after some months: runs, models, experiments, deliveries; and
one with hostile names.
"""

import datetime as dt
import math

import msgspec

import headwater as hw
from headwater import clock
from headwater.console.console_context import ConsoleContext
from headwater.definitions.definition import fingerprint_of
from headwater.models.latest_results import LATEST_LEVEL_LIFT
from headwater.models.registry import EXPERIMENTS, ModelRegistry
from headwater.monitoring.parity import Mismatch, Parity, ParityRun
from headwater.results.assessment_parts import Network
from headwater.results.assessment_result import AssessmentResult
from headwater.results.cost_result import Cost, CostPart, LevelCost, Way
from headwater.results.decision_result import Decision
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import (
    ArmResult,
    AxisEstimate,
    ExperimentResult,
    HealthLine,
    LiftLook,
    MetricLift,
)
from headwater.results.level_lift_result import Alternative, LevelLiftResult, LiftDay
from headwater.results.measurement import Missing, Number
from headwater.results.readiness_result import Finding, Ladder, Readiness
from headwater.results.stored_runs import RunRecord, StoredRuns
from headwater.testing.examples import churn
from tests.backtesting.sample_result import flights

HOSTILE = """<script>alert('x')</script>" onmouseover="alert(1)" שלום עולם """ + "very-long-" * 20
AT = dt.datetime(2026, 3, 12, 14, 15, 2, tzinfo=dt.UTC)


def empty_context(folder):
    """A project, and nothing else."""
    context = ConsoleContext(
        hw.Project("shop", [churn()]),
        folder / "data",
        store=f"lmdb:{folder}/online",
        models=folder / "models",
    )
    context.data_dir.mkdir(parents=True)
    return context


def seeded_context(folder, text=""):
    """The same project with everything that a page shows; `text` is in each field that users
    write.
    """
    context = empty_context(folder)
    runs, model = StoredRuns(context.data_dir), context.project.models[0].name
    backtest = msgspec.structs.replace(flights(), model=model + text)
    earlier = msgspec.structs.replace(
        backtest, levels=backtest.levels[:3], comparisons=backtest.comparisons[:3]
    )
    for days, kind, subject, result in (
        (40, "backtest", model, earlier),
        (20, "backtest", model, backtest),
        (18, "assessment", model, _assessment(model, backtest, text)),
        (10, "experiment", "fresher", _experiment(text)),
        (2, "parity", context.project.name, _parity(text)),
    ):
        at = AT - dt.timedelta(days=days)
        figures = {
            name + text: value for name, value in result.figures.items() if math.isfinite(value)
        }
        sentence = f"{result}{text}" if kind != "backtest" else f"Run it hourly.{text}"
        record = RunRecord(
            f"{kind}-{at:%Y%m%d-%H%M%S}-3f2a", kind, subject, at.isoformat(), f"ann{text}@laptop", sentence, 12.5, figures,
            {f"model {model}": fingerprint_of(days)}, "ab12cd34ef56", {"source visits": f"visits.parquet{text}"}, "0.1.0",
        )  # fmt: skip
        runs.add(record, result.to_dict())
    _models(context, model, text)
    return context


def _models(context, model, text):
    registry, features = (
        ModelRegistry(context.models),
        list(context.project.models[0].features.feature_names),
    )
    for number in range(3):
        manifest = {
            "model": model, "fingerprint": "ab", "created_at": (AT + dt.timedelta(days=number)).isoformat(), "rows": 12_345 + number,
            "estimator": f"LightGBM{text}", "metrics": {"holdout": {"auc": 0.7 + number / 100}}, "task": "binary",
            "features": features, "kinds": ["number"] * len(features), "categories": {},
            "kept": {"format": "lightgbm", "file": "model.txt", "digest": "ab", "runs_code": False, "tolerance": 0.0},
        }  # fmt: skip
        registry.add(
            model,
            lambda folder, data=manifest: (folder / "manifest.json").write_bytes(
                msgspec.json.encode(data)
            ),
        )
    lift = _level_lift(model, text)
    LATEST_LEVEL_LIFT.write(registry, lift.model, lift.served, lift)
    place = registry.folder / EXPERIMENTS / "fresher" / "1"
    place.mkdir(parents=True)
    start = clock.now_micros() - 3 * 86_400_000_000
    plan = {
        "experiment": "fresher", "version": 1, "fingerprint": "ab", "unit": "user", "kind": "ab", "columns": {}, "settings": {},
        "arms": [
            {"name": "daily", "model": model, "level": "daily", "weight": 0.5},
            {"name": f"hourly{text}", "model": model, "level": "hourly", "weight": 0.5},
        ],
        "metrics": ["revenue"], "guardrails": [], "layer": None, "span": [0.0, 1.0], "holdout": 0.0, "start": start, "duration": 14 * 86_400_000_000,
        "stage": 86_400_000_000, "enrolled": [1.0], "looks": 5, "alpha": 0.05, "power": 0.8, "min_lift": 0.01, "project": context.project.name,
    }  # fmt: skip
    (place / "plan.json").write_bytes(msgspec.json.encode(plan))
    change = {
        "change": "started",
        "at": start,
        "by": f"ann{text}",
        "reason": f"planned{text}",
        "enrolled": 1.0,
    }
    (place / "changes.jsonl").write_bytes(msgspec.json.encode(change) + b"\n")


def _assessment(model, backtest, text):
    nothing = Missing("it was not measured")
    decision = Decision(
        "go hourly", ["user"], "daily", "hourly", 0.1, "not decided", Number(120.0, "USD/day", "computed", ("lift x "
            "worth")),
        Number(14.5, "USD/day", "computed", "runs"), [], [("views", "Make user fresh")],
        f"Run {model} hourly. It earns 120 USD a day.{text}", f"Run {model} hourly.{text}",
    )  # fmt: skip
    return AssessmentResult(
        "shop", model, AT.isoformat(), (f"{decision.first_line} It earns 120 USD a "
            "day."), decision, backtest, Missing("it was not asked for"), _cost(model, text), _readiness(text), nothing, nothing, [],
        Network([], "an A/B test", "units do not touch", []),
    )  # fmt: skip


def _cost(model, text):
    money = Number(14.5, "USD/day", "computed", f"runs x price{text}")
    part = CostPart("compute", money, "24 runs x 0.6 USD")
    ways = [
        Way("precompute for all", money, [part]),
        Way("on request", money, [part]),
        Way("streaming", Missing("no price"), [], ["price"]),
    ]
    levels = [LevelCost("daily", 1.0, money), LevelCost("hourly", 24.0, money)]
    return Cost(
        model,
        "USD",
        {"R": money},
        ways,
        money,
        money,
        [],
        {},
        levels,
        "On request is cheapest.",
    )


def _readiness(text):
    def finding(check, state):
        remedy = "" if state == "green" else f"archive events{text}"
        return Finding(
            check,
            "O1",
            f"view user{text}",
            f"Events arrive {state}",
            state,
            Number(0.9, "share", "measured", "12 events"),
            "1",
            "0",
            remedy,
            {},
        )

    findings = [
        finding("E1", "green"),
        finding("E2", "amber"),
        finding("E3", "red"),
        finding("E4", "unknown"),
    ]
    online, learning = (
        Ladder("online", ["O0", "O1"], 0, 1, ["E3"]),
        Ladder("learning", ["C0", "C1"], 0, 1, []),
    )
    return Readiness("shop", AT.isoformat(), [], findings, online, learning, {})


def _experiment(text):
    lift = Estimate(0.042, 0.011, 0.073)
    over_time = [
        LiftLook(
            f"2026-03-0{n}T00:00:00+00:00", Estimate(0.04, 0.04 - 0.1 / n, 0.04 + 0.1 / n), 100 * n
        )
        for n in range(1, 8)
    ]
    metric = MetricLift(
        "revenue",
        f"hourly{text}",
        "deciding",
        True,
        1.0,
        1.042,
        lift,
        "group sequential",
        0.01,
        1000,
        3,
        over_time=over_time,
    )
    arms = [
        ArmResult("daily", "churn", "daily", 0.5, 1, "", False, 500, 400),
        ArmResult(f"hourly{text}", "churn", "hourly", 0.5, 1, "", False, 500, 400),
    ]
    axis = [
        AxisEstimate("backtest", f"hourly{text}", "auc", Estimate(0.05, 0.03, 0.07), "replayed"),
        AxisEstimate("experiment", f"hourly{text}", "revenue", lift, "randomised"),
    ]
    return ExperimentResult(
        "shop", "fresher", 1, "ab", "user", AT.isoformat(), AT.isoformat(), "harm" if text else "real-time", f"hourly{text}",
        "the lift is shown", "Stop at a look whose bound is crossed.",
        f"Serve hourly: +4.2 %.{text}", 2, 5, [0.2, 0.4], arms, [metric], axis, 0.0, "", [], [HealthLine("sample ratio", "ok", f"500 to 500{text}")],
        [], None, {"alpha": 0.05, "note": text}, "0123456789abcdef", [f"started by ann{text}"],
    )  # fmt: skip


def _parity(text):
    miss = Mismatch(f"user__count_1d{text}", {"user": f"7{text}"}, 3, 4, f"an event{text}")
    return ParityRun("shop", False, [Parity("user", 1_000, 4_000, AT, AT, 9_000, [miss])])


def _level_lift(model, text):
    days = [
        LiftDay(
            f"2026-02-{n:02d}", 1000, 900, 1000.0, {"daily": 0.66, "hourly": 0.76}, 0.76, {"daily": Estimate(-0.1, -0.12, -0.08)},
            {"hourly": Estimate(0.1, 0.08, 0.12)}, "judged", ["1"],
        )
        for n in range(1, 20)
    ]  # fmt: skip
    one = Alternative(
        "daily", [], "staler", f"daily{text}", "hourly", [0.0] * 19, "earned nothing", "2026-02-01", 19, Estimate(0.0, -0.01, 0.004), 0.01,
        "2026-02-02", 0.002, sentence=f"Hourly earned nothing over daily since 2026-02-01.{text}",
    )  # fmt: skip
    return LevelLiftResult(
        model, "auc", True, "as defined", "daily", {"daily": f"each day{text}", "hourly": "each hour"}, days, {"daily": Estimate(0.66, 0.6, 0.7)},
        [], [one], 1, 0.05, 19_000, 19_000.0, {}, [], {}, 1.0, [f"a note{text}"], AT.isoformat(), ((("Hourly earned "  # noqa: UP034
            f"nothing.{text}"))),
    )  # fmt: skip
