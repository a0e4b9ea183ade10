"""The page of a backtest: the recommendation, what it rests on, and every table below."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headwater.pages import (
    age_section,
    attribution_section,
    attribution_words,
    audit_words,
    axis,
    evidence_words,
    figures,
    fixed_models,
    recommendation_words,
    resolution_words,
    wording,
)
from headwater.pages.document import (
    Block,
    Bullets,
    Cell,
    Code,
    Figure,
    Table,
    Terms,
    Text,
)
from headwater.pages.measured_levels import measured
from headwater.pages.page import Condition, Fold, Page, Row, Rows, Tone, split_sentence
from headwater.pages.recommending import LEAST
from headwater.results.audit_result import acknowledgement_note
from headwater.results.backtest_result import BacktestResult, LevelResult, SliceResult
from headwater.results.estimate import Comparison, Estimate, Verdict

_MOST_ROWS: Final = 6
_TONES: Final[Mapping[Verdict, Tone]] = {
    "LIFT": "wins",
    "harm": "worse",
    "negligible": "within",
    "inconclusive": "not proven",
    "not measurable": "not proven",
}
_CHIPS: Final = {"LIFT": "chip lift", "harm": "chip harm"}
_KNOWN: Final = {
    "p50": "50 % known within",
    "p90": "90 % known within",
    "p99": "99 % known within",
    "max": "slowest",
}


def to_page(result: BacktestResult) -> Page:
    """The page; the sentence is the recommendation's."""
    split, made = result.split, result.recommendation
    sentence, rest = _sentence(result)
    practice = "" if made is None else made.in_practice
    effect = " ".join(filter(None, [rest, practice or ("" if rest else wording.rest(result))]))
    if result.audit.blocking:
        effect = f"{audit_words.blocking_heading(result.audit)}."
    out = sum(split.left_out.values())
    foot = {
        "rows": f"{wording.count(split.train_rows)} train, {wording.count(split.test_rows)} test"
        + (f", {wording.count(out)} left out" if out else ""),
        "audit": audit_words.summary(result.audit),
        "made": " by ".join(filter(None, [result.at[:16].replace("T", " "), result.by])),
        "took": wording.duration(result.seconds_taken) if result.seconds else "",
        "fingerprint": result.fingerprint,
    }
    return Page(
        "Backtest",
        [
            result.model,
            f"tested {split.split[:10]} to {split.test_end[:10]}",
            f"{wording.count(split.test_rows)} requests",
        ],
        sentence,
        effect,
        bool(result.audit.blocking),
        choices(result),
        curve(result),
        _rows(result),
        list(conditions(result)),
        [note for note in _notes(result) if note],
        _next(result),
        [fold for fold in _folds(result) if fold.blocks],
        [(name, text) for name, text in foot.items() if text],
    )


def curve(result: BacktestResult) -> Figure | None:
    """The headline metric over feature age; None if no level reads history."""
    picture = figures.lift_curve(result)
    if picture is None:
        return None
    base = axis.reference(result)
    line = f" Dashed: {base.name}, which reads no history." if base else ""
    caption = f"Bars are 95 % intervals. A hollow dot is computed in batch.{line}"
    title = f"{wording.metric_label(result.headline)} by feature age"
    return Figure(picture, axis.summary(result), caption, title)


def metrics_table(result: BacktestResult) -> Table:
    """A row for each level, a column for each metric, the headline first."""
    metrics = recommendation_words.ordered_metrics(result)
    replayed = any(level.replayed for level in result.levels)
    headings: list[str | Cell] = [
        "level",
        "kind, mean age",
        *map(wording.metric_label, metrics),
        "covered",
    ]
    if replayed:
        headings.append(Cell(f"{wording.metric_label(result.headline)} replayed", "not retrained"))
    rows: list[list[str | Cell]] = []
    for level in result.levels:
        trained = (
            f"{wording.count(level.train_rows)} training rows"
            if level.train_rows != result.levels[-1].train_rows
            else ""
        )
        again = level.replayed.get(result.headline, math.nan)
        rows.append(
            [
                Cell(level.name, "; ".join(filter(None, [level.describes, level.note, trained]))),
                Cell(level.kind_words, _age(level)),
                *(_value(result, level, metric) for metric in metrics),
                wording.share(level.coverage),
                *([wording.number(again, wording.places(result, result.headline))] * replayed),
            ]
        )
    return Table("Levels by every metric", headings, rows)


def _sentence(result: BacktestResult) -> tuple[str, str]:
    """The first sentence of the recommendation, and what else it says."""
    if result.recommendation is None:
        return wording.verdict(result), ""
    return split_sentence(result.recommendation.sentence)


def choices(result: BacktestResult, level: str | None = None) -> list[tuple[str, bool]]:
    """What could have come out, and whether it did; level: that was decided on, else the
    recommended one.
    """
    made = result.recommendation
    if made is None:
        return []
    level = made.level if level is None else level
    names = [level.name for level in result.levels]
    fresher = names[names.index(made.baseline) + 1 :] if made.baseline in names else []
    run = [name for name in fresher if name in measured(result) or name == level]
    choices = [(f"stay {made.baseline}", level == made.baseline)] if made.baseline else []
    choices += [(f"run {name}", name == level) for name in run]
    choices += [("cannot decide", made.answer == "cannot decide")]
    return [*choices, *([("no verdict", True)] if made.withheld else [])]


def _rows(result: BacktestResult) -> Rows | None:
    """A row for each level: its headline metric, and its gain over the level that serves."""
    made, metric = result.recommendation, result.headline
    if not result.levels:
        return None
    chosen = made.level if made is not None else ""
    judged = {step.to: step for step in wording.judged(result)}
    places, covered = wording.places(result, metric), any(x.coverage < 1 for x in result.levels)
    weighty = sorted(
        range(len(result.levels)),
        key=lambda n: (result.levels[n].name not in (chosen, result.compared_with), n),
    )[:_MOST_ROWS]
    rows = []
    for level in (result.levels[n] for n in sorted(weighty)):
        step, estimate = judged.get(level.name), level.metrics.get(metric)
        word = "" if step is None else wording.verdict_word(result, step)
        if level.name == result.baseline:
            word = "serves today"
        value = wording.NO_VALUE if estimate is None else wording.number(estimate.value, places)
        rows.append(
            Row(
                level.name,
                ", ".join(filter(None, [level.kind_words, _age(level)])),
                [value, *([wording.share(level.coverage)] if covered else [])],
                None if step is None else Estimate(step.delta, step.low, step.high),
                word,
                _TONES.get(step.verdict, "none") if step is not None and word else "none",
                chosen=level.name == chosen,
            )
        )
    more = (
        f", {len(result.levels) - len(rows)} more below" if len(rows) < len(result.levels) else ""
    )
    return Rows(
        f"Levels, against {result.compared_with}{more}",
        [
            "level",
            "kind, mean age",
            wording.metric_label(metric),
            *(["covered"] if covered else []),
        ],
        rows,
        f"gain over {result.compared_with}",
        places,
        _least(result, chosen),
    )


def _least(result: BacktestResult, level: str) -> float:
    """The gain over the baseline that is worth having, where it is one for all levels or the chosen
    one's.
    """
    made = result.recommendation
    even = {} if made is None else made.break_even
    found = even.get(level, result.min_lift.get(result.headline, 0.0))
    return found if math.isfinite(found) else 0.0


def conditions(result: BacktestResult) -> Iterator[Condition]:
    """What the sentence rests on, the gravest first."""
    audit = result.audit
    for finding in audit.blocking:
        named = audit_words.blocking_name(finding)
        yield Condition(f"{named}: {audit_words.finding_line(finding)}", "contradicted")
    for finding in audit.conditions:
        holds, why = audit_words.condition(finding)
        yield Condition(holds, "declared", why)
    for text, why in resolution_words.unmeasured(result.measurable):
        yield Condition(text, "not observable", why)
    for line in evidence_words.of_experiments(result):
        yield Condition(line, "observed")


def _notes(result: BacktestResult) -> Iterator[str]:
    """What else limits the sentence, the most important first."""
    audit, attribution = result.audit, attribution_words.below_the_first_line(result)
    yield from audit_words.further_questions(audit)
    if attribution is not None:
        yield attribution.plan
    yield from wording.limits(result)
    yield acknowledgement_note(audit)
    yield from (f"{where}: {difference}" for where, difference in wording.exceptions(result))
    if not audit.blocking and not any(step.lifts for step in wording.judged(result)):
        yield wording.power(result)
    yield from wording.not_in_training(result)
    yield from resolution_words.questions(result)
    yield wording.survivors(result)
    yield wording.new_keys(result)
    yield wording.money(result)


def _next(result: BacktestResult) -> list[tuple[str, str]]:
    """The commands that follow, each with what it settles."""
    made, model = result.recommendation, f"--model {shlex.quote(result.model)}"
    again, assess = f"headwater backtest {model}", f"headwater assess {model}"
    if made is None or made.withheld:
        return [(again, "once what was found is fixed or answered")]
    if made.answer == "cannot decide":
        wait = recommendation_words.more_days(made.days, made.days_most)
        return [(again, f"after {wait}" if wait else "with more days")]
    if made.level == made.baseline:
        return [(assess, "what would change this, and what it would cost")]
    level = shlex.quote(made.level)
    return [
        (f"headwater train {model} --level {level}", "keeps a model at this level"),
        (assess, "what it costs to run, and what blocks it"),
        ("headwater experiment plan", "whether it holds once people react to it"),
    ]


def _folds(result: BacktestResult) -> Iterator[Fold]:
    label, split, audit = wording.metric_label(result.headline), result.split, result.audit
    metrics = recommendation_words.ordered_metrics(result)
    meanings = [meaning for name in metrics if (meaning := wording.metric_meaning(name))]
    yield Fold(
        "Levels by every metric",
        wording.listed([wording.metric_label(name) for name in metrics]),
        [metrics_table(result), *_replayed(result), Bullets(meanings)],
    )
    yield Fold("Differences between levels", _power(result), differences(result))
    yield Fold("Slices", _differs(result), _slices(result))
    yield Fold("Lift by the age of each view", "", age_section.to_blocks(result))
    if (attribution := attribution_words.below_the_first_line(result)) is not None:
        earned = attribution_section.to_blocks(attribution)
        yield Fold("Which views earn from freshness", "", earned)
    yield Fold(f"{label} of each fold", f"{len(result.folds)} folds", _folded(result))
    if result.money is not None:
        cost = metrics_of(result, "cost")
        yield Fold("Cost of errors", "", [Text(wording.money(result)), *cost])
    left = [(why, wording.count(rows)) for why, rows in split.left_out.items() if rows]
    yield Fold(
        "Can the numbers be trusted?",
        audit_words.summary(audit),
        [
            Table("Split by time", ["part", "rows"], _split(result)),
            Text("A row trains only if its label was known at the split.", "caption"),
            Terms(
                [
                    (_KNOWN.get(name, name), wording.duration(delay))
                    for name, delay in split.label_delay_seconds.items()
                ]
            ),
            Text("Rows left out", "caption"),
            Terms(left or [("none", "")]),
            *([Bullets(result.answered)] if result.answered else []),
            Bullets(audit_words.checks(audit)),
        ],
    )
    yield Fold("What the timestamps can show", "", _timestamps(result))
    picture = figures.calibration(result)
    if picture is not None:
        names = ", ".join(level.name for level in result.levels if level.curves)
        says = f"Observed rate over predicted score for {names}."
        caption = "On the dotted line, a score of 0.3 is right in 3 of 10 cases."
        yield Fold("Calibration", "", [Figure(picture, says, caption)])
    yield Fold(
        "If the world does not react",
        "what a backtest cannot measure",
        [
            Text(
                "A backtest replays the past. Its numbers hold in production only if the world "
                "does not react to the model; an experiment measures what this page cannot."
            ),
            Bullets([*result.assumptions, *wording.not_in_training(result)]),
        ],
    )
    seen = [
        (f"{column} (categories seen in training)", wording.count(kinds))
        for column, kinds in result.encoded.items()
    ]
    took = [(f"{phase} took", wording.duration(x)) for phase, x in result.seconds.items()]
    yield Fold(
        "Definitions and versions",
        "",
        [
            Code(result.definitions),
            Text(result.estimator),
            Terms([*seen, *took, *result.versions.items()]),
        ],
    )


def _replayed(result: BacktestResult) -> list[Text]:
    if not any(level.replayed for level in result.levels):
        return []
    return [
        Text(
            "Replayed: the freshest level's model, not retrained, on this level's features. Its "
            "distance to the headline's column is what training at this level changes."
        )
    ]


def _power(result: BacktestResult) -> str:
    return wording.power(result) if wording.judged(result) else ""


def differences(result: BacktestResult) -> list[Block]:
    """Each step between levels, in every metric, with its verdict in the headline."""
    metrics = recommendation_words.ordered_metrics(result)
    steps = wording.shown_steps(result)
    if not steps:
        return []
    others = {(step.from_, step.to, step.metric): step for step in result.comparisons}
    label = wording.metric_label(result.headline)
    rows: list[list[str | Cell]] = [
        [
            f"{step.from_} {wording.ARROW} {step.to}",
            _chip(result, step),
            *(_gain(result, others.get((step.from_, step.to, name))) for name in metrics),
        ]
        for step in steps
    ]
    falls = [
        wording.metric_label(name)
        for name in metrics
        if not result.higher_is_better.get(name, True)
    ]
    signs = f" A fall of {wording.listed(falls)} counts as a gain." if falls else ""
    made, least = result.recommendation, result.min_lift.get(result.headline)
    by_money = made is not None and made.break_even_from not in ("", LEAST)
    shown = wording.number(least or 0.0, wording.places(result, result.headline))
    worth = (
        f" A lift in {label} below {shown} is not worth having." if least and not by_money else ""
    )
    headings = [
        "step",
        f"verdict on {label}",
        *(f"{wording.metric_label(n)} gain" for n in metrics),
    ]
    fixed = fixed_models.to_table(result)
    return [
        Table(
            f"A gain is positive: the level on the right is better.{signs}{worth}", headings, rows
        ),
        *([fixed] if fixed is not None else []),
        Text(wording.together(result)),
        Text(f"Brackets are {wording.intervals(result)}"),
    ]


def metrics_of(result: BacktestResult, metric: str) -> list[Table]:
    """A metric of each level, and its gain over the level that serves."""
    levels = [
        [level.name, _value(result, level, metric)]
        for level in result.levels
        if metric in level.metrics
    ]
    gains = [
        [f"{step.from_} {wording.ARROW} {step.to}", _gain(result, step)]
        for step in result.comparisons
        if (step.from_, step.metric) == (result.compared_with, metric)
    ]
    label = wording.metric_label(metric)
    tables = [Table(f"{label} of each level", ["level", label], levels)]
    return tables + ([Table("Saved by each level", ["step", "saved"], gains)] if gains else [])


def _differs(result: BacktestResult) -> str:
    if not result.slices or wording.main_step(result) is None:
        return "" if result.slices else "none were requested"
    if result.recommendation is not None and result.recommendation.withheld:
        return ""
    found = [where for where, _ in wording.exceptions(result)]
    return f"the verdict differs in {wording.listed(found)}" if found else "the same verdict in all"


def _slices(result: BacktestResult) -> list[Block]:
    label, names = wording.metric_label(result.headline), [level.name for level in result.levels]
    covered = ", ".join(f"{x.name} {wording.share(x.coverage)}" for x in result.levels)
    blocks: list[Block] = [Text(f"Requests answered: {covered}.")]
    if not result.slices:
        none = (
            "Cold starts, segments and hours of the day are worth testing: an average can hide "
            "large differences there. Name them with slices=."
        )
        return [*blocks, Text(none)]
    if (step := wording.main_step(result)) is not None:
        gains = [
            f"{part.name}: {wording.judged_gain(result, one)}"
            for part in result.slices
            for one in wording.like(part.comparisons, step)
        ]
        caption = f"Gain of {step.to} over {step.from_}. Grey: too small to be worth having."
        blocks.append(Figure(figures.slice_gains(result, step), "; ".join(gains), caption))
        rows = [
            [
                Cell(part.name, part.describes),
                wording.count(part.rows),
                _gain(result, found[0]) if found else wording.NO_VALUE,
                wording.verdict_word(result, found[0]) if found else part.note,
            ]
            for part in result.slices
            for found in [wording.like(part.comparisons, step)]
        ]
        title = f"{step.from_} {wording.ARROW} {step.to}"
        blocks.append(Table(title, ["slice", "rows", f"gain in {label}", "verdict"], rows))
    every: list[list[str | Cell]] = [
        [Cell(part.name, part.note), wording.count(part.rows), *_of_slice(result, part, names)]
        for part in result.slices
    ]
    table = Table(f"{label} of each level on each slice", ["slice", "rows", *names], every)
    return [*blocks, table, Text(wording.survivors(result))]


def _of_slice(
    result: BacktestResult, part: SliceResult, names: Sequence[str]
) -> Iterator[str | Cell]:
    level_of = {level.name: level for level in part.levels}
    for name in names:
        level = level_of.get(name)
        yield wording.NO_VALUE if level is None else _value(result, level, result.headline)


def _folded(result: BacktestResult) -> list[Block]:
    """The headline of each fold of a rolling origin."""
    label, places = wording.metric_label(result.headline), wording.places(result, result.headline)
    names = [level.name for level in result.levels]
    rows = [
        [
            fold.split[:10],
            wording.count(fold.train_rows),
            wording.count(fold.test_rows),
            *(
                wording.number(fold.values[name].get(result.headline, math.nan), places)
                for name in names
            ),
        ]
        for fold in result.folds
    ]
    text = (
        "Each fold was trained separately, on the data known at its split; the values of one fold "
        "have no interval. All other numbers are of the test rows of all folds together."
    )
    headings = ("split", "training rows", "test rows", *names)
    return [Text(text), Table(f"{label} of each fold", headings, rows)] if rows else []


def _split(result: BacktestResult) -> list[list[str | Cell]]:
    split, rate = result.split, result.positive_rate
    return [
        [f"training, from {split.train_start[:10]}", wording.count(split.train_rows)],
        [
            f"test, {split.split[:10]} to {split.test_end[:10]}",
            Cell(
                wording.count(split.test_rows),
                "" if rate is None else f"{wording.share(rate)} positive",
            ),
        ],
    ]


def _timestamps(result: BacktestResult) -> list[Block]:
    """The resolution of each source's timestamps, and what they cannot show."""
    rows: list[list[str | Cell]] = [
        [
            source.source,
            source.column,
            resolution_words.periods(source),
            "by a column"
            if source.known_after_seconds is None
            else f"{wording.duration(source.known_after_seconds)} after it",
        ]
        for source in result.resolutions
    ]
    headings = ("source", "timestamp", "resolution", "known")
    table = Table("The resolution of each source's timestamps, by period", headings, rows)
    return [Bullets(resolution_words.lines(result)), table] if rows else []


def _age(level: LevelResult) -> str:
    return "" if level.age_seconds is None else wording.duration(level.age_seconds)


def _chip(result: BacktestResult, step: Comparison) -> str | Cell:
    word = wording.verdict_word(result, step)
    return Cell(word, chip=_CHIPS.get(step.verdict, "chip")) if word else ""


def _value(result: BacktestResult, level: LevelResult, metric: str) -> str | Cell:
    """A level's value of a metric, with its interval below it."""
    if metric not in level.metrics:
        return wording.NO_VALUE
    value, places = level.metrics[metric], wording.places(result, metric)
    return Cell(
        wording.number(value.value, places), wording.interval(value.low, value.high, places)
    )


def _gain(result: BacktestResult, step: Comparison | None) -> str | Cell:
    """The gain of a step, with its interval below it."""
    if step is None:
        return wording.NO_VALUE
    places = wording.places(result, step.metric)
    return Cell(
        wording.number(step.delta, places, signed=True),
        wording.interval(step.low, step.high, places),
    )
