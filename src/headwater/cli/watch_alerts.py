"""`headwater watch`: what it found as alerts, and the webhook that they go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater import settings
from headwater.cli import options
from headwater.cli.command import Arguments, Flag, option
from headwater.cli.screen import Screen
from headwater.errors import DataError

if TYPE_CHECKING:
    from headwater.monitoring.webhook import WatchAlert
    from headwater.results.drift_result import DriftResult
    from headwater.results.promise_result import DeliveryResult


def flags() -> list[Flag]:
    """The option --webhook."""
    shown = (
        "post alerts to this URL as JSON, once when each begins and once when it ends; signed if "
        "HEADWATER_WEBHOOK_SECRET is set (default: HEADWATER_WEBHOOK)"
    )
    return [option("--webhook", metavar="URL", envvar="HEADWATER_WEBHOOK", help=shown)]


def alerts_of(
    delivery: DeliveryResult | None, drift: DriftResult | None, about: dict[str, str]
) -> list[WatchAlert]:
    """What fires. about: the labels of the project, model and level."""
    from headwater.monitoring.webhook import WatchAlert

    missed = (
        [WatchAlert("HeadwaterPromiseMissed", about, delivery.first_line)]
        if delivery is not None and delivery.withdrawn
        else []
    )
    if drift is None:
        return missed
    drifts = [
        WatchAlert(
            "HeadwaterDrift",
            {**about, "feature": feature.feature},
            f"{feature.feature} moved away from training, and {feature.reason}.",
        )
        for feature in drift.alerts
    ]
    broken = [
        WatchAlert(
            "HeadwaterExpectationBroken",
            {**about, "subject": check.subject, "expectation": check.expectation},
            f"{check}.",
        )
        for check in drift.broken
    ]
    return [*missed, *drifts, *broken]


def send(args: Arguments, alerts: list[WatchAlert], about: dict[str, str], screen: Screen) -> None:
    """Send what changed, if there is a webhook; a receiver that does not take it is a warning."""
    if args.webhook is None:
        return
    from headwater.monitoring.webhook import Webhook, notify

    webhook = Webhook(args.webhook, settings.webhook_secret())
    try:
        with screen.working(f"telling {webhook.host}"):
            sent = notify(webhook, alerts, about, options.data_dir(args))
    except DataError as error:
        screen.warning(str(error))
        return
    if sent:
        screen.say(f"told {webhook.host} of {sent} {'change' if sent == 1 else 'changes'}")
