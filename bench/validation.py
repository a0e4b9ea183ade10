"""Whether verdicts are right where the truth is known: planted worlds, a leak, an attribution, and two equal levels.

    python -m bench.validation [--only decay noise leak attribution equal] [--runs 100] [--equal 500] [--output docs/validation.json]

Each run is a fresh world with seeds of its own. Prints a line a question, and with --output writes the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

import headwater as hw
from headwater.backtesting.fit_options import Refits
from headwater.testing.planted_effects import Leak, Planted, planted
from scripts.equal_levels import METRICS, claims

SPLIT = "2024-03-28T00:00Z"  # the middle of 48 days
DAILY, HOURLY, INSTANT = hw.batch("1d", delay="4h"), hw.batch("1h", delay="15m"), hw.on_request()
LADDER = {"daily": hw.Level(DAILY), "hourly": hw.Level(HOURLY), "instant": hw.Level(INSTANT)}
HALF_LIVES = (3.0, 5000.0)  # hours: gone before a daily feature is published; hardly changed by then
LEAKS: tuple[Leak, ...] = ("own table", "copy", "aftermath")
RESAMPLES = 500


@dataclass
class Answers:
    """How many runs were called rightly, and what the others said."""

    question: str
    goal: str
    right: int = 0
    runs: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    more: dict[str, object] = field(default_factory=dict)

    def add(self, *, right: bool, verdict: str) -> None:
        self.runs += 1
        self.right += right
        if not right:
            self.wrong[verdict] += 1

    def __str__(self) -> str:
        wrong = f"; else: {', '.join(f'{n} {verdict}' for verdict, n in self.wrong.most_common())}" if self.wrong else ""
        return f"{self.question}: {self.right} of {self.runs} ({self.goal}; {self.seconds:.0f} s){wrong}"


def logistic() -> Pipeline:
    """A model that is fitted in milliseconds, and right for these worlds."""
    return make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression())


def step(backtested: hw.Backtest, from_: str, to: str) -> str:
    return next(
        difference.verdict
        for difference in backtested.result.paired
        if (difference.from_, difference.to, difference.metric) == (from_, to, "auc")
    )


def backtest(model: hw.Model, run: int) -> hw.Backtest:
    return hw.backtest(
        model, levels=LADDER, split=SPLIT, metrics=["auc"], resamples=RESAMPLES, seed=run, threads=1, cold_start=0
    )  # fmt: skip


def decay(run: int, answers: Answers) -> None:
    """A state that is forgotten within hours is worth fresh features; one that lasts for months is not, and it is said so."""
    half_life = HALF_LIVES[run % 2]
    verdict = step(backtest(planted(run, [Planted("state", half_life, 1.0)], estimator=logistic()), run), "daily", "instant")
    wanted = "LIFT" if half_life == HALF_LIVES[0] else "no lift worth having"
    answers.add(right=verdict == wanted, verdict=f"{verdict!r} at a half-life of {half_life:g} h")


def noise(run: int, answers: Answers) -> None:
    """Nothing that is read tells anything: no step of the ladder is a lift."""
    backtested = backtest(planted(run, [Planted("state", 3.0, 0.0)], estimator=logistic()), run)
    called = {difference.verdict for difference in backtested.result.paired if difference.verdict == "LIFT"}
    answers.add(right=not called, verdict="a LIFT of noise")


def leak(run: int, answers: Answers) -> None:
    """Outcomes that are read before they are known are refused, or flagged by the audit."""
    kind = LEAKS[run % len(LEAKS)]
    model = planted(run, [Planted("state", 3.0, 1.0)], leak=kind, estimator=logistic())
    try:
        findings = backtest(model, run).result.leak_audit
    except hw.errors.LeakError:
        answers.more[kind] = "refused"
        answers.add(right=True, verdict="")
        return
    flagged = [f for f in findings if f.severity in ("leak", "warning") and f.subject.startswith(("past", "repairs"))]
    if flagged:
        answers.more[kind] = f"flagged as {flagged[0].severity}: {flagged[0].kind}"
    answers.add(right=bool(flagged), verdict=f"nothing of {kind}")


def attribution(run: int, answers: Answers) -> None:
    """Of six views one decays within hours; it alone is to be streamed. Which one it is changes from run to run."""
    names = ["airport", "carrier", "route", "line", "tail", "sky"]
    planted_one = names[run % len(names)]
    signals = [
        Planted(name, 3.0, 1.0) if name == planted_one else Planted(name, 5000.0, 0.4) if at % 2 else Planted(name, 3.0, 0.0)
        for at, name in enumerate(names)
    ]
    attributed = hw.attribution(
        planted(run, signals, estimator=logistic()), stale=LADDER["daily"], fresh=LADDER["instant"], names=("daily", "instant"),
        split=SPLIT, resamples=RESAMPLES, seed=run, threads=1,
    )  # fmt: skip
    answers.add(right=list(attributed.chosen) == [planted_one], verdict=f"{len(attributed.chosen)} views named")
    answers.more["sets trained a run"] = attributed.sets
    named = int(str(answers.more.get("planted view named", 0))) + (planted_one in attributed.chosen)
    answers.more["planted view named"] = named


def equal(runs: int) -> Answers:
    """Two equal levels, five seeds each: how often either is claimed to be better."""
    answers, began = Answers("two equal levels: claims of either sign", "5 % +- 2"), time.perf_counter()
    verdicts = [claims(run, Refits(seeds=5)) for run in range(runs)]
    for metric in METRICS:
        lifts, harms = (sum(verdict[metric] == kind for verdict in verdicts) for kind in ("LIFT", "harm"))
        answers.more[metric] = {"lifts": lifts, "harms": harms, "share": (lifts + harms) / runs}
    answers.runs, answers.right = runs, runs - sum(verdict["auc"] in ("LIFT", "harm") for verdict in verdicts)
    answers.seconds = time.perf_counter() - began
    return answers


QUESTIONS: dict[str, tuple[Callable[[int, Answers], None], str]] = {
    "decay": (decay, "the verdict follows from the half-life"),
    "noise": (noise, "noise: not a lift"),
    "leak": (leak, "a leak is refused or flagged"),
    "attribution": (attribution, "the plan is the planted view alone"),
}


def ask(name: str, runs: int, first: int = 0) -> Answers:
    """Ask a question `runs` times, each of a fresh world."""
    question, says = QUESTIONS[name]
    answers, began = Answers(says, "goal: 95 of 100"), time.perf_counter()
    for run in range(first, first + runs):
        question(run, answers)
    answers.seconds = time.perf_counter() - began
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*QUESTIONS, "equal"], default=[*QUESTIONS, "equal"])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--equal", type=int, default=500)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    by_name = {}
    for name in options.only:
        answers = equal(options.equal) if name == "equal" else ask(name, options.runs)
        by_name[name] = {
            "question": answers.question, "right": answers.right, "runs": answers.runs, "wrong": dict(answers.wrong),
            "seconds": round(answers.seconds, 1), **answers.more,
        }  # fmt: skip
        print(answers, *(f"  {what}: {figure}" for what, figure in answers.more.items()), sep="\n", flush=True)
    if options.output:
        options.output.write_text(json.dumps(by_name, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
