"""docs/validation.md: figures from the kept answers, and the sentences around them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bench.validation import departures, experiment_page, predictions, readings
from bench.validation.page_text import AFTER, BEFORE, TEXTS
from bench.validation.questions import SEEDS, Answer, Question
from scripts.equal_levels import METRICS

INFLATED = 0.03  # AUC: a leak that adds less is counted apart
ENOUGH_BLOCKS = 20
WORTH = 0.005  # of AUC: the least lift worth having where nothing else is set
Answers = Mapping[str, Sequence[Answer]]


def page(
    asked: Sequence[Question],
    answers: Answers,
    seeds: str,
    earlier: Mapping[str, str] | None = None,
) -> str:
    """The page, with the sections that have answers; `earlier` has the digest of the code of those
    questions that earlier code answered.
    """
    sections = []
    for group, table in TABLES.items():
        mine = {
            question.world: answers[question.name]
            for question in asked
            if question.group == group and answers[question.name]
        }
        if mine:
            of_group = {
                question.world: digest
                for question in asked
                if question.group == group and (digest := (earlier or {}).get(question.name))
            }
            sections.append(
                "\n".join([TEXTS[group], "", *table(mine), *_earlier(of_group, len(mine))])
            )
    first = SEEDS[seeds]
    ranges = (
        f"Figures are of {seeds} seeds, from {first:,} on. Thresholds are chosen on seeds from "
        f"{SEEDS['tuning']} on. Each figure has its number of runs."
    )
    missing = [
        group for group in TABLES if not any(answers[q.name] for q in asked if q.group == group)
    ]
    ranges += f" Not run yet: {', '.join(missing)}." if missing else ""
    return "\n\n".join([BEFORE, ranges, *sections, AFTER]) + "\n"


def with_sections(written: str, text: str, groups: Sequence[str]) -> str:
    """The page as it was written, with the sections of these groups as `text` has them; new ones
    stand before the last section.
    """
    heads = [TEXTS[group].partition("\n")[0] for group in TEXTS]
    ours = {
        head: section
        for head, section in _by_heading(text).items()
        if head in {TEXTS[group].partition("\n")[0] for group in groups}
    }
    sections = _by_heading(written)
    last = AFTER.partition("\n")[0]
    begin, end = sections.pop(""), sections.pop(last)
    sections |= ours
    order = [head for head in heads if head in sections]
    return "\n\n".join([begin, *(sections[head] for head in order), end]) + "\n"


def _by_heading(text: str) -> dict[str, str]:
    """The sections of a page by their headings; the first has none."""
    sections = {}
    for at, part in enumerate(text.strip().split("\n## ")):
        section = part.strip() if at == 0 else f"## {part.strip()}"
        sections["" if at == 0 else section.partition("\n")[0]] = section
    return sections


def _earlier(digests: Mapping[str, str], worlds: int) -> Iterator[str]:
    """Which rows are of an earlier version of the code: no run of the present one was made yet."""
    for digest in dict.fromkeys(digests.values()):
        of = [world for world, code in digests.items() if code == digest]
        yield ""
        rows = "All rows" if len(of) == worlds else f"These rows ({len(of)} of {worlds})"
        names = "" if len(of) == worlds else f": {'; '.join(of)}"
        yield f"{rows} are runs of an earlier version of the code, {digest}{names}."


def _coverage(answers: Answers) -> Iterator[str]:
    yield (
        "| test days | runs | coverage, AUC | coverage, log loss | LIFT where equal | negligible "
        "where the lift exceeds 0.005 | no interval |"
    )
    yield "|---|---|---|---|---|---|---|"
    enough = []
    for world, found in answers.items():
        yield f"| {world} | {len(found)} | {' | '.join(_covered(found))} |"
        if predictions.WORLDS[world].days >= ENOUGH_BLOCKS:
            enough += found
    if enough:
        yield (
            f"| **all with {ENOUGH_BLOCKS} days or more** | {len(enough)} | "
            f"{' | '.join(_covered(enough))} |"
        )


def _covered(found: Sequence[Answer]) -> Iterator[str]:
    for metric in predictions.METRICS:
        intervals = [run[kind][metric] for run in found for kind in ("lift", "null")]  # type: ignore[index]
        having = [i for i in intervals if i["low"] is not None]
        yield _share(sum(i["low"] <= i["truth"] <= i["high"] for i in having), len(having))
    yield _share(sum(run["null"]["auc"]["verdict"] == "LIFT" for run in found), len(found))  # type: ignore[index]
    worth = [run["lift"]["auc"] for run in found if run["lift"]["auc"]["truth"] > 0.005]  # type: ignore[index]
    yield _share(sum(run["verdict"] == "negligible" for run in worth), len(worth))
    yield _share(sum(run["lift"]["auc"]["low"] is None for run in found), len(found))  # type: ignore[index]


def _training(answers: Answers) -> Iterator[str]:
    yield (
        "| training | runs | mean lift of AUC | standard deviation | procedure: covers the mean "
        "lift | half width | LIFT or harm | fitted models: cover it | half width | LIFT or harm |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for world, found in answers.items():
        lifts = [float(run["delta"]) for run in found]  # type: ignore[arg-type]
        deviation = f"{statistics.stdev(lifts):.4f}" if len(lifts) > 1 else "–"
        fixed: list[Answer] = [run["fixed"] for run in found]  # type: ignore[misc]
        sides = " | ".join(
            f"{_covering(side, lifts)} | {_half_width(side)} | {_claims(side)}"
            for side in (found, fixed)
        )
        yield f"| {world} | {len(found)} | {statistics.fmean(lifts):+.4f} | {deviation} | {sides} |"
    every = [run for found in answers.values() for run in found]
    none = [
        run
        for world, found in answers.items()
        if readings.TRAINING[world].lift == "none"
        for run in found
    ]
    yield ""
    covered, of = (sum(_counts(found)[at] for found in answers.values()) for at in (0, 1))
    yield (
        f"Over all {len(every)} runs the interval of the procedure covers the mean lift in "
        f"{_share(covered, of)}."
    )
    false = sum(run["verdict"] in ("LIFT", "harm") for run in none)
    fixed_false = sum(run["fixed"]["verdict"] in ("LIFT", "harm") for run in none)  # type: ignore[index]
    yield (
        f"Without information, {_share(false, len(none))} of {len(none)} runs have a LIFT or harm "
        f"by the interval of the procedure, and {_share(fixed_false, len(none))} by that of the "
        "fitted models."
    )


def _counts(found: Sequence[Answer]) -> tuple[int, int]:
    """The intervals that contain the mean lift of their world, and the intervals."""
    mean = statistics.fmean(float(run["delta"]) for run in found)  # type: ignore[arg-type]
    having = [run for run in found if run["low"] is not None]
    return sum(float(run["low"]) <= mean <= float(run["high"]) for run in having), len(having)  # type: ignore[arg-type]


def _covering(found: Sequence[Answer], lifts: Sequence[float]) -> str:
    mean = statistics.fmean(lifts)
    having = [run for run in found if run["low"] is not None]
    return _share(
        sum(float(run["low"]) <= mean <= float(run["high"]) for run in having), len(having)
    )  # type: ignore[arg-type]


def _half_width(found: Sequence[Answer]) -> str:
    """The median of the intervals' half widths."""
    halves = [
        (float(run["high"]) - float(run["low"])) / 2 for run in found if run["low"] is not None
    ]  # type: ignore[arg-type]
    return f"±{statistics.median(halves):.4f}" if halves else "–"


def _claims(found: Sequence[Answer]) -> int:
    return sum(run["verdict"] in ("LIFT", "harm") for run in found)


def _verdicts(answers: Answers) -> Iterator[str]:
    yield (
        "| world | runs | mean lift of AUC | LIFT | no lift worth having | not proven | harm | "
        "interval covers the mean lift | fitted models: LIFT | harm |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    none: list[Answer] = []
    worth: list[Answer] = []
    for world, found in answers.items():
        mean = statistics.fmean(float(run["delta"]) for run in found)  # type: ignore[arg-type]
        verdicts = Counter(str(run["verdict"]) for run in found)
        fixed = Counter(str(run["fixed"]["verdict"]) for run in found)  # type: ignore[index]
        counts = " | ".join(
            str(verdicts[verdict]) for verdict in ("LIFT", "negligible", "inconclusive", "harm")
        )
        yield (
            f"| {world} | {len(found)} | {mean:+.3f} | {counts} | {_share(*_counts(found))} | "
            f"{fixed['LIFT']} | {fixed['harm']} |"
        )
        if readings.WORLDS[world].lift == "none":
            none += found
        elif mean > WORTH:
            worth += found
    yield ""
    yield (
        f"False LIFT, over the worlds without information: {_of(none, 'LIFT')} (goal: at most 5 "
        f"%); false harm: {_of(none, 'harm')}."
    )
    yield (
        f"Of the fitted models alone: {_of([run['fixed'] for run in none], 'LIFT')} LIFT and "  # type: ignore[misc]
        f"{_of([run['fixed'] for run in none], 'harm')} harm."  # type: ignore[misc]
    )
    yield (
        f'False "no lift worth having", over the worlds with a mean lift above {WORTH}: '
        f"{_of(worth, 'negligible')}."
    )
    covered, of = (sum(_counts(found)[at] for found in answers.values()) for at in (0, 1))
    yield (
        f"Over all worlds the interval covers the mean lift in {_share(covered, of)} of {of} runs "
        "with an interval."
    )
    yield from _recommendations(answers)


def _of(found: Sequence[Answer], verdict: str) -> str:
    return (
        f"{_share(sum(run['verdict'] == verdict for run in found), len(found))} of {len(found)} "
        "runs"
    )


def _recommendations(answers: Answers) -> Iterator[str]:
    """Which level each run recommends, next to the stalest one whose mean loss to the freshest is
    at most the least worth having.
    """
    yield ""
    yield (
        "| world | runs | right level | recommended | a staler one | a fresher one | cannot "
        "decide | withheld |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    total: Counter[str] = Counter()
    for world, found in answers.items():
        levels = list(found[0]["auc"])  # type: ignore[call-overload]
        means = {
            name: statistics.fmean(float(run["auc"][name]) for run in found) for name in levels
        }  # type: ignore[index]
        right = next(
            at for at, name in enumerate(levels) if means[levels[-1]] - means[name] <= WORTH
        )
        kinds = Counter(_advice(run, levels, right) for run in found)
        total += kinds
        yield (
            f"| {world} | {len(found)} | {levels[right]} | "
            f"{' | '.join(str(kinds[kind]) for kind in _ADVICE)} |"
        )
    runs = total.total()
    decided = runs - total["cannot decide"] - total["withheld"]
    wrong = total["staler"] + total["fresher"]
    yield ""
    yield (
        f"Of {runs} recommendations {_share(decided, runs)} name a level; of these "
        f"{_share(total['right'], decided)} name the right one, "
        f"{_share(total['staler'], decided)} a staler and {_share(total['fresher'], decided)} a "
        f"fresher one ({wrong} wrong). In {_share(total['cannot decide'], runs)} the page cannot "
        "decide."
    )


_ADVICE = ("right", "staler", "fresher", "cannot decide", "withheld")


def _advice(run: Answer, levels: Sequence[str], right: int) -> str:
    if run["answer"] != "run":
        return str(run["answer"])
    at = levels.index(str(run["level"]))
    return "right" if at == right else "staler" if at < right else "fresher"


def _leaks(answers: Answers) -> Iterator[str]:
    yield "| leak | runs | adds to AUC | found | as |"
    yield "|---|---|---|---|---|"
    large: list[Answer] = []
    missed: Counter[str] = Counter()
    hidden: list[str] = []
    for world, found in answers.items():
        inflations = [
            float(run["auc"]) - float(run["honest"]) for run in found if run["auc"] is not None
        ]  # type: ignore[arg-type]
        adds = f"{statistics.fmean(inflations):+.3f}" if inflations else "never trained"
        named = Counter(str(name) for run in found for name in run["found"])  # type: ignore[attr-defined]
        ways = "; ".join(f"{name} ({count})" for name, count in named.most_common()) or "nothing"
        yield (
            f"| {world} | {len(found)} | {adds} | "
            f"{_share(sum(bool(run['found']) for run in found), len(found))} | {ways} |"
        )
        if not departures.LEAKS[_kind(world)].detectable:
            hidden.append(world)
            continue
        inflated = [
            run
            for run in found
            if run["auc"] is not None and float(run["auc"]) - float(run["honest"]) >= INFLATED
        ]  # type: ignore[arg-type]
        large += inflated
        missed[_kind(world)] += sum(not run["found"] for run in inflated)
    yield ""
    detected = sum(bool(run["found"]) for run in large)
    yield (
        f"Of {len(large)} detectable leaks that add {INFLATED} or more, "
        f"{_share(detected, len(large))} are found (goal: at least 90 %)."
    )
    withheld = sum(
        any(not str(name).startswith("SUSPECT") for name in run["found"]) for run in large
    )  # type: ignore[attr-defined]
    yield (
        f"{_share(withheld, len(large))} get no verdict for it; the others found are questions "
        "below a verdict that stands."
    )
    if rest := ", ".join(f"{name} ({count})" for name, count in missed.most_common() if count):
        yield f"Missed: {rest}."
    if hidden:
        yield (
            "Not counted, since data cannot show them (the audit lists such kinds on every "
            f"page): {'; '.join(hidden)}."
        )
    everyone = [run for found in answers.values() for run in found]
    accused = sum(bool(run["accused"]) for run in everyone)
    yield f"Honest twins with a LEAK or SUSPECT: {accused} of {len(everyone)}."


def _kind(world: str) -> str:
    """The kind of leak of a world, whose name has the strength after it."""
    return max(
        (name for name in departures.LEAKS if world == name or world.startswith(f"{name}, ")),
        key=len,
    )


def _honest(answers: Answers) -> Iterator[str]:
    found = next(iter(answers.values()))
    alarms = [name for run in found for name in run["found"]]  # type: ignore[attr-defined]
    accused = sum(bool(run["found"]) for run in found)
    yield (
        f"{accused} of {len(found)} honest worlds get a LEAK or a SUSPECT, "
        f"{_share(accused, len(found))} (goal: at most 2 %)."
    )
    if alarms:
        yield (
            "By check: "
            f"{', '.join(f'{name} ({count})' for name, count in Counter(alarms).most_common())}."
        )
    highest = max(float(run["auc"]) for run in found)  # type: ignore[arg-type]
    yield f"Their AUC at the freshest level goes up to {highest:.3f}."


def _attribution(answers: Answers) -> Iterator[str]:
    found = next(iter(answers.values()))
    right, named = (sum(bool(run[key]) for run in found) for key in ("right", "named"))
    yield (
        f"In {len(found)} runs the planted view was chosen alone in {right}, and chosen at all in "
        f"{named}."
    )


def _equal(answers: Answers) -> Iterator[str]:
    found = next(iter(answers.values()))
    yield f"{len(found)} runs:"
    yield ""
    yield "| metric | LIFT | harm | claims of either sign |"
    yield "|---|---|---|---|"
    for metric in METRICS:
        # only the headline is, where none else was asked for
        if all(run[metric] == "not judged" for run in found):
            continue
        lifts, harms = (
            sum(run[metric] == verdict for run in found) for verdict in ("LIFT", "harm")
        )
        yield (
            f"| {metric.replace('_', ' ')} | {lifts} | {harms} | "
            f"{_share(lifts + harms, len(found))} |"
        )


def _cost(answers: Answers) -> Iterator[str]:
    yield "| data | rows | backtest, s | of it audit, s | the audit adds | LEAK or SUSPECT |"
    yield "|---|---|---|---|---|---|"
    adds = []
    for world, found in answers.items():
        run = found[0]
        if "missing" in run:
            yield f"| {world} | not measured: {run['missing']} is not installed | | | | |"
            continue
        total, audit = float(run["total"]), float(run["audit"])  # type: ignore[arg-type]
        adds.append(audit / (total - audit))
        alarms = ", ".join(run["alarms"]) or "none"  # type: ignore[arg-type]
        yield (
            f"| {world} | {run['rows']:,} | {total:.1f} | {audit:.2f} | {100 * adds[-1]:.0f} % | "
            f"{alarms} |"
        )
    if adds:
        yield ""
        yield f"At most it adds {100 * max(adds):.0f} % (goal: at most 50 %)."


def _freshness(answers: Answers) -> Iterator[str]:
    yield (
        "| world | runs | reported within 14 days | median days | runs with a false alarm | day's "
        "deviation over break-even |"
    )
    yield "|---|---|---|---|---|---|"
    for world, found in answers.items():
        years = world.startswith("a year")
        days = sorted(float(run["reported"]) for run in found if run["reported"] is not None)  # type: ignore[arg-type]
        median = f"{days[len(days) // 2]:.0f}" if days else "–"
        in_time = "–" if years else _share(sum(bool(run["in_time"]) for run in found), len(found))
        false = _share(sum(bool(run["false"]) for run in found), len(found))
        ratio = float(found[0]["noise"]) / float(found[0]["break_even"])  # type: ignore[arg-type]
        yield f"| {world} | {len(found)} | {in_time} | {median} | {false} | {ratio:.2f} |"


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %" if of else "–"


TABLES = {
    "coverage": _coverage,
    "training": _training,
    "verdicts": _verdicts,
    "leaks": _leaks,
    "honest": _honest,
    "attribution": _attribution,
    "equal": _equal,
    "cost": _cost,
    **experiment_page.TABLES,
    "freshness": _freshness,
}
