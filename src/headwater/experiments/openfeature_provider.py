"""Experiments as feature flags of OpenFeature: for programs that show the arms themselves, without
asking the service for predictions.

A flag is an experiment, the targeting key its unit, and the value the arm. An evaluation is not an
exposure: report one where the arm's answer is shown, by `track("exposure", ...)`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, Protocol, TypeVar

from headwater import clock
from headwater.errors import HeadwaterError, MissingExtraError, UsageError
from headwater.experiments.arms_by_unit import AssignedArm
from headwater.experiments.assigners import Assigner, assigner_of
from headwater.experiments.assignment import unit_text
from headwater.models.experiment_store import (
    ExperimentChange,
    ExperimentStore,
    FrozenArm,
    FrozenPlan,
    StartedExperiment,
)

try:
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.event import ProviderEventDetails
    from openfeature.exception import (
        FlagNotFoundError,
        GeneralError,
        InvalidContextError,
        ProviderNotReadyError,
        TargetingKeyMissingError,
        TypeMismatchError,
    )
    from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
    from openfeature.provider import AbstractProvider, Metadata
    from openfeature.track import TrackingEventDetails
except ImportError as error:
    raise MissingExtraError("openfeature-sdk", "openfeature") from error

EXPOSURE: Final = "exposure"
"""The tracked event that reports an exposure; its attribute `experiment` names which."""
PERIOD: Final = 10.0  # seconds
_T = TypeVar("_T")
_LOG: Final = logging.getLogger(__name__)
# else a split
_REASONS: Final = {
    "switchback": Reason.TARGETING_MATCH,
    "cluster": Reason.TARGETING_MATCH,
    "shadow": Reason.STATIC,
}


class ExperimentService(Protocol):
    """A service that is asked for its experiments and told what happened: `hw.client.Client` is
    one.
    """

    def experiments(self) -> Any:  # noqa: ANN401 (decoded by each client)
        """What `GET /v1/experiments` says: `.experiments`, each with the fields of a running
        plan.
        """

    def exposures(self, experiment: str, exposures: Any, /) -> object:  # noqa: ANN401
        """`POST /v1/exposures/{experiment}`."""

    def outcomes(self, labels: str, outcomes: Any, /) -> object:  # noqa: ANN401
        """`POST /v1/outcomes/{labels}`."""

    def events(self, source: str, events: Any, /) -> object:  # noqa: ANN401
        """`POST /v1/events/{source}`."""


@dataclass(frozen=True)
class TrackedEvent:
    """Where a tracked event goes: its attributes are the columns.

    Args:
        kind: "events", into a source, or "outcomes", of requests that are named by the attribute
            `request_id`.
        to: the name of the source or of the labels.
        unit: the column for the targeting key; None where the attributes say it all.
        value: the column for the event's value.
    """

    kind: Literal["events", "outcomes"]
    to: str
    unit: str | None = None
    value: str | None = None


class HeadwaterProvider(AbstractProvider):
    """A provider of OpenFeature's SDK. Threads may share one.

    Args:
        experiments: the started experiments: a store over the model registry's folder, or a client
            of a service.
        service: where exposures, events and outcomes are posted; the client itself where
            `experiments` is one, None posts nothing.
        tracked: by the name of the tracked event, where it goes.
        period: seconds between two looks at which experiments run. Where a look fails, the last
            state stays in force.
        now: microseconds since 1970 UTC; for tests.

    Attributes:
        failed: tracked events that could not be posted, or that nothing says where to.

    Values: a string is the arm's name; a boolean says whether it is another arm than the control;
    an object has the arm's name, model and level. Numbers are a type mismatch. Units that take no
    part get the caller's default, reason DEFAULT; so does everyone before the start and after the
    stop, reason DISABLED.

    >>> import tempfile
    >>> from openfeature import api
    >>> api.set_provider_and_wait(HeadwaterProvider(ExperimentStore(tempfile.mkdtemp())))
    >>> api.get_client().get_string_value("checkout", "daily", EvaluationContext("user-1"))
    'daily'
    >>> api.shutdown()
    """

    def __init__(
        self,
        experiments: ExperimentStore | ExperimentService,
        *,
        service: ExperimentService | None = None,
        tracked: Mapping[str, TrackedEvent] | None = None,
        period: float = PERIOD,
        now: Callable[[], int] = clock.now_micros,
    ) -> None:
        super().__init__()
        if not period > 0:
            raise UsageError(f"period is {period!r}; give seconds above 0")
        self._experiments = experiments
        self._service = (
            experiments
            if service is None and not isinstance(experiments, ExperimentStore)
            else service
        )
        self._tracked, self._period, self._now = dict(tracked or {}), period, now
        self._running: Mapping[str, tuple[StartedExperiment, Assigner]] | None = None
        self._stamp: object = None
        self._stale = False
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._posting: ThreadPoolExecutor | None = None
        self.failed = 0

    def get_metadata(self) -> Metadata:
        """As OpenFeature asks for it."""
        return Metadata("headwater")

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 (as OpenFeature has it)
        """Look once, and go on looking in a thread.

        Raises:
            ProviderNotReadyError: the first look failed; the provider is ready after the first one
                that does not.
        """
        self._end.clear()
        self._posting = ThreadPoolExecutor(1, "headwater-openfeature")
        failure = self._look()
        self._thread = threading.Thread(
            target=self._run, name="headwater-openfeature-look", daemon=True
        )
        self._thread.start()
        if failure is not None:
            raise ProviderNotReadyError(failure)

    def shutdown(self) -> None:
        """Post what waits, and end the threads."""
        self._end.set()
        if self._posting is not None:
            self._posting.shutdown(wait=True)
        if self._thread is not None:
            self._thread.join(5.0)

    # ---------------------------------------------------------------- flags

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """The arm's name."""
        return self._resolved(flag_key, default_value, evaluation_context, lambda plan, arm: arm)  # noqa: ARG005

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001 (as OpenFeature has it)
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Whether the arm is another one than the control."""
        return self._resolved(
            flag_key, default_value, evaluation_context, lambda plan, arm: arm != plan.arms[0].name
        )

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """The arm's name, model and level."""
        return self._resolved(flag_key, default_value, evaluation_context, _described)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[int]:
        """Refused: an arm is not a number."""
        _mismatch(flag_key)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[float]:
        """Refused: an arm is not a number."""
        _mismatch(flag_key)

    def _resolved(
        self,
        flag: str,
        default: _T,
        context: EvaluationContext | None,
        value: Callable[[FrozenPlan, str], _T],
    ) -> FlagResolutionDetails[_T]:
        if self._running is None:
            raise ProviderNotReadyError("the experiments could not be read yet")
        if flag not in self._running:
            raise FlagNotFoundError(f"no experiment {flag!r} was started")
        started, assigner = self._running[flag]
        plan, at = started.plan, self._now()
        metadata: dict[str, bool | int | float | str] = {
            "experiment": plan.experiment,
            "version": plan.version,
        }
        if not plan.start <= at or not started.enrolled_at(at):
            return FlagResolutionDetails(default, reason=Reason.DISABLED, flag_metadata=metadata)
        assigned = _assigned(plan, assigner, context, at)
        if assigned is None:
            return FlagResolutionDetails(default, reason=Reason.DEFAULT, flag_metadata=metadata)
        metadata["propensity"] = assigned.propensity
        reason = _REASONS.get(plan.kind, Reason.SPLIT)
        return FlagResolutionDetails(
            value(plan, assigned.arm), reason=reason, variant=assigned.arm, flag_metadata=metadata
        )

    # ---------------------------------------------------------------- what happened

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Post an exposure, an event or an outcome, in a thread.

        It never raises: what cannot be posted is logged and counted in `failed`.
        """
        details = tracking_event_details or TrackingEventDetails()
        try:
            post = self._post_of(
                tracking_event_name, evaluation_context or EvaluationContext(), details
            )
            if self._posting is None or self._end.is_set():
                raise UsageError("the provider is not initialised")
            self._posting.submit(self._posted, tracking_event_name, post)
        except (HeadwaterError, RuntimeError) as error:
            self._fail(tracking_event_name, error)

    def _post_of(
        self, name: str, context: EvaluationContext, details: TrackingEventDetails
    ) -> Callable[[], object]:
        """What to post.

        Raises:
            UsageError: nothing says where to.
        """
        service = self._service
        if service is None:
            raise UsageError(
                "the provider has no service to post to; give service=hw.client.Client(url)"
            )
        row: dict[str, Any] = dict(details.attributes)
        if name == EXPOSURE:
            experiment = row.pop("experiment", None)
            if not isinstance(experiment, str):
                raise UsageError("an exposure needs the attribute 'experiment', the name of it")
            row["unit"] = context.targeting_key
            row.setdefault("at", clock.timestamp(self._now()).isoformat())
            cluster = self._cluster(experiment, context)
            if cluster is not None:
                row.setdefault("cluster", cluster)
            return lambda: service.exposures(experiment, row)
        to = self._tracked.get(name)
        if to is None:
            raise UsageError(
                f"nothing says where the event {name!r} goes; give tracked={{{name!r}: "
                "TrackedEvent(kind, to)}"
            )
        if to.unit is not None:
            row[to.unit] = context.targeting_key
        if to.value is not None:
            row[to.value] = details.value
        post = service.events if to.kind == "events" else service.outcomes
        return lambda: post(to.to, row)

    def _cluster(self, experiment: str, context: EvaluationContext) -> object:
        plan = (
            self._running[experiment][0].plan
            if self._running and experiment in self._running
            else None
        )
        return (
            None
            if plan is None
            else next((context.attributes.get(column) for column in plan.columns.values()), None)
        )

    def _posted(self, name: str, post: Callable[[], object]) -> None:
        try:
            refused = getattr(post(), "refused", None)
            if refused:
                self._fail(name, UsageError(refused[0].reason))
        except Exception as error:  # noqa: BLE001 (a client's own errors)
            self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> None:
        self.failed += 1
        _LOG.warning("the tracked event %r was not posted: %s", name, error)

    # ---------------------------------------------------------------- looks

    def _run(self) -> None:
        while not self._end.wait(self._period):
            self._look()

    def _look(self) -> str | None:
        """Take over what was started and stopped; why that failed, if it did."""
        before = self._running
        try:
            started = self._started()
        except Exception as error:  # noqa: BLE001 (a client's own errors)
            if not self._stale:
                self._stale = True
                if before is not None:
                    _LOG.warning(
                        "the experiments cannot be read; those known stay in force: %s", error
                    )
                    self.emit_provider_stale(ProviderEventDetails(message=str(error)))
            return str(error)
        if started is not None:
            self._running = started
        was_stale, self._stale = self._stale, False
        if was_stale:
            self.emit_provider_ready(ProviderEventDetails())
        if before is not None and started is not None:
            changed = sorted(
                name
                for name in {*before, *started}
                if _plan_of(before, name) != _plan_of(started, name)
            )
            if changed:
                self.emit_provider_configuration_changed(
                    ProviderEventDetails(flags_changed=changed)
                )
        return None

    def _started(self) -> Mapping[str, tuple[StartedExperiment, Assigner]] | None:
        """By name, the version that was started last; None where nothing has changed."""
        if isinstance(self._experiments, ExperimentStore):
            stamp = self._experiments.stamp
            if self._running is not None and stamp == self._stamp:
                return None
            started = self._experiments.started()
            self._stamp = stamp
        else:
            started = [_of_service(plan) for plan in self._experiments.experiments().experiments]
        return {running.plan.experiment: (running, assigner_of(running)) for running in started}


def _assigned(
    plan: FrozenPlan, assigner: Assigner, context: EvaluationContext | None, at: int
) -> AssignedArm | None:
    if context is None or context.targeting_key in (None, ""):
        raise TargetingKeyMissingError(
            f"experiment {plan.experiment!r} assigns by {plan.unit!r}; give it as targeting_key"
        )
    group = None
    for role, column in plan.columns.items():
        if context.attributes.get(column) is None:
            raise InvalidContextError(
                f"experiment {plan.experiment!r} assigns by {role} {column!r}; give it as an "
                "attribute"
            )
        group = _text(context.attributes[column])
    return assigner(_text(context.targeting_key), group, at)


def _text(value: object) -> str:
    try:
        return unit_text(value)
    except UsageError as error:
        raise InvalidContextError(str(error)) from error


def _described(plan: FrozenPlan, arm: str) -> dict[str, str]:
    assigned = next((planned for planned in plan.arms if planned.name == arm), None)
    return (
        {"arm": arm}
        if assigned is None
        else {"arm": arm, "model": assigned.model, "level": assigned.level}
    )


def _mismatch(flag: str) -> NoReturn:
    raise TypeMismatchError(
        f"the value of {flag!r} is an arm: ask for a string, a boolean or an object"
    )


def _plan_of(
    started: Mapping[str, tuple[StartedExperiment, Assigner]], name: str
) -> StartedExperiment | None:
    return started[name][0] if name in started else None


def _of_service(plan: Any) -> StartedExperiment:  # noqa: ANN401 (a running plan of `GET /v1/experiments`)
    """A running experiment as a service describes it: what assignment needs, with its current
    enrolment.

    Raises:
        GeneralError: the description is of another version of headwater.
    """
    try:
        start, end = (clock.micros(moment) for moment in (plan.start, plan.end))
        arms = tuple(
            FrozenArm(arm["name"], arm["model"], arm["level"], arm["weight"]) for arm in plan.arms
        )
        frozen = FrozenPlan(
            experiment=plan.experiment,
            version=plan.version,
            fingerprint=plan.digest,
            arms=arms,
            unit=plan.unit,
            kind=plan.kind,
            columns=plan.columns,
            settings=plan.settings,
            metrics=(),
            guardrails=(),
            layer=plan.layer,
            span=(plan.span[0], plan.span[1]),
            holdout=plan.holdout,
            start=start,
            duration=end - start,
            stage=0,
            enrolled=(plan.enrolled,),
            looks=1,
            alpha=0.05,
            power=0.8,
            min_lift=0.01,
            seed=plan.seed,
            clusters=plan.clusters,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise GeneralError(
            f"the service describes an experiment in another way: {error!r}"
        ) from error
    return StartedExperiment(frozen, (ExperimentChange("started", start, enrolled=plan.enrolled),))
