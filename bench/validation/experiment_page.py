"""The tables of experiments on docs/validation.md."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.validation import (
    experiment_estimators,
    experiment_health,
    experiment_looks,
)
from bench.validation.experiment_worlds import cases

Answer = Mapping[str, object]
Answers = Mapping[str, Sequence[Answer]]
COVERAGE = 0.935
NEAR = 0.03  # of the research tables' power
FALSE_ALARMS = 0.01


def _estimators(answers: Answers) -> Iterator[str]:
    yield (
        "| estimator | experiments without and with an effect | false positives | of these above "
        "0 | coverage | power | research |"
    )
    yield "|---|---|---|---|---|---|---|"
    short = []
    for world, found in answers.items():
        runs, false, above, covered, power = (
            _sum(found, key) for key in ("of", "false", "false_above", "covered", "found")
        )
        known = experiment_estimators.ESTIMATORS[world].power
        yield (
            f"| {world} | {runs:,} each | {_share(false, runs, 2)} | {_share(above, false, 0)} | "
            f"{_share(covered, runs)} | {_share(power, runs)} | "
            f"{'–' if known is None else f'{100 * known:.1f} %'} |"
        )
        if abs(false / runs - 0.05) > 3 * math.sqrt(0.05 * 0.95 / runs):
            short.append(f"{world}: false positives of {_share(false, runs, 2)}")
        if covered / runs < COVERAGE:
            short.append(f"{world}: coverage of {_share(covered, runs)}")
        if known is not None and abs(power / runs - known) > NEAR:
            short.append(f"{world}: power of {_share(power, runs)}")
    yield from _outside(short)


def _looks(answers: Answers) -> Iterator[str]:
    yield (
        "| rule and metric | experiments without and with an effect | false positives | power | "
        "research | coverage when it stops | coverage at all looks | units used |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    short = []
    for world, found in answers.items():
        rule = experiment_looks.RULES[world]
        runs, false, power, covered, always = (
            _sum(found, key) for key in ("of", "false", "found", "covered", "always")
        )
        stops = sum(float(run["stops"]) for run in found) / runs  # type: ignore[arg-type]
        yield (
            f"| {world} | {runs:,} each | {_share(false, runs, 2)} | {_share(power, runs)} |"
            f" {'–' if rule.power is None else f'{100 * rule.power:.1f} %'} | "
            f"{_share(covered, runs)} | {_share(always, runs)} | {100 * stops:.0f} % |"
        )
        margin = 3 * math.sqrt(0.05 * 0.95 / runs)
        if false / runs > 0.05 + margin or (not rule.sequence and false / runs < 0.05 - margin):
            short.append(f"{world}: false positives of {_share(false, runs, 2)}")
        if min(covered, always) / runs < COVERAGE:
            short.append(f"{world}: coverage of {_share(min(covered, always), runs)}")
        if rule.power is not None and abs(power / runs - rule.power) > NEAR:
            short.append(f"{world}: power of {_share(power, runs)}")
    yield from _outside(short)


def _worlds(answers: Answers) -> Iterator[str]:
    short = []
    for world, found in answers.items():
        case = cases.CASES[world]
        truth = statistics.fmean(float(run["truth"]) for run in found)  # type: ignore[arg-type]
        yield f"{world[0].upper()}{world[1:]}: the true lift is {truth:+.1%}" + (
            f" (research: {case.truth:+.1%})." if case.truth else "."
        )
        yield ""
        yield (
            "| design | runs | mean lift | research | bias, points | standard deviation, points | "
            "interval holds the truth | goal | right sign shown |"
        )
        yield "|---|---|---|---|---|---|---|---|---|"
        for design, (_, mean, goal) in case.designs.items():
            lifts = [lift for run in found for lift in run["designs"][design]]  # type: ignore[index]
            estimates = [lift[0] for lift in lifts]
            covered = sum(low <= truth <= high for _, low, high in lifts)
            shown = sum(low > 0 if truth > 0 else high < 0 for _, low, high in lifts)
            at = statistics.fmean(estimates)
            yield (
                f"| {design} | {len(lifts)} | {at:+.1%} | "
                f"{'–' if mean is None else f'{mean:+.1%}'} | {100 * (at - truth):+.1f} | "
                f"{100 * statistics.stdev(estimates):.1f} | {_share(covered, len(lifts))} | "
                f"{'–' if goal is None else f'{100 * goal:.0f} %'} | "
                f"{_share(shown, len(lifts), 0)} |"
            )
            if goal is not None and covered / len(lifts) < goal:
                short.append(f"{world}, {design}: {_share(covered, len(lifts))}")
        yield ""
    yield from _outside(short)


def _faults(answers: Answers) -> Iterator[str]:
    yield "| planted | check | runs | flagged | other checks that block |"
    yield "|---|---|---|---|---|"
    short = []
    for world, found in answers.items():
        check = experiment_health.FAULTS[world][0]
        flagged = sum(bool(run["flagged"]) for run in found)
        others = Counter(name for run in found for name in run["blocking"] if name != check)  # type: ignore[attr-defined]
        yield (
            f"| {world} | {check} | {len(found)} | {flagged} | "
            f"{', '.join(f'{name} ({n})' for name, n in others.most_common()) or 'none'} |"
        )
        if flagged < 0.95 * len(found):
            short.append(f"{world}: {flagged} of {len(found)}")
    yield from _outside(short)


def _sound(answers: Answers) -> Iterator[str]:
    yield "| kind | honest experiments | blocked | by check |"
    yield "|---|---|---|---|"
    short = []
    for kind, found in answers.items():
        alarms = [run["blocking"] for run in found if run["blocking"]]
        by_check = Counter(name for names in alarms for name in names)  # type: ignore[attr-defined]
        names = ", ".join(f"{name} ({count})" for name, count in by_check.most_common()) or "none"
        yield (
            f"| {kind} | {len(found):,} | {len(alarms)} ({_share(len(alarms), len(found), 2)}) | "
            f"{names} |"
        )
        if len(alarms) > FALSE_ALARMS * len(found):
            short.append(f"{kind}: {len(alarms)} of {len(found):,}")
    yield from _outside(short)


def _outside(short: Sequence[str]) -> Iterator[str]:
    yield ""
    yield f"Outside the goals: {'; '.join(short)}." if short else "All are within the goals."


def _sum(found: Sequence[Answer], key: str) -> int:
    return sum(int(run[key]) for run in found)  # type: ignore[call-overload]


def _share(count: int, of: int, digits: int = 1) -> str:
    return f"{100 * count / of:.{digits}f} %" if of else "–"


TABLES: Mapping[str, Callable[[Answers], Iterator[str]]] = {
    "estimators": _estimators,
    "looks": _looks,
    "worlds": _worlds,
    "faults": _faults,
    "sound": _sound,
}
