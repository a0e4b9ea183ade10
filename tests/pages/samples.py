"""A small result of each kind, and its page."""

import math

from msgspec import structs

from headwater.experiments.experiment_words import first_line
from headwater.kept_runs.run_page import parity_page
from headwater.pages import (
    assessment_page,
    backtest_page,
    delivery_page,
    delivery_words,
    drift_page,
    drift_words,
    experiment_page,
    level_lift_page,
    replay_page,
    replay_words,
    shadow_page,
)
from headwater.pages.recommending import with_recommendation
from headwater.results.audit_result import AuditFinding, AuditResult
from headwater.results.drift_result import DriftDay, DriftResult, FeatureDrift
from headwater.results.estimate import Estimate
from headwater.results.level_gap_result import LevelGap, MetricGap
from headwater.results.promise_result import DeliveryResult, Promise, WeekDelivered
from headwater.results.replay_result import Answered, ReplayResult, ShadowArm, ShadowResult
from tests.backtesting.sample_result import flights
from tests.console.seeded import _assessment, _experiment, _level_lift, _parity

AT = "2024-06-20T04:00:00+00:00"
PROMISE = Promise(
    "churn", "hourly", "batch 1h", "auc", True, Estimate(0.768, 0.728, 0.808), 0.02, 60, "days",
    "", "2024-01-01", "2024-04-01", 20_000, 3_600.0, "f", "labels", "Run it hourly.",
)  # fmt: skip


def backtest():
    return with_recommendation(
        structs.replace(flights(), baseline="daily", at=AT, by="ada@desk", min_lift={"auc": 0.02})
    )


def asked():
    question = AuditFinding(
        "late fields", "SUSPECT", "pushback", "It is filled an hour before departure.",
        "Say when it is known.", 0.4, brief="'pushback' is known an hour before departure",
    )  # fmt: skip
    return with_recommendation(structs.replace(backtest(), audit=AuditResult([question])))


def leaking():
    leak = AuditFinding("label rows", "LEAK", "queue", "It knows the label", "Leave it out", 0.31)
    return with_recommendation(structs.replace(backtest(), audit=AuditResult([leak])))


def experiment():
    result = _experiment("")
    names = ("daily", "hourly", "revenue")
    line = first_line("real-time", names, result.metrics[0].lift, result.reason)
    return structs.replace(result, first_line=line)


def delivery():
    weeks = [
        WeekDelivered(
            week, 7_000, 6_900, 12, value, "2024-04-29", Estimate(value, value - 0.02, value + 0.02),
            Estimate(0.768 - value, 0.738 - value, 0.798 - value), p, 0.01, state, why,
        )
        for week, value, p, state, why in [
            ("2024-05-06", 0.77, math.nan, "not judged", "fewer than 28 days"),
            ("2024-05-27", 0.74, 0.4, "no miss shown", ""),
            ("2024-06-03", 0.67, 0.001, "missed", ""),
        ]
    ]  # fmt: skip
    return delivery_words.with_first_line(
        DeliveryResult(
            PROMISE,
            "hourly",
            ["3"],
            "withdrawn",
            "2024-06-03",
            weeks,
            {"without a key": 12},
            AT,
            "",
        )
    )


def drift():
    moved = [DriftDay("2024-06-10", 7_000, 7_000.0, [0.2, 0.3, 0.5], 0.31, 0.01, 0.03, True)]
    still = [DriftDay("2024-06-10", 7_000, 7_000.0, [0.5, 0.4, 0.1], 0.01, 0.01, 0.03, False)]
    bins, shares = ["0", "1 to 3", "null"], [0.5, 0.4, 0.1]
    features = [
        FeatureDrift("user__count_1d", "alert", "it delivers less", bins, shares, 1e5, {}, moved),
        FeatureDrift("user__mean_7d", "no shift shown", "", bins, shares, 1e5, {}, still),
    ]
    result = DriftResult("churn", "hourly", "3", "2024-04-01", features, "less", 0.01, AT, "")
    return structs.replace(result, first_line=drift_words.first_line(result))


def answered(level):
    return Answered(level, "3", {"computed": 990, "default": 10}, 2_700.0, 3_300.0, {}, 1.5, 4.0)


def gap():
    return LevelGap(
        0.12,
        None,
        MetricGap("auc", 0.70, 0.76, Estimate(0.06, 0.04, 0.08), 900, "paired"),
        None,
        [],
    )


def replay():
    return replay_words.with_first_line(
        ReplayResult(
            "shop", "churn", "2024-06-10", "UTC", [], 1_000, 900, answered("daily"),
            answered("hourly"), gap(), {"without a key": 12}, ["A third party was not called."], "",
        )
    )  # fmt: skip


def shadow():
    arm = ShadowArm("fresher", answered("hourly"), gap())
    return replay_words.shadow_first_line(
        ShadowResult(
            "shop", "beside", 1, "2024-06-10", "2024-06-17", "daily", 1_000, 900, answered("daily"),
            [arm], {}, "",
        )
    )  # fmt: skip


PAGES = {
    "backtest": lambda: backtest_page.to_page(backtest()),
    "backtest_asked": lambda: backtest_page.to_page(asked()),
    "backtest_leak": lambda: backtest_page.to_page(leaking()),
    "experiment": lambda: experiment_page.to_page(experiment()),
    "assessment": lambda: assessment_page.to_page(_assessment("churn", backtest(), "")),
    "delivery": lambda: delivery_page.to_page(delivery()),
    "drift": lambda: drift_page.to_page(drift()),
    "level_lift": lambda: level_lift_page.to_page(_level_lift("churn", "")),
    "replay": lambda: replay_page.to_page(replay()),
    "shadow": lambda: shadow_page.to_page(shadow()),
    "parity": lambda: parity_page(_parity("")),
}
