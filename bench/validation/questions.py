"""The questions to each world. An answer is one JSON object a run; `page` adds them up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import headwater as hw
from bench.validation import (
    audit_cost,
    departures,
    experiment_decay,
    experiment_estimators,
    experiment_health,
    experiment_looks,
    predictions,
    readings,
)
from bench.validation.experiment_worlds import cases
from bench.validation.planted_effects import Planted, planted
from bench.validation.world import (
    ENDS,
    LADDER,
    RESAMPLES,
    backtest,
    compared,
    headline,
    logistic,
    split_after,
)
from headwater.results.estimate import Comparison
from scripts.equal_levels import METRICS, claims

Answer = Mapping[str, object]
PARTS: Mapping[str, tuple[str, ...]] = {
    "backtests": (
        "coverage",
        "training",
        "verdicts",
        "leaks",
        "honest",
        "attribution",
        "equal",
        "cost",
    ),
    "experiments": ("estimators", "looks", "worlds", "faults", "sound", "freshness"),
}
"""Groups of questions that are answered by the same code and written to the page together."""
GROUPS = (*PARTS["backtests"], *PARTS["experiments"])
RUNS: Mapping[str, int] = {
    "coverage": 200,
    "training": 200,
    "verdicts": 100,
    "leaks": 20,
    "honest": 200,
    "attribution": 100,
    "equal": 300,
    "cost": 1,
    "estimators": 50,  # 200 experiments a run
    "looks": 50,  # 100
    "worlds": 30,  # 20
    "faults": 100,
    "sound": 1000,
    "freshness": 100,
}
SEEDS: Mapping[str, int] = {"tuning": 0, "held-out": 5_000_000}
"""The first seed of each range; the second range is for figures alone."""


@dataclass(frozen=True)
class Question:
    """One question: its group, its world, and how one run of it is answered."""

    group: str
    world: str
    ask: Callable[[int], Answer]

    @property
    def name(self) -> str:
        return f"{self.group}: {self.world}"


def questions() -> Iterator[Question]:
    """Every question, in the order of the page."""
    for name in predictions.WORLDS:
        yield Question("coverage", name, partial(coverage, name))
    for name in readings.WORLDS:
        yield Question("verdicts", name, partial(verdict, name))
    for name in readings.TRAINING:
        yield Question("training", name, partial(training, name))
    for name, kind in departures.LEAKS.items():
        for strength in kind.strengths:
            yield Question(
                "leaks", f"{name}, {strength:g} {kind.unit}".rstrip(), partial(leak, name, strength)
            )
    yield Question("honest", "drawn at random", honest)
    yield Question("attribution", "one view of six", attribution)
    yield Question("equal", "two equal levels", equal)
    for name in audit_cost.DATA:
        yield Question("cost", name, partial(audit_cost.cost, name))
    for name in experiment_estimators.ESTIMATORS:
        yield Question("estimators", name, partial(experiment_estimators.answered, name))
    for name in experiment_looks.RULES:
        yield Question("looks", name, partial(experiment_looks.answered, name))
    for name in cases.CASES:
        yield Question("worlds", name, partial(cases.answered, name))
    for name in experiment_health.FAULTS:
        yield Question("faults", name, partial(experiment_health.planted, name))
    yield from (
        Question("sound", kind, partial(experiment_health.honest, kind))
        for kind in experiment_health.HONEST
    )
    for name in experiment_decay.WORLDS:
        yield Question("freshness", name, partial(experiment_decay.run, name))


def coverage(name: str, seed: int) -> Answer:
    """Intervals of predictions whose true lift is known, and of two that are equally good."""
    frame, truth = predictions.WORLDS[name].frame(seed), predictions.true_lifts(name)
    lift = {
        c.metric: _interval(c) | {"truth": truth[c.metric]}
        for c in predictions.judged(frame, ("stale", "fresh"), seed)
    }
    null = {
        c.metric: _interval(c) | {"truth": 0.0}
        for c in predictions.judged(frame, ("fresh", "twin"), seed)
    }
    return {"lift": lift, "null": null}


def verdict(name: str, seed: int) -> Answer:
    """A full run as a page shows it by default: each level trained five times, and the verdict on
    the freshest against the stalest.
    """
    world = readings.WORLDS[name]
    backtested = backtest(world.model(seed), seed, world.train_days, refits=hw.evaluation.Refits())
    result = backtested.result
    assert result.recommendation is not None
    advice = {"answer": result.recommendation.answer, "level": result.recommendation.level}
    return (
        _with_fixed(backtested)
        | found(backtested)
        | advice
        | {"auc": {of.name: of.metrics["auc"].value for of in result.levels}}
    )


def training(name: str, seed: int) -> Answer:
    """The interval that includes the variance of training, and that of the fitted models alone."""
    world = readings.TRAINING[name]
    return _with_fixed(
        backtest(world.model(seed), seed, world.train_days, ENDS, refits=hw.evaluation.Refits())
    )


def leak(name: str, strength: float, seed: int) -> Answer:
    """A leak: what it adds to AUC, and whether it is refused or found. The honest twin counts as a
    false alarm if it is accused.
    """
    leaking, twin = departures.LEAKS[name].worlds(seed, strength)
    honest_one = backtest(twin, seed, departures.TRAIN_DAYS, ENDS)
    answer: dict[str, object] = {"honest": headline(honest_one), "accused": accusations(honest_one)}
    try:
        leaking_one = backtest(leaking, seed, departures.TRAIN_DAYS, ENDS)
    except hw.errors.LeakError:
        return answer | {"found": ["refused"], "auc": None}
    return answer | found(leaking_one) | {"auc": headline(leaking_one)}


def honest(seed: int) -> Answer:
    """An honest world: every LEAK or SUSPECT is a false alarm."""
    backtested = backtest(departures.honest_world(seed), seed, departures.TRAIN_DAYS, ENDS)
    return {"found": accusations(backtested), "auc": headline(backtested)}


def attribution(seed: int) -> Answer:
    """Of six views one decays within hours; it alone is to be streamed. Which one it is changes
    from run to run.
    """
    names = ["airport", "carrier", "route", "line", "tail", "sky"]
    wanted = names[seed % len(names)]
    signals = [
        Planted(name, 3.0, 1.0)
        if name == wanted
        else Planted(name, 5000.0, 0.4)
        if at % 2
        else Planted(name, 3.0, 0.0)
        for at, name in enumerate(names)
    ]
    attributed = hw.evaluation.attribution(
        planted(seed, signals, estimator=logistic()),
        levels={name: LADDER[name] for name in ("daily", "instant")},
        evaluation=hw.Evaluation(split=split_after(24), resamples=RESAMPLES, seed=seed),
        resources=hw.Resources(threads=1),
    )  # fmt: skip
    return {"right": list(attributed.chosen) == [wanted], "named": wanted in attributed.chosen}


def equal(seed: int) -> Answer:
    """Two equally good levels that differ in a view of noise, trained again as by default: every
    claim is wrong.
    """
    return dict(zip(METRICS, claims(seed, hw.evaluation.Refits()).values(), strict=True))


def accusations(backtested: hw.evaluation.Backtest) -> list[str]:
    """Each LEAK and SUSPECT of the audit with its check: in an honest world, a false alarm."""
    return sorted(
        {f"{finding.severity}: {finding.check}" for finding in backtested.result.audit.accusations}
    )


def found(backtested: hw.evaluation.Backtest) -> dict[str, object]:
    """What stands in place of a verdict or below it: LEAK and SUSPECT, and levels that the
    timestamps cannot tell apart.
    """
    blind = (
        ["not measurable"]
        if any(c.verdict == "not measurable" for c in backtested.result.comparisons)
        else []
    )
    return {"found": [*accusations(backtested), *blind]}


def _with_fixed(backtested: hw.evaluation.Backtest) -> dict[str, object]:
    """The freshest level against the stalest: of the training procedure, and of the models that
    were fitted first ("fixed").
    """
    fixed = next(
        c for c in backtested.result.fixed_models if (c.from_, c.to) == ("daily", "instant")
    )
    return _interval(compared(backtested, "daily", "instant")) | {"fixed": _interval(fixed)}


def _interval(comparison: Comparison) -> dict[str, object]:
    return {
        "delta": comparison.delta,
        "low": comparison.low,
        "high": comparison.high,
        "verdict": comparison.verdict,
    }
