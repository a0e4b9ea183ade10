"""`headwater assess` without an action: the whole assessment on one page; and `headwater assess interview`, before there is any data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, option, section, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.assessing.assessment import Assessment
    from headwater.assessing.readiness import Places


def whole(args: Arguments, screen: Screen, places: Places) -> None:
    """Join everything, print the verdict and write the page."""
    from headwater.assessing.assess import assess
    from headwater.assessing.questions import read_answers

    page = options.output(args.output or "assess.html", "--output")
    markdown = None if args.markdown is None else options.output(args.markdown, "--markdown")
    loaded = load(args.project)
    answers = None if args.answers is None else read_answers(Path(args.answers))
    effects = None if args.network is None else [name.strip() for name in args.network.split(",")]
    with screen.progress() as tick:
        assessment = assess(
            loaded.project,
            args.model,
            backtest=args.backtest,
            attribute=not args.no_attribution,
            split=args.split,
            seeds=args.seeds,
            min_lift=args.min_lift,
            folder=options.data_dir(args),
            prices=args.prices,
            places=places,
            answers=answers,
            worth=args.worth,
            network=effects,
            progress=tick or False,
        )
    assessment.write_html(page)
    if markdown is not None:
        markdown.write_text(assessment.to_markdown(), encoding="utf-8")
    screen.show(table(assessment), {**assessment.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")
    if answers is None:
        screen.next("headwater", "assess", "readiness", "--project", args.project, "--write-questions", "questions.toml")


def table(assessment: Assessment) -> RenderableType:
    """The verdict, its rules, the stages and what would change it."""
    from rich.console import Group

    from headwater.reports import assessment_sections as parts
    from headwater.reports.terminal import Shown, ShownTable

    stages = [[f"{s.transition}: {s.name}", s.gives, parts.money(s.costs), s.state, s.blocker, s.remedy] for s in assessment.plan.stages]
    changed = [[change.input, change.now, change.threshold, change.then] for change in assessment.changes]
    return Group(
        Shown(parts.headline(assessment), "bold"),
        Shown(assessment.verdict),
        *(Shown(f"- {line}", "dim") for line in parts.why(assessment)),
        Shown(""),
        ShownTable("The plan", ("transition: what", "gives", "a day", "state", "in the way", "remedy"), stages),
        Shown(assessment.plan.note, "dim"),
        Shown(""),
        ShownTable("What would change it", ("input", "now", "tips at", "then"), changed),
        Shown(""),
        Shown(f"What would tell in production: {assessment.network.experiment}."),
    )


def interview(args: Arguments, screen: Screen) -> None:
    """Ask the questions, or read the answers, and draft a features.py."""
    from headwater.init.draft import draft
    from headwater.init.interview import asked, read, write_questions

    if args.write_questions is not None:
        write_questions(Path(args.write_questions))
        screen.show_json({"questions": args.write_questions})
        screen.next("headwater", "assess", "interview", "--answers", args.write_questions)
        return
    path = Path(args.output or "features.py")
    if path.exists():
        raise UsageError(f"{path} exists; give another --output")
    if args.answers is None and not sys.stdin.isatty():
        raise UsageError(
            "no terminal to answer questions; write them with --write-questions interview.toml, and pass the answered file as --answers"
        )
    answers = asked(_ask) if args.answers is None else read(Path(args.answers))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draft(answers), encoding="utf-8")
    views = load(str(path)).project.views
    screen.show_json({"project": str(path), "views": {view.name: str(view.freshness) for view in views}})
    screen.say(f"wrote {path}: {len(views)} views from {len(answers.looks)} signals. Its comments name the answer behind each line")
    screen.next("headwater", "backtest", "--project", str(path))


def _ask(question: str) -> str:
    """The answer to a question, from the terminal."""
    print(question, end="\n> ", file=sys.stderr, flush=True)
    return sys.stdin.readline()


OPTIONS = section(
    "Everything on one page",
    [
        option("--backtest", metavar="FILE", help="what `headwater backtest --json` printed (default: run one here)"),
        option("--split", metavar="TIME", help="of a backtest that is run here: train before it, test after it"),
        option("--seeds", metavar="N", type=int, default=1, help="of a backtest that is run here: train each level N times"),
        option("--min-lift", metavar="GAIN", type=float, help="the least gain in the headline metric that is worth having"),
        switch("--no-attribution", help="do not find which views earn"),
        option("--worth", metavar="MONEY", type=float, help="what 0.01 of the headline metric is worth a day"),
        option(
            "--network", metavar="EFFECTS", help="of adversaries, feedback and supply those that the task has, with commas; none for none"
        ),
        option("--output", metavar="FILE", help="where the page goes (default: assess.html)"),
        option("--markdown", metavar="FILE", help="write it as Markdown too"),
    ],
)
INTERVIEW = [
    option("--write-questions", metavar="FILE", help="write the questions into a file, and stop"),
    option("--answers", metavar="FILE", help="the answered file of questions"),
    option("--output", metavar="FILE", help="the file to write (default: features.py)"),
    *options.as_json(),
]
