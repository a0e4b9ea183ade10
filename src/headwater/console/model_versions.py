"""Models: the versions of each, which one is current, what services answer with, and promoting
another or rolling back.

<data_dir>/console/actions.jsonl       what was done in the console: {"at": ISO 8601, "who": ...,
                                       "sentence": ...}
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from headwater import clock, disk
from headwater.console.console_context import ConsoleContext
from headwater.console.page_types import ConsoleRequest, Done, NotShown
from headwater.definitions.level import AS_DEFINED
from headwater.errors import DataError, HeadwaterError, UsageError, nearest
from headwater.models.promises import delivery_of, promise_of_version
from headwater.models.promotion import check_servable, sentences, taken_up
from headwater.models.registry import ModelRegistry, Version
from headwater.models.running_services import ServingProcess, running_services

_SHOWN: Final = 50  # versions of a model and level, actions
_TAKE_UP: Final = 3.0  # seconds for services to take up a version, while the browser waits
_LOCK: Final = threading.Lock()


class Action(msgspec.Struct, frozen=True):
    """Something that was done in the console."""

    at: str
    who: str
    sentence: str


@dataclass(frozen=True)
class ShownVersion:
    """A version of a model. problem: why its manifest cannot be read; then it has nothing else."""

    number: int
    current: bool
    made: str = ""
    until: str = ""
    rows: int | None = None
    measured: str = ""
    promised: str = ""
    estimator: str = ""
    problem: str = ""


@dataclass(frozen=True)
class ShownVariant:
    """The versions of a model at a level, the latest first.

    before: the number that rolling back would lead to; None where there is none. services: what
    each running service answers with, and whether that is the current version.
    """

    model: str
    level: str
    versions: Sequence[ShownVersion]
    more: int
    before: int | None
    delivery: str
    services: Sequence[tuple[str, bool]] = ()


def model_versions(context: ConsoleContext, _request: ConsoleRequest) -> Mapping[str, object]:
    """The variables of the page."""
    names = {model.name for model in context.project.models}
    registry = context.registry
    processes = [
        process
        for process in running_services(registry.folder)
        if process.project == context.project.name
    ]
    variants = [
        _variant(registry, model, level, processes)
        for model, level in registry.variants()
        if model in names
    ]
    return {
        "variants": variants,
        "as_defined": AS_DEFINED,
        "file": context.file,
        "actions": _actions(context),
    }


def promote(context: ConsoleContext, request: ConsoleRequest) -> Done:
    """The action: make a version the current one.

    Raises:
        UsageError: no such version, or one that the definitions cannot serve.
    """
    number = request.one("version")
    if not number.isdecimal():
        raise UsageError(f"the version is {number[:100]!r}; give an integer")
    model, level = _named(context, request)
    check_servable(
        context.project,
        context.registry,
        context.registry.version(int(number), model, level),
        context.file,
    )
    version = context.registry.promote(int(number), model, level)
    return _noted(
        context, request, f"{version}, is current from now on{_followed(context, version)}"
    )


def roll_back(context: ConsoleContext, request: ConsoleRequest) -> Done:
    """The action: make the version before the current one current again.

    Raises:
        UsageError: none was current before, or another one than the form showed, or one that the
            definitions cannot serve.
    """
    model, level = _named(context, request)
    before = context.registry.before(model, level)
    if str(before.number) != request.one("version"):
        raise UsageError(
            f"rolling back would lead to version {before.number} now; load the page again"
        )
    check_servable(context.project, context.registry, before, context.file)
    version = context.registry.rollback(model, level)
    return _noted(
        context,
        request,
        f"rolled back: {version}, is current from now on{_followed(context, version)}",
    )


def _followed(context: ConsoleContext, version: Version) -> str:
    """What running services make of a version that has become current."""
    lines = sentences(
        taken_up(context.registry, context.project.name, version, wait=_TAKE_UP), version
    )
    return "".join(f"; {line}" for line, _ in lines)


def _named(context: ConsoleContext, request: ConsoleRequest) -> tuple[str, str]:
    names = [model.name for model in context.project.models]
    model = request.one("model")
    if model not in names:
        raise NotShown(f"the project has no model {model[:100]!r}; {nearest(model[:100], names)}")
    return model, request.one("level", AS_DEFINED)


def _variant(
    registry: ModelRegistry, model: str, level: str, processes: Sequence[ServingProcess]
) -> ShownVariant:
    served = sentences(processes, registry.current(model, level))
    current = registry.current(model, level).number
    versions = list(reversed(registry.versions(model, level)))
    chosen = [
        version for n, version in enumerate(versions) if n < _SHOWN or version.number == current
    ]
    try:
        before: int | None = registry.before(model, level).number
    except UsageError:
        before = None
    delivery = delivery_of(registry, model, level)
    shown = [_shown(version, current=version.number == current) for version in chosen]
    return ShownVariant(
        model,
        level,
        shown,
        len(versions) - len(chosen),
        before,
        "" if delivery is None else delivery.first_line,
        served,
    )


def _shown(version: Version, *, current: bool) -> ShownVersion:
    try:
        manifest, promise = version.manifest, promise_of_version(version)
    except HeadwaterError as error:
        return ShownVersion(version.number, current, problem=str(error))
    metrics = manifest.metrics.get("holdout") or manifest.metrics.get("training") or {}
    measured_on = "held out" if "holdout" in manifest.metrics else "training"
    measured = ", ".join(
        f"{name} {value:.4g}" for name, value in metrics.items() if value is not None
    )
    promised = "" if promise is None else f"{promise.metric} {promise.promised.value:.4g}"
    return ShownVersion(
        version.number,
        current,
        manifest.created_at,
        manifest.until or "",
        manifest.rows,
        f"{measured} ({measured_on})" if measured else "",
        promised,
        manifest.estimator,
    )


def _noted(context: ConsoleContext, request: ConsoleRequest, sentence: str) -> Done:
    """Note the action, after it was done."""
    path = context.data_dir / "console" / "actions.jsonl"
    line = (
        msgspec.json.encode(
            Action(clock.now().isoformat(timespec="seconds"), request.who, sentence)
        )
        + b"\n"
    )
    try:
        disk.own_folder(path.parent)
        with _LOCK, disk.open_private(path, "ab") as file:
            file.write(line)
    except OSError as error:
        raise DataError(
            f"{sentence}; but {path} cannot be written, so that no one will see who did it: "
            f"{error.strerror or error}"
        ) from error
    return Done(sentence, "/models")


def _actions(context: ConsoleContext) -> list[Action]:
    """What was done last, the latest first."""
    try:
        lines = (context.data_dir / "console" / "actions.jsonl").read_bytes().splitlines()[-_SHOWN:]
    except OSError:
        return []
    actions = []
    for line in reversed(lines):
        try:
            actions.append(msgspec.json.decode(line, type=Action))
        except msgspec.MsgspecError:  # cut off by a kill
            continue
    return actions
