"""What needs attention now, and who has acknowledged it.

    <data_dir>/console/acknowledged.json       {"view user stale": {"by": ..., "at": microseconds}}

An acknowledgement lapses after a week, so that nothing is forgotten for good.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from headwater import disk
from headwater.console.console_context import ConsoleContext
from headwater.console.kept_decisions import delivered, records, result_of
from headwater.console.page_types import ConsoleRequest, Done
from headwater.console.view_summary import view_summary
from headwater.errors import DataError, HeadwaterError, UsageError
from headwater.models.latest_results import LATEST_LEVEL_LIFT
from headwater.results.experiment_result import ExperimentResult
from headwater.results.level_lift_result import LevelLiftResult

_LAPSES: Final = 7 * 86_400_000_000  # microseconds
_LOCK: Final = threading.Lock()


class Acknowledged(msgspec.Struct, frozen=True):
    """Who has acknowledged an item, and when, in microseconds."""

    by: str
    at: int


@dataclass(frozen=True)
class Item:
    """Something that needs attention.

    key: what it is known by. chip: its kind. path: below /console, of the page about it. command:
    to run.
    """

    key: str
    chip: str
    sentence: str
    path: str = ""
    command: str = ""
    acknowledged: Acknowledged | None = None


def items(context: ConsoleContext) -> list[Item]:
    """Everything that needs attention, the worst first, acknowledged items last."""
    acknowledged = _read(context.data_dir)
    every = [
        *_withdrawn(context),
        *_experiments(context),
        *_parity(context),
        *_views(context),
        *_earned_nothing(context),
    ]
    valid = {key: ack for key, ack in acknowledged.items() if context.now() - ack.at < _LAPSES}
    marked = [replace(item, acknowledged=valid.get(item.key)) for item in every]
    return sorted(marked, key=lambda item: item.acknowledged is not None)


def acknowledge(context: ConsoleContext, request: ConsoleRequest) -> Done:
    """The action: mark an item as seen.

    Raises:
        UsageError: nothing of that key needs attention now.
        DataError: the data directory cannot be written.
    """
    key = request.one("key")
    if key not in {item.key for item in items(context)}:
        raise UsageError(
            f"nothing called {key[:100]!r} needs attention now; load the overview again"
        )
    with _LOCK:
        acknowledged = {
            k: ack for k, ack in _read(context.data_dir).items() if context.now() - ack.at < _LAPSES
        }
        path = _path(context.data_dir)
        try:
            disk.own_folder(path.parent)
            disk.replace_file(
                path,
                msgspec.json.encode(
                    {**acknowledged, key: Acknowledged(request.who, context.now())}
                ),
            )
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
    return Done("acknowledged for a week", "")


def monitored(context: ConsoleContext) -> Sequence[LevelLiftResult]:
    """The lift by freshness over time of each model of the project that has one."""
    names = {model.name for model in context.project.models}
    return context.cached(
        "level lifts",
        5.0,
        lambda: [
            result for result in LATEST_LEVEL_LIFT.all(context.registry) if result.model in names
        ],
    )


def _withdrawn(context: ConsoleContext) -> Iterator[Item]:
    for result in delivered(context):
        if result.withdrawn:
            key = f"promise {result.promise.model} {result.since}"
            yield Item(
                key,
                "promise missed",
                result.first_line,
                "/models",
                f"headwater watch --project {context.file} --model {result.promise.model}",
            )


def _experiments(context: ConsoleContext) -> Iterator[Item]:
    for experiment in context.project.experiments:
        record = next(iter(records(context, experiment.name, "experiment")), None)
        if record is None:
            continue
        try:
            result = result_of(context, record)
        except HeadwaterError:  # the experiment's own page says so
            continue
        if not isinstance(result, ExperimentResult):
            continue
        unproven = result.decision == "real-time" and any(
            rail.state == "not proven"
            for rail in result.of_metric("guardrail")
            if rail.arm == result.arm
        )
        if unproven or result.decision in ("harm", "invalid", "inconclusive"):
            subject = (
                f"experiment {experiment.name} "
                f"{'guardrail not proven' if unproven else result.decision}"
            )
            yield Item(subject, "experiment", result.first_line, f"/experiments/{experiment.name}")


def _parity(context: ConsoleContext) -> Iterator[Item]:
    record = next(iter(records(context, context.project.name, "parity")), None)
    if record is not None and record.figures.get("mismatches", 0):
        yield Item(
            f"parity {record.id}",
            "parity",
            record.sentence,
            f"/runs/{record.id}",
            f"headwater parity --project {context.file}",
        )


def _views(context: ConsoleContext) -> Iterator[Item]:
    summary = view_summary(context)
    if summary.error:
        yield Item(
            "online store",
            "store",
            f"The online store cannot be read: {summary.error}",
            "/freshness",
            f"headwater doctor --project {context.file}",
        )
        return
    for view in summary.value or ():
        if view.state in ("current", "not stored"):
            continue
        yield Item(
            f"view {view.name} {view.state}",
            view.state,
            f"View {view.name} is {view.state}: {view.about}.",
            "/freshness",
            f"headwater {view.make} --project {context.file}" if view.make else "",
        )


def _earned_nothing(context: ConsoleContext) -> Iterator[Item]:
    for result in monitored(context):
        for alternative in result.decayed:
            yield Item(
                f"level {result.model} {alternative.name}",
                "earned nothing",
                f"{result.model}: {alternative.sentence}",
                "/experiments#monitored",
            )


def _path(data_dir: Path) -> Path:
    return data_dir / "console" / "acknowledged.json"


def _read(data_dir: Path) -> Mapping[str, Acknowledged]:
    try:
        return msgspec.json.decode(_path(data_dir).read_bytes(), type=dict[str, Acknowledged])
    except (OSError, msgspec.MsgspecError):
        return {}
