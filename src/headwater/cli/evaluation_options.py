"""Options of `backtest` and `assess` on how a model is judged; they take precedence over the
project's evaluation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headwater.cli.command import Arguments, option, section, several, switch
from headwater.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headwater.cli.projects import LoadedProject
    from headwater.definitions.evaluations import Acknowledgement, DecisionValue, Evaluation, Refits
    from headwater.definitions.model import Model
    from headwater.definitions.project import Project

_VALUE = ("volume", "acted_on", "hit", "false_alarm", "late")
_COSTS = ("true_positive", "false_positive", "true_negative", "false_negative")

FLAGS = section(
    "How it is judged",
    [
        option(
            "--baseline",
            metavar="LEVEL",
            help=(
                "the level that serves today, against which fresher ones are judged; `nothing` if "
                "none does (default: the project's, else nothing: the stalest level)"
            ),
        ),
        option(
            "--metrics",
            metavar="NAMES",
            help=(
                "metrics, with commas, such as average_precision,precision@1%,auc (default: the "
                "project's, else the task's)"
            ),
        ),
        option(
            "--headline",
            metavar="METRIC",
            help="the metric of the recommendation, such as average_precision",
        ),
        option(
            "--value",
            metavar="NUMBERS",
            help=(
                "what a prediction is worth: volume=10000,acted_on=0.02,hit=100,false_alarm=5 (a "
                "day, share, money, money)"
            ),
        ),
        option(
            "--costs",
            metavar="COSTS",
            help=(
                "what errors cost, in money or columns of the labels: "
                "false_positive=5,false_negative=amount"
            ),
        ),
        option(
            "--refits",
            metavar="N",
            type=int,
            help=(
                "train each level again on N random halves of the training days, so that "
                "intervals cover the training procedure; 0: train once, and intervals cover the "
                "fitted models only (default: the project's, else 4)"
            ),
        ),
        option(
            "--tune", metavar="N", type=int, help="try N settings of the estimator at each level"
        ),
        option(
            "--blocks",
            metavar="BLOCKS",
            help=(
                "unit of resampling for intervals: a length of time such as 7d, or a column of "
                "the labels"
            ),
        ),
        option(
            "--adversaries",
            metavar="yes|no",
            help=(
                "whether people change their behaviour because of the predictions, as attackers do"
            ),
        ),
        option(
            "--delay-by-outcome",
            metavar="yes|no",
            help=(
                "whether one outcome becomes known later than the other, as a fraud does by a "
                "chargeback"
            ),
        ),
        switch(
            "--yes",
            help=(
                "ask nothing before the backtest; a terminal is asked what serves today, for "
                "adversaries and for label delay"
            ),
        ),
        option(
            "--cold-start",
            metavar="N",
            type=int,
            help="a request is cold if its key had fewer than N events in 30 days (default: 10)",
        ),
        several(
            "--acknowledge",
            metavar="'CHECK | SUBJECT | REASON | AUTHOR'",
            help=(
                "the answer to a question of the audit, in addition to the project's: every page "
                "shows it. It never lifts a LEAK"
            ),
        ),
    ],
)


def with_options(evaluation: Evaluation, args: Arguments) -> Evaluation:
    """The evaluation with the options that were given.

    Raises:
        UsageError: an option has a value that cannot be.
    """
    fields: dict[str, object] = {
        "split": args.split,
        "min_lift": args.min_lift,
        "refits": _refits(evaluation, args),
        "seed": args.seed,
        "metrics": None
        if args.metrics is None
        else [name.strip() for name in args.metrics.split(",")],
        "headline": args.headline,
        "value": None if args.value is None else parse_value(args.value),
        "costs": None if args.costs is None else parse_costs(args.costs),
        "tune": args.tune,
        "blocks": args.blocks,
        "cold_start": args.cold_start,
        "adversaries": _yes(args.adversaries, "--adversaries"),
        "delay_by_outcome": _yes(args.delay_by_outcome, "--delay-by-outcome"),
        "baseline": args.baseline if args.baseline != "nothing" else None,
    }
    changed = replace(
        evaluation,
        **{name: value for name, value in fields.items() if value is not None},  # type: ignore[arg-type]
    )
    if args.acknowledge:
        changed = replace(
            changed,
            acknowledged=[*changed.acknowledged, *map(parse_acknowledgement, args.acknowledge)],
        )
    return replace(changed, baseline=None) if args.baseline == "nothing" else changed


def check_metrics(args: Arguments) -> None:
    """Refuse metrics that no task has, before a model is chosen.

    Raises:
        UsageError: there is one, with the nearest known name.
    """
    if args.metrics is not None:
        from headwater.metrics import check_known

        check_known([name.strip() for name in args.metrics.split(",")])


def _yes(answer: str | None, flag: str) -> bool | None:
    if answer not in ("yes", "no", None):
        raise UsageError(f"{flag} {answer}: give yes or no")
    return None if answer is None else answer == "yes"


def _refits(evaluation: Evaluation, args: Arguments) -> Refits | None:
    """The evaluation's refits, changed by options; None without an option."""
    if args.refits is None and args.seeds is None:
        return None
    from headwater.definitions.evaluations import as_refits

    refits = as_refits(evaluation.refits if args.refits is None else args.refits)
    return refits if args.seeds is None else replace(refits, seeds=args.seeds)


def evaluation(args: Arguments, project: Project | None) -> Evaluation:
    """How the project's models are judged, or the defaults without a project; options that were
    given take precedence.
    """
    from headwater.definitions.evaluations import Evaluation

    return with_options((project.evaluation if project is not None else None) or Evaluation(), args)


def parse_acknowledgement(text: str) -> Acknowledgement:
    """An acknowledgement, as an option gives it.

    Raises:
        UsageError: it has not four parts.

    >>> parse_acknowledgement("own outcome | trips | booked before the trip | ana").author
    'ana'
    """
    from headwater.definitions.evaluations import Acknowledgement

    parts = [field.strip() for field in text.split("|")]
    if len(parts) != 4:
        raise UsageError(
            f"--acknowledge {text!r}: give 'CHECK | SUBJECT | REASON | AUTHOR', as the audit "
            "prints check and subject"
        )
    return Acknowledgement(*parts)


def check_acknowledged(
    evaluation: Evaluation, args: Arguments, loaded: LoadedProject, model: Model
) -> Evaluation:
    """The evaluation without acknowledgements of the project's other models.

    Raises:
        UsageError: one that can answer no finding, by its check or by what it is of, before
            anything is trained.
    """
    if not evaluation.acknowledged:
        return evaluation
    from headwater.backtesting.audit import CHECKS
    from headwater.backtesting.audit.acknowledgements import cannot_match, refuse_unknown_check

    levels, count = loaded.levels(), len(args.acknowledge or ())
    first_given, acknowledged = len(evaluation.acknowledged) - count, []
    for at, acknowledgement in enumerate(evaluation.acknowledged):
        refuse_unknown_check(acknowledgement, CHECKS)
        why = cannot_match(acknowledgement, model, levels)
        elsewhere = at < first_given and any(
            not cannot_match(acknowledgement, other, levels) for other in loaded.project.models
        )
        if why and not elsewhere:
            raise UsageError(
                f"acknowledged {acknowledgement.check!r} of {acknowledgement.subject!r}: {why}"
            )
        acknowledged += [] if why else [acknowledgement]
    return replace(evaluation, acknowledged=acknowledged)


def parse_value(text: str) -> DecisionValue:
    """The worth of a decision, as an option gives it.

    Raises:
        UsageError: a name or a number that cannot be, or a number that is lacking.

    >>> parse_value("volume=10000, acted_on=0.02, hit=100").metric
    'precision@2%'
    """
    from headwater.definitions.evaluations import DecisionValue

    numbers = {
        name: _number(name, value) for name, value in _pairs(text, "--value", _VALUE).items()
    }
    for name in ("volume", "acted_on", "hit"):
        if name not in numbers:
            raise UsageError(
                f"--value {text}: {name} is lacking; give volume=, acted_on= and hit=, such as "
                "volume=10000,acted_on=0.02,hit=100"
            )
    volume, acted_on, hit = (numbers[name] for name in ("volume", "acted_on", "hit"))
    return DecisionValue(
        volume, acted_on, hit, numbers.get("false_alarm", 0.0), numbers.get("late", 0.0)
    )


def parse_costs(text: str) -> Mapping[str, float | str]:
    """The costs of errors, as an option gives them: numbers, or columns of the labels.

    >>> parse_costs("false_positive=5,false_negative=amount")
    {'false_positive': 5.0, 'false_negative': 'amount'}
    """
    return {name: _number_or_name(value) for name, value in _pairs(text, "--costs", _COSTS).items()}


def _pairs(text: str, flag: str, names: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for pair in text.split(","):
        name, equals, value = (field.strip() for field in pair.partition("="))
        if not equals or not value:
            raise UsageError(
                f"{flag} {text}: {pair.strip()!r} is not NAME=VALUE; names are {', '.join(names)}"
            )
        if name not in names:
            raise UsageError(f"{flag} {text}: {nearest(name, names)}")
        pairs[name] = value
    return pairs


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--value: {name} is {text!r}; give a number") from None


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
