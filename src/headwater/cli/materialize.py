"""Compute batch views, and predictions that are made ahead, up to their last cut; from cron or Airflow, or on its own with --watch."""

from __future__ import annotations

import argparse
import threading
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options, scores
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped, stopped_where
from headwater.errors import HeadwaterError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from headwater.definitions.project import Project
    from headwater.online_stores import OnlineStore
    from headwater.pipelines.materialize import Materialized

SUMMARY = "compute batch views, or a model's predictions, up to their last cut, and publish it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater materialize`."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="batch views, or a model whose predictions are made ahead (default: all batch views)"
    )
    options.project(parser, model=False)
    options.store(parser)
    options.shared_store(parser)
    options.memory(parser)
    parser.add_argument("--at", metavar="TIME", help="the moment of the job: ISO 8601 with an offset (default: now)")
    parser.add_argument("--watch", action="store_true", help="stay, and compute every cut as soon as it can be")
    parser.add_argument(
        "--anew", action="store_true", help="first remove what the store holds of these views, which cannot be read until they are made"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="with --watch: every batch view, and the predictions of every model that are made ahead; what fails is tried again",
    )
    scores.arguments(parser)
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Bring every view, or the predictions of a model, to the last cut."""
    project = load(given.project).project
    if given.all:
        _everything(project, given, screen)
        return
    at = options.moment(given.at, "--at")
    model = scores.model(project, given)
    if model is not None:
        scores.run(project, model, given, screen, at)
        return
    from headwater.online_stores.ownership import opened_for

    with (
        opened_for(project.name, given.store, write=True, shared=given.allow_shared_store) as store,
        stopped_where(watching=given.watch) as stop,
    ):
        if given.anew:
            _forget(project, given, store)
        _once(project, given, screen, store, at)
        while given.watch and not stop.is_set():
            _wait(project, given, stop)
            if not stop.is_set():
                _once(project, given, screen, store, None)
    screen.next("headwater", "parity", "--project", given.project, *options.same_store(given))


def _everything(project: Project, given: argparse.Namespace, screen: Screen) -> None:
    """Make whatever is due, until told to stop."""
    from headwater.online_stores.ownership import opened_for
    from headwater.pipelines.materialize import Materialized
    from headwater.pipelines.schedule import schedule

    other = [one for one in scores.own(given) if one != "--models"]
    if given.names or not given.watch or given.anew or given.at or other:
        raise UsageError("--all goes with --watch, and takes no names, nor what is for one of them alone")
    from headwater.serving.metrics import JobMetrics
    from headwater.serving.process_metrics import families

    metrics = JobMetrics()
    if given.supervised is not None:
        given.supervised.report(lambda: families(metrics.registry.collect()))
    with opened_for(project.name, given.store, write=True, shared=given.allow_shared_store) as store, stopped() as stop:
        for done in schedule(project, store, models=given.models, memory=given.memory, trust=given.trust, stop=stop):
            metrics.done(done)
            if done.error is not None:
                kind = "" if isinstance(done.error, HeadwaterError) else f"{type(done.error).__name__}: "
                screen.error(f"{done.name}: {kind}{done.error}; it is tried again in {done.again:.0f} s")
            elif isinstance(done.made, Materialized):
                screen.show(_table([done.made]), {"views": [_said(done.made)]})
                screen.left_out(done.made.left_out)
            elif done.made is not None:
                scores.show(done.made, screen)
    screen.say("stopped")


def _forget(project: Project, given: argparse.Namespace, store: OnlineStore) -> None:
    from headwater.pipelines.forget import forget_view
    from headwater.pipelines.materialize import batch_views

    if not given.names:
        raise UsageError("--anew takes the names of the views that are to be made anew")
    for one in batch_views(project, given.names):
        forget_view(one.view, store)


def _wait(project: Project, given: argparse.Namespace, stop: threading.Event) -> None:
    from headwater.pipelines.materialize import batch_views, next_due

    options.wait_until(next_due([one.view for one in batch_views(project, given.names)], clock.now_micros()), stop)


def _once(project: Project, given: argparse.Namespace, screen: Screen, store: OnlineStore, at: datetime | None) -> None:
    from headwater.pipelines.materialize import materialize

    with screen.progress() as tick:
        made = materialize(project, given.names, store=store, at=at, memory=given.memory, tick=tick)
    screen.show(_table(made), {"views": [_said(m) for m in made]})
    for one in made:
        screen.left_out(one.left_out)
        if not (one.done_before or one.events or one.keys):
            screen.say(
                f"{one.view}: no key was written: no event lies within the view's longest window before the cut {_moment(one.cut.T)}. All are "
                "older, or known later; --at TIME makes the state of an earlier time in another --store"
            )


def _said(made: Materialized) -> dict[str, object]:
    before = None if made.before is None or made.done_before else _moment(made.before.T)
    return {
        "view": made.view,
        "cut": _moment(made.cut.T),
        "known_until": _moment(made.cut.K),
        "cut_before": before,
        "events_added": made.events,
        "keys_written": made.keys,
        "left_out": made.left_out,
        "was_there": made.done_before,
    }


def _moment(micros: int) -> str:
    return clock.moment(micros).isoformat()


def _table(made: list[Materialized]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table("view", "cut", "before", "events added", "keys written", box=box.SIMPLE_HEAD, show_edge=False)
    for one in made:
        said = _said(one)
        what = "was there" if one.done_before else f"{one.events:,}"
        table.add_row(one.view, str(said["cut"]), str(said["cut_before"] or "-"), what, "" if one.done_before else f"{one.keys:,}")
    return table
