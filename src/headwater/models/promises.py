"""The promise of a model's version, and what was delivered of it, as files of the model registry.

    FOLDER/MODEL/LEVEL/1/promise.json     what the backtest promised; versions trained later by the
                                          same definitions take it over
    FOLDER/MODEL/LEVEL/delivery.json      the latest comparison of the promise with production, for
                                          `status` and metrics

Both are replaced atomically.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from headwater.errors import DataError, UsageError
from headwater.models.latest_results import LATEST_DELIVERY, read_json, write_json
from headwater.models.registry import ModelRegistry, Version
from headwater.results.promise_result import DeliveryResult, Promise

PROMISE = "promise.json"


def write_promise(folder: Path, promise: Promise, fingerprint: str) -> Path:
    """Write what was promised of a version into its folder, in place of an earlier promise.

    Args:
        folder: of the version.
        promise: of a backtest of the same definitions.
        fingerprint: of the definitions that the version was trained with.

    Raises:
        UsageError: the backtest was of other definitions.
    """
    if promise.fingerprint != fingerprint:
        raise UsageError(
            f"the backtest of model {promise.model!r} was of other definitions (fingerprint "
            f"{promise.fingerprint[:12] or 'none'}) than this version "
            f"({fingerprint[:12] or 'none'}), so it promises nothing of it; run the backtest again"
        )
    return write_json(folder / PROMISE, promise.to_dict())


def promise_of_version(version: Version) -> Promise | None:
    """What was promised of a version; None where nothing was.

    Raises:
        DataError: the file cannot be read.
    """
    data = read_json(version.folder / PROMISE)
    if data is None:
        return None
    try:
        return Promise.from_dict(data)
    except msgspec.ValidationError as error:
        raise DataError(
            f"{version.folder / PROMISE} is not a promise of this version of headwater: {error}; "
            "give the backtest again"
        ) from error


def inherited(registry: ModelRegistry, model: str, level: str, fingerprint: str) -> Promise | None:
    """The promise of the latest version with these definitions: a backtest promises what the
    training procedure delivers.
    """
    for version in reversed(registry.versions(model, level)):
        if version.manifest.fingerprint == fingerprint:
            return promise_of_version(version)
    return None


def under_promise(
    registry: ModelRegistry, model: str, level: str, promise: Promise
) -> list[Version]:
    """The versions that serve under this promise."""
    return [
        version
        for version in registry.versions(model, level)
        if same(promise_of_version(version), promise)
    ]


def same(first: Promise | None, second: Promise) -> bool:
    """Whether two promises are of one backtest; NaN equals NaN."""
    return first is not None and first.to_dict() == second.to_dict()


def delivery_of(registry: ModelRegistry, model: str, level: str) -> DeliveryResult | None:
    """The latest comparison of a model at a level; None where there is none, or none of the promise
    of the version that is served.

    A withdrawal stays where that version has no promise: only a new promise ends it.
    """
    delivery = LATEST_DELIVERY.read(registry, model, level)
    if delivery is None:
        return None
    held = promise_of_version(registry.current(model, level))
    return (
        delivery if same(held, delivery.promise) or (held is None and delivery.withdrawn) else None
    )


def deliveries(registry: ModelRegistry) -> Iterator[DeliveryResult]:
    """The latest comparison of every model and level that has one."""
    for model, level in registry.variants():
        delivery = delivery_of(registry, model, level)
        if delivery is not None:
            yield delivery
