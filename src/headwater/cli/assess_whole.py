"""`headwater assess` without an action: the whole assessment on one page; and `headwater assess
interview`, before there is any data.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import evaluation_options, options, questions_before
from headwater.cli.command import Arguments, option, section, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError
from headwater.terminal.text import number_of

if TYPE_CHECKING:
    from headwater.assessing.locations import Locations


def whole(args: Arguments, screen: Screen, locations: Locations) -> None:
    """Join everything, print the verdict and write the page."""
    from headwater.assessing.assess import assess
    from headwater.assessing.questions import read_answers, with_effects
    from headwater.pages.page_forms import to_terminal
    from headwater.training.progress import BACKTEST

    page = options.output(args.output or "assess.html", "--output")
    markdown = None if args.markdown is None else options.output(args.markdown, "--markdown")
    loaded = load(args.project)
    answers = None if args.answers is None else read_answers(Path(args.answers))
    if args.network is not None:
        answers = with_effects(answers, args.network)
    evaluation = evaluation_options.evaluation(args, loaded.project)
    evaluation = evaluation_options.check_acknowledged(
        evaluation, args, loaded, loaded.project.model(args.model)
    )
    if args.no_attribution:
        evaluation = replace(evaluation, attribute=False)
    if args.backtest is None:
        answer = None if answers is None else answers.effects.get("adversaries")
        if evaluation.adversaries is None:
            evaluation = replace(evaluation, adversaries=answer)
        evaluation = questions_before.ask(args, screen, evaluation, list(loaded.levels()))
    with screen.progress(BACKTEST) as on_progress:
        assessment = assess(
            loaded.project,
            args.model,
            backtest=args.backtest,
            evaluation=evaluation,
            locations=locations,
            answers=answers,
            resources=options.resources(args, on_progress),
        )
    assessment.write_html(page)
    if markdown is not None:
        markdown.write_text(assessment.to_markdown(), encoding="utf-8")
    screen.show(to_terminal(assessment.page()), {**assessment.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")
    if answers is None:
        screen.next(
            "headwater",
            "assess",
            "readiness",
            "--project",
            args.project,
            "--write-questions",
            "questions.toml",
        )


def interview(args: Arguments, screen: Screen) -> None:
    """Ask the questions, or read the answers, and draft a features.py."""
    from headwater.assessing.network import network
    from headwater.init.draft import draft
    from headwater.init.interview import ask_all, read, write_questions

    if args.write_questions is not None:
        write_questions(Path(args.write_questions))
        screen.show_json({"questions": args.write_questions})
        screen.next("headwater", "assess", "interview", "--answers", args.write_questions)
        return
    path = Path(args.output or "features.py")
    if path.exists():
        raise UsageError(f"{path} exists; give another --output")
    if args.answers is None and not screen.asks:
        raise UsageError(
            "no terminal to answer questions; write them with --write-questions interview.toml, "
            "and pass the answered file as --answers"
        )
    answers = ask_all(screen.ask) if args.answers is None else read(Path(args.answers))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draft(answers), encoding="utf-8")
    views = load(str(path)).project.all_views
    screen.show_json(
        {"project": str(path), "views": {view.name: str(view.freshness) for view in views}}
    )
    screen.say(
        f"wrote {path}: {number_of(len(views), 'view')} from "
        f"{number_of(len(answers.looks), 'signal')}. Its comments name the answer behind each line"
    )
    experiment = network(answers.effects)
    screen.say(f"experiment after the backtest: {experiment.experiment}")
    if not experiment.unanswered:
        screen.say(
            "answers on network effects, for headwater assess: --network "
            f"{','.join(n for n, yes in answers.effects.items() if yes) or 'none'}"
        )
    screen.next("headwater", "backtest", "--project", str(path))


OPTIONS = section(
    "Everything on one page",
    [
        option(
            "--backtest",
            metavar="FILE",
            help="what `headwater backtest --json` printed (default: run one here)",
        ),
        option(
            "--split",
            metavar="TIME",
            help="of a backtest that is run here: train before it, test after it",
        ),
        option(
            "--seeds",
            metavar="N",
            type=int,
            help="of a backtest that is run here: train each level with N seeds",
        ),
        option(
            "--seed",
            metavar="N",
            type=int,
            help="of a backtest that is run here (default: the project's, else 0)",
        ),
        *options.memory(),
        option(
            "--min-lift",
            metavar="GAIN",
            type=float,
            help="the least gain in the headline metric that is worth having",
        ),
        *evaluation_options.FLAGS,
        switch("--no-attribution", help="do not find which views earn"),
        option(
            "--network",
            metavar="EFFECTS",
            help=(
                "answer the three questions on network effects: those of supply, adversaries and "
                "feedback that the task has, with commas; or none"
            ),
        ),
        option(
            "--output",
            metavar="FILE",
            help="where the page goes (default: assess.html)",
        ),
        option("--markdown", metavar="FILE", help="write it as Markdown too"),
    ],
)
INTERVIEW = [
    option("--write-questions", metavar="FILE", help="write the questions into a file, and stop"),
    option("--answers", metavar="FILE", help="the answered file of questions"),
    option("--output", metavar="FILE", help="the file to write (default: features.py)"),
    *options.as_json(),
]
