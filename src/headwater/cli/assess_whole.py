"""`headwater assess` without a part: everything on one page; and `headwater assess interview`, for when there is no data yet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Given, option, section, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.assessing.assessment import Assessment
    from headwater.assessing.readiness import Places


def whole(given: Given, screen: Screen, places: Places) -> None:
    """Join everything, print the verdict and write the page."""
    from headwater.assessing.assess import assess
    from headwater.assessing.questions import read_answers

    page = options.output(given.output or "assess.html", "--output")
    markdown = None if given.markdown is None else options.output(given.markdown, "--markdown")
    loaded = load(given.project)
    answers = None if given.answers is None else read_answers(Path(given.answers))
    effects = None if given.network is None else [name.strip() for name in given.network.split(",")]
    with screen.progress() as tick:
        found = assess(
            loaded.project,
            given.model,
            backtest=given.backtest,
            attribute=not given.no_attribution,
            split=given.split,
            seeds=given.seeds,
            min_lift=given.min_lift,
            folder=options.data_dir(given),
            prices=given.prices,
            places=places,
            answers=answers,
            worth=given.worth,
            network=effects,
            progress=tick or False,
        )
    found.write_html(page)
    if markdown is not None:
        markdown.write_text(found.to_markdown(), encoding="utf-8")
    screen.show(table(found), {**found.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")
    if answers is None:
        screen.next("headwater", "assess", "readiness", "--project", given.project, "--write-questions", "questions.toml")


def table(found: Assessment) -> RenderableType:
    """The verdict, its rules, the stages and what would change it."""
    from rich.console import Group

    from headwater.reports import assessment_sections as parts
    from headwater.reports.terminal import Shown, ShownTable

    stages = [[f"{s.transition}: {s.name}", s.gives, parts.money(s.costs), s.state, s.blocker, s.remedy] for s in found.plan.stages]
    changed = [[one.input, one.now, one.threshold, one.then] for one in found.changes]
    return Group(
        Shown(parts.headline(found), "bold"),
        Shown(found.verdict),
        *(Shown(f"- {line}", "dim") for line in parts.why(found)),
        Shown(""),
        ShownTable("The plan", ("transition: what", "gives", "a day", "state", "in the way", "remedy"), stages),
        Shown(found.plan.note, "dim"),
        Shown(""),
        ShownTable("What would change it", ("input", "now", "tips at", "then"), changed),
        Shown(""),
        Shown(f"What would tell in production: {found.network.experiment}."),
    )


def interview(given: Given, screen: Screen) -> None:
    """Ask, or read the answers, and draft a features.py."""
    from headwater.init.draft import draft
    from headwater.init.interview import asked, read, write_questions

    if given.write_questions is not None:
        write_questions(Path(given.write_questions))
        screen.show_json({"questions": given.write_questions})
        screen.next("headwater", "assess", "interview", "--answers", given.write_questions)
        return
    place = Path(given.output or "features.py")
    if place.exists():
        raise UsageError(f"{place} exists; give another --output")
    if given.answers is None and not sys.stdin.isatty():
        raise UsageError(
            "nobody sits at a terminal to answer; write the questions with --write-questions interview.toml, and pass them as --answers"
        )
    found = asked(_ask) if given.answers is None else read(Path(given.answers))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(draft(found), encoding="utf-8")
    views = load(str(place)).project.views
    screen.show_json({"project": str(place), "views": {view.name: str(view.freshness) for view in views}})
    screen.say(f"wrote {place}: {len(views)} views from {len(found.looks)} things to look at. Its comments say which answer led to what")
    screen.next("headwater", "backtest", "--project", str(place))


def _ask(question: str) -> str:
    """The answer of whoever sits at the terminal."""
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
    option("--write-questions", metavar="FILE", help="write the questions to answer in peace, and stop"),
    option("--answers", metavar="FILE", help="the answered file of questions"),
    option("--output", metavar="FILE", help="the file to write (default: features.py)"),
    *options.as_json(),
]
