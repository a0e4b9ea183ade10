"""OFREP, the OpenFeature Remote Evaluation Protocol: experiments as feature flags, for programs
that show the arms themselves.

A flag is an experiment of the project, the targeting key its unit, the value and the variant its
arm. An evaluation is not an exposure: a flag is often evaluated where its arm is never shown.
Programs report exposures to `POST /v1/exposures/{experiment}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from headwater.definitions.unit_buckets import unit_text
from headwater.errors import UsageError, nearest
from headwater.models.experiment_store import FrozenPlan, StartedExperiment
from headwater.serving.http.admin_handlers import PageRequest, PageResponse
from headwater.serving.http.asgi import Refused
from headwater.serving.http.response_schema import (
    FlagErrorCode,
    FlagEvaluation,
    FlagFailure,
    FlagReason,
)

if TYPE_CHECKING:
    from headwater.serving.service import Service

DEFAULT: Final = "default"
"""The variant of a unit that gets the program's own default; such an answer has no value."""

_REASONS: Final[Mapping[str, FlagReason]] = {  # else SPLIT
    "switchback": "TARGETING_MATCH",
    "cluster": "TARGETING_MATCH",
    "shadow": "STATIC",
}


class FlagError(Refused):
    """A flag that cannot be evaluated: the status of the response, and OpenFeature's code."""

    def __init__(self, status: int, code: FlagErrorCode, message: str) -> None:
        super().__init__(status, message)
        self.code = code


async def flag(request: PageRequest) -> PageResponse:
    """`POST /ofrep/v1/evaluate/flags/{key}`."""
    service, name = request.app.service, request.name
    if name not in (known := _flags(service)):
        raise FlagError(
            404,
            "FLAG_NOT_FOUND",
            f"there is no experiment {name[:100]!r}; "
            f"{nearest(name[:100], known) if known else 'the project has none'}",
        )
    unit = _targeting_key(request.body.context)
    evaluation = _evaluated(service, name, unit, request.body.context, request.app.now())
    return PageResponse(msgspec.json.encode(evaluation))


async def flags(request: PageRequest) -> PageResponse:
    """`POST /ofrep/v1/evaluate/flags`: all flags, in the order of their names. Equal answers have
    equal ETags, whichever worker answers.
    """
    service, context, t = request.app.service, request.body.context, request.app.now()
    unit = _targeting_key(context)
    every: list[FlagEvaluation | FlagFailure] = []
    for name in _flags(service):
        try:
            every.append(_evaluated(service, name, unit, context, t))
        except FlagError as error:
            every.append(FlagFailure(error.code, str(error), name))
    body = msgspec.json.encode({"flags": every})
    tag = b'"%b"' % sha256(body).hexdigest()[:32].encode()
    sent = request.headers.get(b"if-none-match", b"")
    if sent.strip() == b"*" or tag in (one.strip().removeprefix(b"W/") for one in sent.split(b",")):
        return PageResponse(b"", 304, ((b"etag", tag),))
    return PageResponse(body, headers=((b"etag", tag),))


def _flags(service: Service) -> list[str]:
    """The names of the experiments, started or not."""
    defined = {experiment.name for experiment in service.project.experiments}
    return sorted(defined | service.experiments.assigners.keys())


def _targeting_key(context: Mapping[str, object]) -> str:
    unit = context.get("targetingKey")
    if unit is None or unit == "":
        raise FlagError(
            400,
            "TARGETING_KEY_MISSING",
            "the context has no targetingKey; give the unit of the experiment, a string",
        )
    if not isinstance(unit, str):
        _invalid(f"the targetingKey is {_shown(unit)}; give a string")
    return unit


def _evaluated(
    service: Service, name: str, unit: str, context: Mapping[str, object], t: int
) -> FlagEvaluation:
    """The arm of a unit at t (microseconds), by the plan that its experiment was started with.

    Raises:
        FlagError: the context lacks the region or cluster that the arm goes by.
    """
    started, assigner = service.experiments.assigners.get(name, (None, None))
    if started is None or not started.enrolled_at(t):
        return FlagEvaluation(name, "DISABLED", DEFAULT, metadata=_metadata(name, started))
    assert assigner is not None
    plan = started.plan
    assigned = assigner(unit, _group(plan, {**context, plan.unit: unit}), t)
    reason, metadata = _REASONS.get(plan.kind, "SPLIT"), _metadata(name, started)
    if assigned is None:
        return FlagEvaluation(name, reason, DEFAULT, metadata=metadata)
    metadata["propensity"] = assigned.propensity
    metadata["control"] = assigned.arm == plan.arms[0].name
    for arm in plan.arms:
        if arm.name == assigned.arm:
            metadata |= {"model": arm.model, "level": arm.level}
    return FlagEvaluation(name, reason, assigned.arm, assigned.arm, metadata)


def _metadata(name: str, started: StartedExperiment | None) -> dict[str, str | int | float | bool]:
    return {"experiment": name} | ({} if started is None else {"version": started.plan.version})


def _group(plan: FrozenPlan, row: Mapping[str, object]) -> str | None:
    """The region or cluster that an arm goes by; None where it goes by the unit alone."""
    for role, column in plan.columns.items():
        value = row.get(column)
        if value is None:
            _invalid(
                f"experiment {plan.experiment!r} assigns by the {role} {column!r}; give it in the "
                "context"
            )
        try:
            return unit_text(value)
        except UsageError:
            _invalid(
                f"the {role} {column!r} of the context is {_shown(value)}; give a string that is "
                "not empty, an integer or a boolean"
            )
    return None


def _shown(value: object) -> str:
    """A wrong value in a message, short: the answer for all flags repeats it for each of them."""
    known = isinstance(value, (str, float))
    return f"{value!r:.100}" if known else f"of type {type(value).__name__}"


def _invalid(message: str) -> NoReturn:
    raise FlagError(400, "INVALID_CONTEXT", message)
