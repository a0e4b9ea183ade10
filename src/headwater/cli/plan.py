"""Show what applying a project would change: definitions added, changed and removed, breaking
changes, and state to recompute.
"""

from __future__ import annotations

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError
from headwater.terminal.text import number_of


def run(args: Arguments, screen: Screen) -> None:
    """Compare and print."""
    project = load(args.project).project
    from headwater.catalog.plan import plan
    from headwater.engine.engines import engine_name
    from headwater.models.registry import ModelRegistry

    planned = plan(
        project,
        args.catalog,
        registry=ModelRegistry(args.models),
        store=args.store,
        memory=args.memory,
    )
    engine = engine_name()
    screen.show(str(planned), {**planned.to_dict(), "engine": engine})
    if engine != "local":
        screen.say(f"engine: {engine} reads histories and computes features")
    reasons = len(planned.refused) + len(planned.protected) + len(planned.rewritten)
    if planned.changes and not reasons:
        breaks = planned.breaks()
        if breaks:
            screen.warning(
                f"models read what changes: {'; '.join(breaks[:3])}. Keep the old view next to "
                "the new one as version=2 (docs/howto_versions.md), or apply it and train these "
                "models again"
            )
        store = options.same_store(args)
        same = [
            "--project",
            args.project,
            *options.same_catalog(args),
            *options.same_models(args),
            *store,
        ]
        screen.next(
            "headwater",
            "apply",
            *same,
            "--expect",
            str(planned.version),
            *(["--allow-breaking"] if breaks else []),
        )
    if args.check and (planned.changes or reasons):
        refused = f", and {reasons} would be refused" if reasons else ""
        raise HeadwaterError(
            f"{args.project} and the catalog differ in "
            f"{number_of(len(planned.changes), 'definition')}{refused}"
        )


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.catalog(),
        *options.models(),
        options.store()[0],
        *options.reads(),
        option(
            "--memory",
            metavar="SIZE",
            help=(
                "memory that the ids of events may need where streams are ingested, such as 4GB; "
                "more is refused (default: no limit)"
            ),
        ),
        switch(
            "--check",
            help="end with 1 where the project differs from the catalog, or would be refused",
        ),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater plan"],
)
