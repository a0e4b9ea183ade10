"""`headwater assess --scratch`: where a team without a model begins; questions at a terminal,
options for scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import evaluation_options, options
from headwater.cli.command import Arguments, option, section, switch
from headwater.cli.screen import Screen
from headwater.errors import DefinitionError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.assessing.scratch import ScratchAssessment

_QUESTIONS = {
    "deadline": (
        "--deadline",
        "How long may a prediction take after it is asked for? Such as 200ms, 5m or 8h",
    ),
    "known_before": (
        "--known-before",
        (
            "How long before is it known whom or what it is about? Such as 1d; 0s if only the "
            "request says"
        ),
    ),
    "listable": (
        "--listable",
        "Can everything that may be asked about be listed ahead, such as all users? yes or no",
    ),
    "outcome_after": (
        "--outcome-after",
        "How long after the request is its outcome known? Such as 2h or 30d",
    ),
    "event_names": (
        "--event-names",
        (
            "Which events happen to the one who is asked about? Names with commas, such as "
            "logins,payments"
        ),
    ),
}

OPTIONS = section(
    "From scratch, without a model",
    [
        switch(
            "--scratch",
            help=(
                "say where to begin without a model and without data: what to build, what to log, "
                "which experiment to plan"
            ),
        ),
        option(
            "--deadline",
            metavar="DURATION",
            help="how long after it is asked for a prediction is still of use",
        ),
        option(
            "--known-before",
            metavar="DURATION",
            help="how long before that it is known whom it is about (0s: only the request says)",
        ),
        option(
            "--listable",
            metavar="yes|no",
            help="whether everything that may be asked about can be listed ahead",
        ),
        option(
            "--outcome-after",
            metavar="DURATION",
            help="how long after the request its outcome is known",
        ),
        option(
            "--event-names",
            metavar="NAMES",
            help="events that happen to the one who is asked about, with commas",
        ),
        option(
            "--key-column",
            metavar="COLUMN",
            default="user_id",
            help="what identifies that one (default: {default})",
        ),
    ],
)


def scratch(args: Arguments, screen: Screen) -> None:
    """Ask for missing answers, print where to begin, and write the page."""
    from headwater.assessing.questions import with_effects
    from headwater.assessing.scratch import assess_scratch

    page = options.output(args.output or "assess.html", "--output")
    answers = _answers(args, screen)
    effects = {} if args.network is None else with_effects(None, args.network).effects
    assessment = assess_scratch(
        deadline=answers["deadline"],
        known_before=answers["known_before"],
        listable=answers["listable"] == "yes",
        outcome_after=answers["outcome_after"],
        events=answers["event_names"].split(","),
        key=args.key_column,
        value=None if args.value is None else evaluation_options.parse_value(args.value),
        effects=effects,
    )
    assessment.write_html(page)
    if args.markdown is not None:
        options.output(args.markdown, "--markdown").write_text(
            assessment.to_markdown(), encoding="utf-8"
        )
    screen.show(table(assessment), {**assessment.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")
    screen.next("headwater", "assess", "interview")


def table(assessment: ScratchAssessment) -> RenderableType:
    """The first line and the sections, for a terminal."""
    from headwater.reports import answers_page
    from headwater.reports.scratch_page import to_sections

    return answers_page.to_table(assessment.first_line, to_sections(assessment))


def _answers(args: Arguments, screen: Screen) -> dict[str, str]:
    """The answers of options, else of the terminal; without a terminal, all that are missing are
    named together.
    """
    flags: dict[str, str | None] = {name: getattr(args, name) for name in _QUESTIONS}
    missing = [flag for name, (flag, _) in _QUESTIONS.items() if flags[name] is None]
    if missing and not screen.asks:
        raise UsageError(f"--scratch: no terminal to answer questions; give {', '.join(missing)}")
    answers = {}
    for name, (flag, question) in _QUESTIONS.items():
        value = flags[name]
        if value is not None:
            _check(name, value, flag)
        answers[name] = _ask(name, flag, question, screen) if value is None else value.strip()
    return answers


def _ask(name: str, flag: str, question: str, screen: Screen) -> str:
    while True:
        line = screen.ask(question)
        if not line:
            raise UsageError(f"give {flag}")
        try:
            _check(name, line.strip(), flag)
        except (UsageError, DefinitionError) as error:
            screen.refuse(str(error))
            continue
        return line.strip()


def _check(name: str, answer: str, flag: str) -> None:
    """Refuse an answer that cannot be."""
    from headwater.definitions.checks import micros

    if name == "listable":
        if answer not in ("yes", "no"):
            raise UsageError(f"{flag} is {answer!r}; answer yes or no")
    elif name == "event_names":
        if not any(event.strip() for event in answer.split(",")):
            raise UsageError(f"{flag} is empty; name events, such as logins,payments")
    else:
        micros(answer, flag)
