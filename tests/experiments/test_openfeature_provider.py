"""The provider under OpenFeature's own SDK: values, reasons and metadata of each kind, refusals,
looks that fail, tracked events.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagType, Reason
from openfeature.track import TrackingEventDetails

from headwater.errors import UsageError
from headwater.experiments.assigners import assigner_of
from headwater.experiments.openfeature_provider import HeadwaterProvider, TrackedEvent
from headwater.models.experiment_store import ExperimentStore, FrozenArm, FrozenPlan
from tests.experiments.frozen_plans import frozen_plan

DAY = 86_400_000_000
START = 1_772_323_200_000_000
NOW = START + DAY


def plan(name: str = "checkout", **changes: Any) -> FrozenPlan:
    arms = (
        FrozenArm("daily", "churn", "nightly", 0.5),
        FrozenArm("streaming", "churn", "as defined", 0.5),
    )
    return frozen_plan(**{"experiment": name, "arms": arms, "start": START, **changes})


@pytest.fixture
def store(tmp_path: Path) -> ExperimentStore:
    return ExperimentStore(tmp_path / "models")


@pytest.fixture
def using():
    """Set a provider, and give a client of the SDK."""

    def use(provider: HeadwaterProvider) -> Any:
        api.set_provider_and_wait(provider)
        return api.get_client()

    yield use
    api.shutdown()


def until(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def started(store: ExperimentStore, **changes: Any) -> ExperimentStore:
    store.start(plan(**changes), START, "test")
    return store


def test_a_split_has_the_arm_that_serving_gives(store, using):
    client = using(HeadwaterProvider(started(store), now=lambda: NOW))
    assign = assigner_of(store.started()[0])
    arms = set()
    for unit in ("u1", "u2", "Zoë", "17", "a b", "4" * 300):
        details = client.get_string_details("checkout", "default", EvaluationContext(unit))
        assert (details.value, details.variant) == (assign(unit, None, NOW).arm,) * 2
        assert details.reason == Reason.SPLIT
        assert details.flag_metadata == {"experiment": "checkout", "version": 1, "propensity": 0.5}
        assert client.get_boolean_value("checkout", False, EvaluationContext(unit)) is (
            details.value == "streaming"
        )
        described = client.get_object_value("checkout", {}, EvaluationContext(unit))
        assert described == {
            "arm": details.value,
            "model": "churn",
            "level": "nightly" if details.value == "daily" else "as defined",
        }
        arms.add(details.value)
    assert arms == {"daily", "streaming"}


def test_units_that_take_no_part_get_the_default(store, using):
    client = using(HeadwaterProvider(started(store, enrolled=(0.1,)), now=lambda: NOW))
    found = [
        client.get_string_details("checkout", "mine", EvaluationContext(f"u{number}"))
        for number in range(400)
    ]
    out = [details for details in found if details.reason == Reason.DEFAULT]
    assert 300 < len(out) < 400
    assert {(details.value, details.variant) for details in out} == {("mine", None)}
    assert all("propensity" not in details.flag_metadata for details in out)


@pytest.mark.parametrize("at", [START - 1, START + 14 * DAY])
def test_before_the_start_and_after_the_end_it_is_disabled(store, using, at):
    details = using(HeadwaterProvider(started(store), now=lambda: at)).get_string_details(
        "checkout", "mine", EvaluationContext("u1")
    )
    assert (details.value, details.reason, details.variant) == ("mine", Reason.DISABLED, None)


def test_after_the_stop_it_is_disabled_and_the_change_is_told(store, using):
    started(store)
    client = using(HeadwaterProvider(store, now=lambda: NOW, period=0.02))
    changed: list[Any] = []
    client.add_handler(
        ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
        lambda details: changed.append(details.flags_changed),
    )
    assert (
        client.get_string_details("checkout", "mine", EvaluationContext("u1")).reason
        == Reason.SPLIT
    )
    store.stop("checkout", NOW - 1, "test", "enough")
    until(
        lambda: (
            client.get_string_details("checkout", "mine", EvaluationContext("u1")).reason
            == Reason.DISABLED
        )
    )
    until(lambda: changed == [["checkout"]])


def test_a_ramp_never_moves_a_unit(store, using):
    started(store, enrolled=(0.2, 1.0))
    client = using(HeadwaterProvider(store, now=lambda: NOW + DAY, period=0.02))
    contexts = [EvaluationContext(f"u{number}") for number in range(200)]
    before = [client.get_string_value("checkout", "out", context) for context in contexts]
    store.enrol("checkout", 1.0, NOW, "test")
    until(
        lambda: client.get_string_value("checkout", "out", contexts[before.index("out")]) != "out"
    )
    after = [client.get_string_value("checkout", "out", context) for context in contexts]
    assert "out" not in after
    assert all(old in ("out", new) for old, new in zip(before, after, strict=True))


def test_regions_and_clusters_are_attributes(store, using):
    started(store, kind="cluster", columns={"cluster": "market"}, settings={"burn_in": 0})
    settings = {"length": 7 * DAY // 24, "washout": 0, "random_bounds": False}
    started(store, name="rides", kind="switchback", columns={"region": "city"}, settings=settings)
    client = using(HeadwaterProvider(store, now=lambda: NOW))
    assigners = {one.plan.experiment: assigner_of(one) for one in store.started()}
    for name, column in (("checkout", "market"), ("rides", "city")):
        arms = set()
        for group in ("oslo", "rome", 3, "lima", "bern", "cairo"):
            details = client.get_string_details(
                name, "mine", EvaluationContext("u1", {column: group})
            )
            assert details.value == assigners[name]("u1", str(group), NOW).arm
            assert details.reason == Reason.TARGETING_MATCH
            arms.add(details.value)
        assert len(arms) == 2
        missing = client.get_string_details(name, "mine", EvaluationContext("u1"))
        assert (missing.value, missing.error_code) == ("mine", ErrorCode.INVALID_CONTEXT)
        assert column in missing.error_message


def test_a_shadow_serves_the_control(store, using):
    details = using(
        HeadwaterProvider(started(store, kind="shadow"), now=lambda: NOW)
    ).get_string_details("checkout", "x", EvaluationContext("u"))
    assert (details.value, details.reason) == ("daily", Reason.STATIC)


@pytest.mark.parametrize(
    ("flag", "kind", "context", "code"),
    [
        ("chekout", FlagType.STRING, EvaluationContext("u1"), ErrorCode.FLAG_NOT_FOUND),
        ("checkout", FlagType.STRING, None, ErrorCode.TARGETING_KEY_MISSING),
        ("checkout", FlagType.STRING, EvaluationContext(""), ErrorCode.TARGETING_KEY_MISSING),
        ("checkout", FlagType.INTEGER, EvaluationContext("u1"), ErrorCode.TYPE_MISMATCH),
        ("checkout", FlagType.FLOAT, EvaluationContext("u1"), ErrorCode.TYPE_MISMATCH),
    ],
)
def test_what_cannot_be_answered_is_the_default_with_a_code(
    store, using, flag, kind, context, code
):
    client = using(HeadwaterProvider(started(store), now=lambda: NOW))
    ask, default = {
        FlagType.STRING: (client.get_string_details, "d"),
        FlagType.INTEGER: (client.get_integer_details, 7),
        FlagType.FLOAT: (client.get_float_details, 0.5),
    }[kind]
    details = ask(flag, default, context)
    assert (details.value, details.error_code) == (default, code)


def test_an_empty_store_has_no_flags_and_a_bad_period_is_refused(store, using):
    client = using(HeadwaterProvider(store))
    assert (
        client.get_string_details("checkout", "d", EvaluationContext("u")).error_code
        == ErrorCode.FLAG_NOT_FOUND
    )
    with pytest.raises(UsageError, match="period is 0"):
        HeadwaterProvider(store, period=0)


# ---------------------------------------------------------------- a service


class Said:
    """A service in this process: what it answers, and what it was told."""

    def __init__(self, plans: list[FrozenPlan]) -> None:
        self.plans, self.broken = plans, False
        self.told: list[tuple[Any, ...]] = []

    def experiments(self) -> Any:
        if self.broken:
            raise ConnectionError("no answer")
        return SimpleNamespace(experiments=[_described(each) for each in self.plans])

    def exposures(self, experiment: str, row: Any) -> Any:
        self.told.append(("exposures", experiment, row))
        return SimpleNamespace(
            accepted=1,
            refused=[SimpleNamespace(index=0, reason="no arm")] if experiment == "other" else [],
        )

    def outcomes(self, labels: str, row: Any) -> Any:
        self.told.append(("outcomes", labels, row))

    def events(self, source: str, row: Any) -> Any:
        if self.broken:
            raise ConnectionError("no answer")
        self.told.append(("events", source, row))


def _described(each: FrozenPlan) -> Any:
    """As `GET /v1/experiments` has it."""
    names = (
        "experiment",
        "version",
        "kind",
        "unit",
        "columns",
        "settings",
        "salt",
        "seed",
        "clusters",
        "layer",
        "holdout",
        "digest",
    )
    fields = {name: getattr(each, name) for name in names}
    arms = [
        {name: getattr(arm, name) for name in ("name", "model", "level", "weight")}
        for arm in each.arms
    ]
    start, end = (datetime.fromtimestamp(t / 1e6, UTC) for t in (each.start, each.end))
    return SimpleNamespace(
        **fields, arms=arms, span=list(each.span), enrolled=each.enrolled[0], start=start, end=end
    )


def test_a_service_assigns_as_the_store_does(store, using):
    changes = {"layer": "pricing", "span": (0.2, 0.9), "holdout": 0.05, "enrolled": (0.8,)}
    local = assigner_of(started(store, **changes).started()[0])
    client = using(HeadwaterProvider(Said([plan(**changes)]), now=lambda: NOW))
    for number in range(300):
        assigned = local(f"u{number}", None, NOW)
        details = client.get_string_details("checkout", "out", EvaluationContext(f"u{number}"))
        assert details.value == ("out" if assigned is None else assigned.arm)


def test_what_is_known_stays_in_force_while_the_service_is_silent(using):
    service = Said([plan()])
    client = using(HeadwaterProvider(service, now=lambda: NOW, period=0.02))
    stale, ready = threading.Event(), threading.Event()
    client.add_handler(ProviderEvent.PROVIDER_STALE, lambda _: stale.set())
    service.broken = True
    assert stale.wait(20)
    assert (
        client.get_string_details("checkout", "d", EvaluationContext("u1")).reason == Reason.SPLIT
    )
    client.add_handler(ProviderEvent.PROVIDER_READY, lambda _: ready.set())
    service.plans, service.broken = [], False
    assert ready.wait(20)
    until(
        lambda: (
            client.get_string_details("checkout", "d", EvaluationContext("u1")).error_code
            == ErrorCode.FLAG_NOT_FOUND
        )
    )


def test_a_service_that_is_silent_at_first_is_used_when_it_answers():
    service = Said([plan()])
    service.broken = True
    api.set_provider(HeadwaterProvider(service, now=lambda: NOW, period=0.02))
    client = api.get_client()
    try:
        assert client.get_string_value("checkout", "d", EvaluationContext("u1")) == "d"
        service.broken = False
        until(
            lambda: (
                client.get_string_details("checkout", "d", EvaluationContext("u1")).reason
                == Reason.SPLIT
            )
        )
    finally:
        api.shutdown()


def test_an_evaluation_is_no_exposure_and_tracked_events_are_posted(using):
    service = Said([plan(kind="cluster", columns={"cluster": "market"}, settings={"burn_in": 0})])
    tracked = {
        "purchase": TrackedEvent("events", "orders", unit="user", value="amount"),
        "label": TrackedEvent("outcomes", "churned"),
    }
    provider = HeadwaterProvider(service, tracked=tracked, now=lambda: NOW)
    client = using(provider)
    context = EvaluationContext("u1", {"market": "oslo"})
    client.get_string_value("checkout", "d", context)
    client.track(
        "exposure",
        context,
        TrackingEventDetails(attributes={"experiment": "checkout", "request_id": "r1"}),
    )
    client.track("purchase", context, TrackingEventDetails(12.5, {"event_id": "e1"}))
    client.track(
        "label", context, TrackingEventDetails(attributes={"request_id": "r1", "churned": True})
    )
    until(lambda: len(service.told) == 3)
    at = datetime.fromtimestamp(NOW / 1e6, UTC).isoformat()
    assert service.told == [
        ("exposures", "checkout", {"request_id": "r1", "unit": "u1", "at": at, "cluster": "oslo"}),
        ("events", "orders", {"event_id": "e1", "user": "u1", "amount": 12.5}),
        ("outcomes", "churned", {"request_id": "r1", "churned": True}),
    ]
    assert provider.failed == 0


def test_what_cannot_be_posted_is_counted_and_never_raised(store, using, caplog):
    service = Said([plan()])
    provider = HeadwaterProvider(service, tracked={"purchase": TrackedEvent("events", "orders")})
    client = using(provider)
    client.track("exposure", EvaluationContext("u1"))  # which experiment?
    client.track("click", EvaluationContext("u1"))  # goes nowhere
    # refused
    client.track(
        "exposure",
        EvaluationContext("u1"),
        TrackingEventDetails(attributes={"experiment": "other"}),
    )
    service.broken = True
    client.track("purchase", EvaluationContext("u1"))
    until(lambda: provider.failed == 4)
    assert "nothing says where the event 'click' goes" in caplog.text
    without = HeadwaterProvider(store)
    client = using(without)
    client.track(
        "exposure",
        EvaluationContext("u1"),
        TrackingEventDetails(attributes={"experiment": "checkout"}),
    )
    assert without.failed == 1
    assert "the provider has no service to post to" in caplog.text


def test_plans_of_another_version_are_named(using):
    service = Said([])
    service.experiments = lambda: SimpleNamespace(
        experiments=[SimpleNamespace(experiment="checkout")]
    )  # type: ignore[method-assign]
    provider = HeadwaterProvider(service)
    assert "describes an experiment in another way" in str(provider._look())
