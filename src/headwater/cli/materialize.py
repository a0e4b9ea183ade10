"""Compute batch views, and precomputed predictions, up to their last cut; from cron or Airflow, or
continuously with --watch.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options, precompute
from headwater.cli.command import Arguments, Positional, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped, stopped_where
from headwater.errors import HeadwaterError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from headwater.definitions.project import Project
    from headwater.jobs.materialize import Materialized
    from headwater.stores import OnlineStore


def run(args: Arguments, screen: Screen) -> None:
    """Compute every view, or the predictions of a model, up to the last cut."""
    project = load(args.project).project
    if args.all:
        _everything(project, args, screen)
        return
    at = options.timestamp(args.at, "--at")
    model = precompute.model(project, args)
    if model is not None:
        precompute.run(project, model, args, screen, at)
        return
    from headwater.stores.keyspace import opened_for

    with (
        opened_for(project.name, args.store, write=True, shared=args.allow_shared_store) as store,
        stopped_where(watching=args.watch) as stop,
    ):
        if args.full_refresh:
            _forget(project, args, store)
        _once(project, args, screen, store, at)
        while args.watch and not stop.is_set():
            _wait(project, args, stop)
            if not stop.is_set():
                _once(project, args, screen, store, None)
        from headwater.monitoring.unfilled import unfilled

        following = "ingest" if unfilled(project, store) else "parity"
    screen.next("headwater", following, "--project", args.project, *options.same_store(args))


def _everything(project: Project, args: Arguments, screen: Screen) -> None:
    """Run every job that is due, until stopped."""
    from headwater.catalog.applies_watched import applies_watched
    from headwater.definitions.freshness import Batch
    from headwater.jobs.materialize import Materialized
    from headwater.jobs.schedule import schedule
    from headwater.stores.keyspace import opened_for

    misplaced = [flag for flag in precompute.model_options(args) if flag != "--models"]
    if args.names or not args.watch or args.full_refresh or args.at or misplaced:
        raise UsageError(
            "--all needs --watch, and takes no names or options of a single view or model"
        )
    from headwater.serving.metrics.ingest_metrics import JobMetrics
    from headwater.serving.metrics.process_metrics import families

    metrics = JobMetrics()
    if args.supervised is not None:
        args.supervised.report(lambda: families(metrics.registry.collect()))
    with (
        opened_for(project.name, args.store, write=True, shared=args.allow_shared_store) as store,
        stopped() as stop,
        applies_watched(project, None, Batch.wrote, "compute"),
    ):
        for done in schedule(
            project,
            store,
            models=args.models,
            resources=options.resources(args),
            allow_pickle=args.allow_pickle,
            stop=stop,
        ):
            metrics.done(done)
            if done.error is not None:
                kind = (
                    ""
                    if isinstance(done.error, HeadwaterError)
                    else f"{type(done.error).__name__}: "
                )
                screen.error(f"{done.name}: {kind}{done.error}; retry in {done.again:.0f} s")
            elif isinstance(done.outcome, Materialized):
                _record_times(args, [done.outcome], screen)
                screen.show(_table([done.outcome]), {"views": [_record(done.outcome)]})
                screen.left_out(done.outcome.left_out)
            elif done.outcome is not None:
                precompute.show(done.outcome, screen)
    screen.say("stopped")


def _forget(project: Project, args: Arguments, store: OnlineStore) -> None:
    from headwater.jobs.drop_view import forget_view
    from headwater.jobs.materialize import batch_views

    if not args.names:
        raise UsageError("--full-refresh needs the names of the views to compute again")
    for stored_view in batch_views(project, args.names):
        forget_view(stored_view.view, store)


def _wait(project: Project, args: Arguments, stop: threading.Event) -> None:
    from headwater.jobs.materialize import batch_views, next_due

    options.wait_until(
        next_due(
            [stored_view.view for stored_view in batch_views(project, args.names)],
            clock.now_micros(),
        ),
        stop,
    )


def _once(
    project: Project, args: Arguments, screen: Screen, store: OnlineStore, at: datetime | None
) -> None:
    from headwater.jobs.materialize import materialize

    with screen.progress() as on_progress:
        results = materialize(
            project, args.names, store=store, at=at, resources=options.resources(args, on_progress)
        )
    _record_times(args, results, screen)
    screen.show(_table(results), {"views": [_record(m) for m in results]})
    for result in results:
        screen.left_out(result.left_out)
        if not (result.done_before or result.events or result.keys):
            screen.say(
                f"{result.view}: no key was written: no event lies within the view's longest "
                f"window before the cut {_timestamp(result.cut.T)}. All are older, or known "
                "later; --at TIME makes the state of an earlier time in another --store"
            )


def _record_times(args: Arguments, results: list[Materialized], screen: Screen) -> None:
    """Keep how long the runs took, for `headwater assess cost`; a folder that cannot be written is
    not a reason to fail.
    """
    from headwater.jobs.run_times import record

    try:
        record(options.data_dir(args), results)
    except OSError as error:
        screen.warning(f"the times of runs are not kept: {error}")


def _record(result: Materialized) -> dict[str, object]:
    before = None if result.before is None or result.done_before else _timestamp(result.before.T)
    return {
        "view": result.view,
        "cut": _timestamp(result.cut.T),
        "known_until": _timestamp(result.cut.K),
        "cut_before": before,
        "events_added": result.events,
        "keys_written": result.keys,
        "left_out": result.left_out,
        "cpu_seconds": result.cpu_seconds,
        "was_there": result.done_before,
    }


def _timestamp(micros: int) -> str:
    return clock.timestamp(micros).isoformat()


def _table(results: list[Materialized]) -> RenderableType:
    from headwater.terminal.layout import ShownTable
    from headwater.terminal.text import moment

    rows = []
    for result in results:
        before = None if result.before is None or result.done_before else result.before
        events = "was there" if result.done_before else f"{result.events:,}"
        cuts = [
            "-" if cut is None else moment(clock.timestamp(cut.T)) for cut in (result.cut, before)
        ]
        rows.append([result.view, *cuts, events, "" if result.done_before else f"{result.keys:,}"])
    return ShownTable("", ["view", "cut", "before", "events added", "keys written"], rows)


COMMAND = Verb(
    run,
    [
        Positional(
            "names",
            metavar="NAME",
            nargs=-1,
            help="batch views, or a model with precomputed predictions (default: all batch views)",
        ),
        *options.project(model=False),
        *options.store(),
        *options.shared_store(),
        *options.memory(),
        option(
            "--at",
            metavar="TIME",
            help="the time of the job: ISO 8601 with an offset (default: now)",
        ),
        switch("--watch", help="keep running, and compute every cut when it is due"),
        switch(
            "--full-refresh",
            help=(
                "first remove these views from the store; they cannot be read until they are "
                "computed"
            ),
        ),
        switch(
            "--all",
            help=(
                "with --watch: every batch view, and the predictions of every model with "
                "precomputed ones; failed jobs are retried"
            ),
        ),
        *precompute.OPTIONS,
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater materialize", "headwater materialize --watch"],
)
