"""Alerts as JSON to a URL, once for each change of state: firing, and resolved.

    DATA_DIR/alerts.json     the alerts that fire, and since when: what the receiver was last told;
                             replaced atomically

The body is that of Prometheus' Alertmanager (its webhook, version 4), with a `text` for Slack and
its like. With a secret it is signed: `X-Headwater-Signature: t=SECONDS,v1=HEX`, the HMAC-SHA256 of
`SECONDS.BODY`. A change that could not be sent is sent with the next one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from headwater import clock, disk
from headwater.definitions.checks import timestamp_text
from headwater.definitions.definition import fingerprint_of
from headwater.errors import DataError, UsageError
from headwater.retries import Backoff, retry

STATE: Final = "alerts.json"
_TIMEOUT: Final = 5.0  # seconds of one attempt
_REPETITIONS: Final = 3
_PAUSES: Final = Backoff(first=0.6, longest=2.4)
_NEVER: Final = "0001-01-01T00:00:00Z"  # as Alertmanager writes an end that has not come


class WatchAlert(msgspec.Struct, frozen=True):
    """A problem that needs a person.

    name: such as "HeadwaterDrift". labels: what it is about; with the name they identify it.
    summary: a sentence.
    """

    name: str
    labels: Mapping[str, str]
    summary: str

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of name and labels."""
        return fingerprint_of((self.name, sorted(self.labels.items())), 16)


class FiringAlert(msgspec.Struct, frozen=True):
    """An alert that the receiver was told of, and since when, ISO 8601."""

    alert: WatchAlert
    since: str


class Webhook(msgspec.Struct, frozen=True):
    """Where alerts go. url: HTTP or HTTPS. secret: signs them; "" sends them unsigned."""

    url: str
    secret: str = ""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise UsageError(
                "the webhook is not a URL; give one such as https://hooks.example.org/T123"
            )

    @property
    def host(self) -> str:
        """What messages name: the path of such a URL is often a secret."""
        return str(urlsplit(self.url).hostname)


def notify(
    webhook: Webhook,
    alerts: Sequence[WatchAlert],
    about: Mapping[str, str],
    folder: Path,
    *,
    pause: Callable[[float], object] = clock.wait,
) -> int:
    """Send the alerts that began or ceased to fire, and return their number.

    Args:
        webhook: the receiver.
        alerts: all that fire now, of what was looked at.
        about: labels of what was looked at: an alert that fired with these, and is not among
            `alerts`, is resolved.
        folder: the data directory.
        pause: waits between two attempts, seconds.

    Raises:
        DataError: the receiver did not take them; they are sent again with the next call.
    """
    reported = _reported(folder)
    now = timestamp_text(clock.now_micros())
    firing = {alert.fingerprint: alert for alert in alerts}
    began = [FiringAlert(alert, now) for mark, alert in firing.items() if mark not in reported]
    ended = [
        entry
        for mark, entry in reported.items()
        if mark not in firing and about.items() <= entry.alert.labels.items()
    ]
    if not began and not ended:
        return 0
    changes = [
        *(_entry(fired, "firing", _NEVER) for fired in began),
        *(_entry(fired, "resolved", now) for fired in ended),
    ]
    lines = [
        *(f"FIRING {fired.alert.name}: {fired.alert.summary}" for fired in began),
        *(f"RESOLVED {fired.alert.name}: {fired.alert.summary}" for fired in ended),
    ]
    body = {
        "version": "4",
        "groupKey": f"headwater:{fingerprint_of(sorted(about.items()), 16)}",
        "truncatedAlerts": 0,
        "status": "firing" if began else "resolved",
        "receiver": "headwater",
        "groupLabels": dict(about),
        "commonLabels": dict(about),
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": changes,
        "text": "\n".join(lines),
    }
    _post(webhook, msgspec.json.encode(body), pause)
    resolved = {fired.alert.fingerprint for fired in ended}
    still_firing = [entry for mark, entry in reported.items() if mark not in resolved]
    disk.own_folder(folder)
    disk.replace_file(
        folder / STATE,
        msgspec.json.format(msgspec.json.encode([*still_firing, *began]), indent=1) + b"\n",
    )
    return len(changes)


def signature(secret: str, seconds: int, body: bytes) -> str:
    """The header of a signed body.

    >>> signature("s3cret", 1714521600, b"{}")[:20]
    't=1714521600,v1=5ef3'
    """
    digest = hmac.new(secret.encode(), b"%d." % seconds + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def _entry(
    firing: FiringAlert, status: Literal["firing", "resolved"], ends: str
) -> dict[str, object]:
    alert = firing.alert
    return {
        "status": status,
        "labels": {"alertname": alert.name, **alert.labels},
        "annotations": {"summary": alert.summary},
        "startsAt": firing.since,
        "endsAt": ends,
        "generatorURL": "",
        "fingerprint": alert.fingerprint,
    }


def _reported(folder: Path) -> dict[str, FiringAlert]:
    """The alerts that the receiver was told of, by fingerprint."""
    path = folder / STATE
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=list[FiringAlert])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path} cannot be read: {error}; delete it, and all alerts are sent again"
        ) from error
    return {entry.alert.fingerprint: entry for entry in entries}


def _post(webhook: Webhook, body: bytes, pause: Callable[[float], object]) -> None:
    """Send a body, again after a failure that may pass: no connection, a timeout, 429 or 5xx.

    The receiver may get it twice, as alerts that are sent until they are taken must be: their
    fingerprints and times tell it so.

    Raises:
        DataError: it was not taken.
    """
    import httpx

    def post() -> None:
        headers = {"content-type": "application/json", "user-agent": "headwater"}
        if webhook.secret:
            headers["x-headwater-signature"] = signature(
                webhook.secret, clock.now_micros() // 1_000_000, body
            )
        httpx.post(
            webhook.url, content=body, headers=headers, timeout=_TIMEOUT, follow_redirects=False
        ).raise_for_status()

    def passes(error: Exception) -> bool:
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 500
        return status == 429 or status >= 500

    try:
        retry(
            post,
            on=httpx.HTTPError,
            pauses=_PAUSES.within(times=_REPETITIONS),
            passes=passes,
            wait=pause,
        )
    except httpx.HTTPError as error:
        why = (
            f"status {error.response.status_code}"
            if isinstance(error, httpx.HTTPStatusError)
            else type(error).__name__
        )
        raise DataError(
            f"the webhook at {webhook.host} did not take the alerts: {why}; they are sent again "
            "with the next call"
        ) from None  # whose message has the URL, which may be a secret
