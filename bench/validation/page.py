"""docs/validation.md: figures from the kept answers, and the sentences around them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bench.validation import departures, predictions, readings
from bench.validation.questions import SEEDS, Answer, Question
from bench.validation.texts import AFTER, BEFORE, TEXTS
from scripts.equal_levels import METRICS

INFLATED = 0.03  # AUC: a leak that adds less is counted apart
ENOUGH_BLOCKS = 20
Answers = Mapping[str, Sequence[Answer]]


def page(asked: Sequence[Question], answers: Answers, seeds: str) -> str:
    """The page, with the sections that have answers."""
    sections = []
    for group, table in TABLES.items():
        mine = {question.world: answers[question.name] for question in asked if question.group == group and answers[question.name]}
        if mine:
            sections.append("\n".join([TEXTS[group], "", *table(mine)]))
    first = SEEDS[seeds]
    ranges = f"Figures are of {seeds} seeds, from {first:,} on. Thresholds are chosen on seeds from {SEEDS['tuning']} on. Each figure has its number of runs."
    missing = [group for group in TABLES if not any(answers[q.name] for q in asked if q.group == group)]
    ranges += f" Not run yet: {', '.join(missing)}." if missing else ""
    return "\n\n".join([BEFORE, ranges, *sections, AFTER]) + "\n"


def _coverage(answers: Answers) -> Iterator[str]:
    yield "| test days | runs | coverage, AUC | coverage, log loss | LIFT where equal | negligible where the lift exceeds 0.005 | no interval |"
    yield "|---|---|---|---|---|---|---|"
    enough = []
    for world, found in answers.items():
        yield f"| {world} | {len(found)} | {' | '.join(_covered(found))} |"
        if predictions.WORLDS[world].days >= ENOUGH_BLOCKS:
            enough += found
    if enough:
        yield f"| **all with {ENOUGH_BLOCKS} days or more** | {len(enough)} | {' | '.join(_covered(enough))} |"


def _covered(found: Sequence[Answer]) -> Iterator[str]:
    for metric in predictions.METRICS:
        intervals = [run[kind][metric] for run in found for kind in ("lift", "null")]  # type: ignore[index]
        having = [i for i in intervals if i["low"] is not None]
        yield _share(sum(i["low"] <= i["truth"] <= i["high"] for i in having), len(having))
    yield _share(sum(run["null"]["auc"]["verdict"] == "LIFT" for run in found), len(found))  # type: ignore[index]
    worth = [run["lift"]["auc"] for run in found if run["lift"]["auc"]["truth"] > 0.005]  # type: ignore[index]
    yield _share(sum(run["verdict"] == "negligible" for run in worth), len(worth))
    yield _share(sum(run["lift"]["auc"]["low"] is None for run in found), len(found))  # type: ignore[index]


def _verdicts(answers: Answers) -> Iterator[str]:
    yield "| world | runs | mean lift of AUC | LIFT | no lift worth having | not proven | harm | interval covers the mean lift |"
    yield "|---|---|---|---|---|---|---|---|"
    none: list[Answer] = []
    worth: list[Answer] = []
    for world, found in answers.items():
        mean = statistics.fmean(float(run["delta"]) for run in found)  # type: ignore[arg-type]
        verdicts = Counter(str(run["verdict"]) for run in found)
        having = [run for run in found if run["low"] is not None]
        covered = _share(sum(float(run["low"]) <= mean <= float(run["high"]) for run in having), len(having))  # type: ignore[arg-type]
        counts = " | ".join(str(verdicts[verdict]) for verdict in ("LIFT", "negligible", "inconclusive", "harm"))
        yield f"| {world} | {len(found)} | {mean:+.3f} | {counts} | {covered} |"
        if readings.WORLDS[world].lift == "none":
            none += found
        elif mean > 0.005:
            worth += found
    yield ""
    lifts, negligible = (sum(run["verdict"] == verdict for run in of) for verdict, of in (("LIFT", none), ("negligible", worth)))
    yield f"False LIFT, over the worlds without information: {_share(lifts, len(none))} of {len(none)} runs (goal: at most 5 %)."
    yield f'False "no lift worth having", over the worlds with a mean lift above 0.005: {_share(negligible, len(worth))} of {len(worth)} runs.'


def _leaks(answers: Answers) -> Iterator[str]:
    yield "| leak | runs | adds to AUC | found | as |"
    yield "|---|---|---|---|---|"
    large: list[Answer] = []
    missed: Counter[str] = Counter()
    hidden: list[str] = []
    for world, found in answers.items():
        inflations = [float(run["auc"]) - float(run["honest"]) for run in found if run["auc"] is not None]  # type: ignore[arg-type]
        adds = f"{statistics.fmean(inflations):+.3f}" if inflations else "never trained"
        named = Counter(str(name) for run in found for name in run["found"])  # type: ignore[attr-defined]
        ways = "; ".join(f"{name} ({count})" for name, count in named.most_common()) or "nothing"
        yield f"| {world} | {len(found)} | {adds} | {_share(sum(bool(run['found']) for run in found), len(found))} | {ways} |"
        if not departures.LEAKS[_kind(world)].detectable:
            hidden.append(world)
            continue
        inflated = [run for run in found if run["auc"] is not None and float(run["auc"]) - float(run["honest"]) >= INFLATED]  # type: ignore[arg-type]
        large += inflated
        missed[_kind(world)] += sum(not run["found"] for run in inflated)
    yield ""
    detected = sum(bool(run["found"]) for run in large)
    yield f"Of {len(large)} detectable leaks that add {INFLATED} or more, {_share(detected, len(large))} are found (goal: at least 90 %)."
    if rest := ", ".join(f"{name} ({count})" for name, count in missed.most_common() if count):
        yield f"Missed: {rest}."
    if hidden:
        yield f"Not counted, since data cannot show them (the audit lists such kinds on every page): {'; '.join(hidden)}."
    everyone = [run for found in answers.values() for run in found]
    accused = sum(bool(run["accused"]) for run in everyone)
    yield f"Honest twins with a LEAK or SUSPECT: {accused} of {len(everyone)}."


def _kind(world: str) -> str:
    """The kind of leak of a world, whose name has the strength after it."""
    return max((name for name in departures.LEAKS if world == name or world.startswith(f"{name}, ")), key=len)


def _honest(answers: Answers) -> Iterator[str]:
    found = next(iter(answers.values()))
    alarms = [name for run in found for name in run["found"]]  # type: ignore[attr-defined]
    accused = sum(bool(run["found"]) for run in found)
    yield f"{accused} of {len(found)} honest worlds get a LEAK or a SUSPECT, {_share(accused, len(found))} (goal: at most 2 %)."
    if alarms:
        yield f"By check: {', '.join(f'{name} ({count})' for name, count in Counter(alarms).most_common())}."
    highest = max(float(run["auc"]) for run in found)  # type: ignore[arg-type]
    yield f"Their AUC at the freshest level goes up to {highest:.3f}."


def _attribution(answers: Answers) -> Iterator[str]:
    found = next(iter(answers.values()))
    right, named = (sum(bool(run[key]) for run in found) for key in ("right", "named"))
    yield f"In {len(found)} runs the planted view was chosen alone in {right}, and chosen at all in {named}."


def _equal(answers: Answers) -> Iterator[str]:
    found = next(iter(answers.values()))
    yield f"{len(found)} runs:"
    yield ""
    yield "| metric | LIFT | harm | claims of either sign |"
    yield "|---|---|---|---|"
    for metric in METRICS:
        lifts, harms = (sum(run[metric] == verdict for run in found) for verdict in ("LIFT", "harm"))
        yield f"| {metric.replace('_', ' ')} | {lifts} | {harms} | {_share(lifts + harms, len(found))} |"


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %" if of else "–"


TABLES = {
    "coverage": _coverage,
    "verdicts": _verdicts,
    "leaks": _leaks,
    "honest": _honest,
    "attribution": _attribution,
    "equal": _equal,
}
