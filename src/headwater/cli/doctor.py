"""Check whether this machine, its packages, its engine, the project, its store, streams and models
are ready to run. Nothing is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headwater.cli import options
from headwater.cli.command import Arguments, Verb
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import DefinitionError, HeadwaterError

if TYPE_CHECKING:
    from headwater.definitions.project import Project
    from headwater.results.doctor_result import DoctorResult


def run(args: Arguments, screen: Screen) -> None:
    """Check, and print the problems first; the exit code is 1 where something is broken."""
    project, refused = _project(args)
    from headwater.assessing.doctor import doctor
    from headwater.results.doctor_result import Diagnosis

    with screen.working("checking"):
        report = doctor(
            project,
            store=args.store,
            data_dir=options.data_dir(args),
            models=args.models,
            catalog=args.catalog,
        )
    if refused:
        report = msgspec.structs.replace(
            report, checks=[*report.checks, Diagnosis("project", args.project, "broken", refused)]
        )
    _show(report, screen)
    if project is None and not refused:
        screen.say(f"no project file at {args.project}: machine, packages and engine were checked")
        screen.next("headwater", "init", "EVENTS", "LABELS")
    if report.broken:
        raise HeadwaterError(
            f"{len(report.broken)} of {len(report.checks)} checks are broken; first: "
            f"{report.broken[0].evidence}"
        )
    if project is not None:
        screen.next("headwater", "status", "--project", args.project, *options.same_store(args))


def _project(args: Arguments) -> tuple[Project | None, str]:
    """The project, if there is one, and why it cannot be loaded."""
    if not Path(args.project).is_file():
        return None, ""
    try:
        return load(args.project).project, ""
    except DefinitionError as error:
        return None, str(error)


def _show(report: DoctorResult, screen: Screen) -> None:
    from headwater.terminal.layout import ShownTable

    order = ("broken", "warning", "not checked", "ok")
    checks = sorted(report.checks, key=lambda check: order.index(check.health))
    rows = [
        (
            check.health,
            check.part,
            check.name,
            f"{check.evidence}{'; ' * bool(check.remedy)}{check.remedy}",
        )
        for check in checks
    ]
    screen.show(
        ShownTable(str(report), ["", "part", "check", "what was seen, and what to do"], rows),
        report.to_dict(),
    )


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        options.store()[0],
        *options.logs(),
        *options.models(),
        *options.catalog(),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater doctor", "headwater doctor --json"],
)
