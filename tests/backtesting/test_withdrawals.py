"""A withdrawn recommendation in the registry: which backtests read it, what ends it, and what does
not.
"""

import msgspec
import pytest

import headwater as hw
from headwater.backtesting.break_even import recommended
from headwater.backtesting.withdrawals import known_deliveries
from headwater.models.latest_results import LATEST_DELIVERY
from headwater.models.promises import delivery_of
from headwater.models.registry import ModelRegistry
from headwater.pages import delivery_words
from headwater.results.audit_result import DELIVERY
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Estimate
from headwater.results.promise_result import DeliveryResult, WeekDelivered
from headwater.testing.examples import churn
from tests.pages.backtest_forms import to_html

LEVELS = {"daily": hw.batch("1d"), "instant": hw.on_request()}
SUBJECT = "churn, week of 2024-06-03"


def keep(registry, delivery):
    """As `headwater watch` does."""
    LATEST_DELIVERY.write(registry, delivery.promise.model, delivery.served_level, delivery)


@pytest.fixture(scope="module")
def tested():
    result = hw.backtest(churn(), LEVELS, hw.Evaluation(resamples=50)).result
    return recommended(
        msgspec.structs.replace(result, audit=msgspec.structs.replace(result.audit, findings=[]))
    )


@pytest.fixture
def registry(tmp_path, tested):
    """A version under the promise of the backtest."""
    registry = ModelRegistry(tmp_path / "models")
    hw.train(churn()).register(registry, promise=hw.evaluation.promised(tested, "instant"))
    return registry


def delivered(tested, state="missed", level="as defined", week="2024-06-03"):
    judged = Estimate(0.51, 0.45, 0.57)
    of_week = WeekDelivered(
        week, 100, 100, 0, 0.51, "2024-05-13", judged, judged, 0.001, 0.01, state
    )
    withdrawn = state == "missed"
    result = DeliveryResult(
        hw.evaluation.promised(tested, "instant"), level, ["1"], "withdrawn" if withdrawn else ("no miss "
            "shown"), week if withdrawn else "",
        [of_week], {}, "2024-06-12T00:00:00+00:00", "",
    )  # fmt: skip
    return delivery_words.with_first_line(result)


def read(tested, registry, *acknowledged):
    return recommended(known_deliveries("churn", registry.folder).on(tested, acknowledged))


def test_it_is_acknowledged_with_a_reason_and_an_author_for_its_week_alone(tested, registry):
    keep(registry, delivered(tested))
    known = hw.evaluation.Acknowledgement(
        DELIVERY, SUBJECT, "stamps of the reviews were early; corrected", "Ada"
    )
    found = read(tested, registry, known)
    assert found.verdict == recommended(tested).verdict
    assert "Ada: stamps of the reviews were early; corrected" in to_html(found)
    keep(registry, delivered(tested, week="2024-07-01"))
    assert read(tested, registry, known).recommendation.withheld


def test_only_a_new_promise_ends_it(tested, registry):
    keep(registry, delivered(tested))
    hw.train(churn()).register(registry)  # takes the promise over
    assert read(tested, registry).recommendation.withheld
    # as for other definitions, without a promise
    (registry.current("churn").folder / "promise.json").unlink()
    assert delivery_of(registry, "churn", "as defined").withdrawn
    assert read(tested, registry).recommendation.withheld
    new = msgspec.structs.replace(
        hw.evaluation.promised(tested, "instant"), tested_until="2024-09-01T00:00:00+00:00"
    )
    hw.train(churn()).register(registry, promise=new)
    ended = read(read(tested, registry), registry)
    assert not ended.recommendation.withheld
    assert [check.reason for check in ended.audit.checks_not_run if check.check == DELIVERY]


def test_a_result_from_before_is_brought_up_to_date(tested, registry):
    """Its JSON may hold a withdrawal that has ended, or lack one."""
    keep(registry, delivered(tested))
    withdrawn = read(tested, registry)
    keep(registry, delivered(tested, "no miss shown"))
    again = read(BacktestResult.from_dict(withdrawn.to_dict()), registry)
    assert not again.recommendation.withheld
    assert again.audit.checks_run.count(DELIVERY) == 1


def test_without_a_registry_the_page_claims_nothing(tested, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "nothing"))
    found = hw.backtest(churn(), LEVELS, hw.Evaluation(resamples=50)).result
    assert DELIVERY not in to_html(found)
    other = ModelRegistry(tmp_path / "models")
    hw.train(churn()).register(other)
    assert known_deliveries("another", other.folder).on(found) is found
