"""Choose the kind of an experiment from four questions, and see why the others mislead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Positional, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from headwater.experiments.experiment_adviser import AdviserAnswers
    from headwater.results.planned_experiment import ExperimentAdvice

_WORDS = {"yes": True, "no": False}


def run(args: Arguments, screen: Screen) -> None:
    """Answers by flags, the answers file and definitions; the rest is asked at a terminal."""
    from headwater.experiments.experiment_adviser import AdviserAnswers, advise, questions

    by_question: dict[str, bool | int | None] = {}
    if args.answers is not None:
        from pathlib import Path

        from headwater.assessing.questions import read_answers

        by_question |= dict(read_answers(Path(args.answers)).effects.items())
    flags = {
        "supply": args.supply,
        "adversaries": args.adversaries,
        "feedback": args.feedback,
        "carry_over": args.carry_over,
    }
    by_question |= {name: _answer(name, text) for name, text in flags.items() if text is not None}
    answers = AdviserAnswers(**by_question)  # type: ignore[arg-type]  # checked by name
    if args.name:
        answers = answers.of(load(args.project).project.experiment(args.name))
    advice = advise(answers)
    if advice.unanswered and screen.asks and not args.json:
        answers = _ask(answers, questions(), screen)
        advice = advise(answers)
    screen.show(_table(advice), advice.to_dict())
    if not advice.kind:
        screen.say(
            "answer with --supply, --adversaries, --feedback (yes or no) and --carry-over (no, or "
            "a duration such as 3h)"
        )
    world = {"switchback": "shared-supply", "cluster": "adaptive-fraud"}.get(
        advice.kind, "recommender-loop"
    )
    if args.name and advice.kind:
        screen.next("headwater", "experiment", "plan", args.name, "--project", args.project)
    else:
        screen.next("headwater", "experiment", "simulate", world)


def _answer(name: str, text: str) -> bool | int:
    """The answer of a flag, or typed at the prompt."""
    from headwater.definitions.checks import micros

    if name == "carry_over":
        return 0 if text == "no" else micros(text, "--carry-over")
    if text not in _WORDS:
        raise UsageError(f"--{name} is {text!r}; give yes or no")
    return _WORDS[text]


def _ask(answers: AdviserAnswers, questions: Mapping[str, str], screen: Screen) -> AdviserAnswers:
    """With the answers from the prompt; an empty line leaves a question open."""
    from dataclasses import replace

    for name, question in questions.items():
        if getattr(answers, name) is not None:
            continue
        text = (
            screen.ask(
                f"{question} [{'no, or a duration' if name == 'carry_over' else 'yes or no'}]"
            )
            .strip()
            .lower()
        )
        if text:
            answers = replace(answers, **{name: _answer(name, text)})  # type: ignore[arg-type]  # checked by name
    return answers


def _table(advice: ExperimentAdvice) -> RenderableType:
    from headwater.results.experiment_result import KIND_NAMES
    from headwater.terminal.layout import Shown

    head = f"{advice.written}: {advice.why}" if advice.kind else f"not known yet: {advice.why}"
    lines = [head, *(f"  {n}. {step}" for n, step in enumerate(advice.steps, 1))]
    lines += [f"{KIND_NAMES[kind]} misleads: {why}" for kind, why in advice.misleading.items()]
    lines += [f"not answered: {question}" for question in advice.unanswered]
    return Shown("\n".join(lines))


COMMAND = Verb(
    run,
    [
        Positional(
            "name",
            metavar="[NAME]",
            required=False,
            help="of an experiment, whose definitions answer what they can",
        ),
        *options.project(model=False),
        option(
            "--supply",
            metavar="yes|no",
            help="whether units share something scarce: supply, stock, slots, a price",
        ),
        option("--adversaries", metavar="yes|no", help="whether people adapt to the predictions"),
        option(
            "--feedback",
            metavar="yes|no",
            help="whether the model trains on what its own answers caused, such as clicks",
        ),
        option(
            "--carry-over",
            metavar="no|DURATION",
            help="how long what one arm did still acts after a change, such as 3h",
        ),
        option("--answers", metavar="FILE", help="answers of `headwater assess --write-questions`"),
        *options.as_json(),
    ],
    help=(
        "Choose the kind of an experiment from four questions, and see why the others mislead. At "
        "a terminal, open questions are asked."
    ),
    summary="which kind fits, and why the others mislead",
    examples=[
        "headwater experiment advise",
        "headwater experiment advise --supply yes --adversaries no",
    ],
)
