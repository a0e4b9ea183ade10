"""Whether a fitted model may be served at a level: the features that it was trained on, and at
least as fresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headwater.definitions.checks import DAY, HOUR, text, timestamp_text
from headwater.definitions.freshness import Batch, Freshness, from_data
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.errors import OtherDefinitionsError, nearest
from headwater.kernel.arrays import I64
from headwater.kernel.as_of import as_of
from headwater.models.manifest import (
    Manifest,
    View,
    definitions_of,
    request_fingerprints,
    trained_features,
    views_of,
)
from headwater.models.serving_model import ServedModel

_START = 19_723 * DAY  # 2024 begins
_LONGEST = 400 * DAY  # of a schedule that is looked at: every change of the clock of a year
_PUBLISHED = 20_000  # times that a job published, at most


def check(
    model: Model,
    level: Level,
    served: ServedModel,
    *,
    dtypes: Mapping[str, str] | None = None,
    allow_staler: bool = False,
) -> list[str]:
    """Refuse a model that reads other features than are served, or would read staler ones than it
    was trained on.

    Args:
        model: the definition that is served.
        level: how fresh its features are served.
        served: the fitted model, with its manifest.
        dtypes: the types of features as they are served, as polars writes them, where they are
            known.
        allow_staler: whether features may be served staler than in training, as an arm of an
            experiment may ask.

    Returns:
        Warnings, one a view that is served fresher than in training: its values have another age
        than the model learned from; and where it is allowed, one a view that is served staler.

    Raises:
        OtherDefinitionsError: with every difference, and what to do.
    """
    if served.manifest is None:
        return []
    fresh, stale = ages(model, level, served.manifest, served.version, dtypes=dtypes)
    if stale and not allow_staler:
        raise staler_features(model, served.version, stale)
    return [*fresh, *stale]


def ages(
    model: Model,
    level: Level,
    manifest: Manifest,
    version: str,
    *,
    dtypes: Mapping[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """What a level serves fresher, and what it serves staler, than a fitted model was trained on:
    in words, one a view.

    Raises:
        OtherDefinitionsError: the fitted model reads other features than the level serves.
    """
    views = views_of(model, level)
    differences = [
        *_features(manifest, model, level),
        *_definitions(manifest, model, views),
        *_types(manifest, dtypes or {}),
    ]
    if differences:
        raise other_features(model, version, differences)
    stale, fresh = _ages(manifest, views)
    return fresh, [*stale, *_precomputed(manifest, model, level)]


def staler_features(model: Model, version: str, stale: Sequence[str]) -> OtherDefinitionsError:
    """The error for a fitted model that would be served staler than it was trained."""
    return OtherDefinitionsError(
        f"{_context(model, version)} would be served staler features than it was trained on",
        "; ".join(stale),
        f"Train it at the level that is served (headwater train --model {model.name} --level "
        "NAME), or serve these views as fresh as in training",
    )


def other_features(model: Model, version: str, differences: Sequence[str]) -> OtherDefinitionsError:
    """The error for a fitted model that reads other features than a definition has."""
    return OtherDefinitionsError(
        f"{_context(model, version)} was trained on other features than are served",
        "; ".join(differences),
        f"Train it again (headwater train --model {model.name}), promote a version that was "
        "trained with these definitions (headwater models), or go back to the definitions that "
        "it was trained with",
    )


def _context(model: Model, version: str) -> str:
    return f"the fitted model of {model.name!r}" + (f", version {version}," if version else "")


def _features(manifest: Manifest, model: Model, level: Level) -> list[str]:
    """Names and their order."""
    return feature_differences(
        manifest.features, trained_features(model, definitions_of(model, level, "")["level"])
    )


def feature_differences(trained: Sequence[str], served: Sequence[str]) -> list[str]:
    """How the features of a trained model differ from the served ones, in words."""
    trained, served = list(trained), list(served)
    missing = [
        f"it reads {name!r}, which is not served ({nearest(name, served)})"
        for name in trained
        if name not in served
    ]
    more = [
        f"{name!r} is served, and it does not know it" for name in served if name not in trained
    ]
    if missing or more or trained == served:
        return [*missing, *more]
    at = next(
        i
        for i, (trained_name, theirs) in enumerate(zip(trained, served, strict=True))
        if trained_name != theirs
    )
    return [
        f"the order of features differs: number {at + 1} was {trained[at]!r}, and is {served[at]!r}"
    ]


def _definitions(manifest: Manifest, model: Model, views: Mapping[str, View]) -> list[str]:
    """Views, request features and fields with a changed definition. Added and removed ones show in
    the features.
    """
    changed = [
        f"view {name!r} is defined differently"
        for name, view in views.items()
        if name in manifest.views and manifest.views[name].values != view.values
    ]
    now = request_fingerprints(model)
    third_parties = {
        http.name: http.fingerprint for http in model.features.in_training.http_features
    }
    changed += [
        f"the request of third party {name!r} is defined differently"
        for name, fingerprint in third_parties.items()
        if manifest.third_party.get(name, fingerprint) != fingerprint
    ]
    changed += [
        f"the request's {name!r} is made otherwise"
        for name, fingerprint in now.items()
        if manifest.request.get(name, fingerprint) != fingerprint
    ]
    return changed


def _types(manifest: Manifest, dtypes: Mapping[str, str]) -> list[str]:
    trained_types = zip(manifest.features, manifest.dtypes, strict=False)
    return [
        f"{name!r} was {then}, and is {dtypes[name]}"
        for name, then in trained_types
        if dtypes.get(name, then) != then
    ]


def _ages(manifest: Manifest, views: Mapping[str, View]) -> tuple[list[str], list[str]]:
    """For each view, in words, whether it is served staler or fresher than in training."""
    stale, fresh = [], []
    for name, now in views.items():
        then = manifest.views.get(name)
        if then is None:
            continue
        trained, served = from_data(then.freshness), from_data(now.freshness)
        difference = staler(trained, served)
        words = f"view {name!r} was trained {then.says}, and is served {now.says}"
        if difference:
            stale.append(f"{words} ({difference})")
        elif now.known_after > then.known_after:
            stale.append(
                f"view {name!r} was trained as if its events were known {text(then.known_after)} "
                f"after they happen, and they are known after {text(now.known_after)}"
            )
        elif staler(served, trained):
            fresh.append(f"{words}: fresher than the model has learned from")
    return stale, fresh


def _precomputed(manifest: Manifest, model: Model, level: Level) -> list[str]:
    """Precomputed predictions of a model that was trained on features at the request time."""
    precomputed = level.precomputed(model)
    then = manifest.level.get("predictions") if manifest.level else None
    if precomputed is None:
        return []
    if then is None:
        return [
            (
                f"predictions are precomputed, {precomputed.freshness}, but it was trained on "
                "features at the request time"
            )
        ]
    difference = staler(from_data(then["freshness"]), precomputed.freshness)
    return (
        [
            (
                f"predictions were made {then['says']} in training, and are made "
                f"{precomputed.freshness} ({difference})"
            )
        ]
        if difference
        else []
    )


def staler(trained: Freshness, served: Freshness) -> str:
    """How `served` is staler than `trained`; "" where it is not.

    Two batch rules are compared at every moment that the trained one publishes, through a year: as
    old at worst does not mean as old by the hour. Any others by how old a value is at worst.

    >>> from headwater.definitions.freshness import batch, streaming
    >>> staler(streaming("2s"), batch("1h", delay="15m"))
    'up to 75m old, against 2s'
    >>> staler(batch("1d", delay="4h"), batch("1h", delay="15m"))
    ''
    >>> staler(batch("1d", delay="4h"), batch("1d", at="12:00", delay="4h"))
    'at 2024-01-01T04:00:00+00:00 16h old, against 4h'
    """
    if not (trained.reads_events and served.reads_events):
        return (
            "no event counts any more" if trained.reads_events and not served.reads_events else ""
        )
    if served.worst_age > trained.worst_age:
        return f"up to {text(served.worst_age)} old, against {text(trained.worst_age)}"
    if trained.schedule is None or served.schedule is None:
        return ""
    t = _published(trained.schedule)
    served_times, theirs = as_of(served, t), as_of(trained, t)
    behind = np.maximum(theirs[0] - served_times[0], theirs[1] - served_times[1])
    if behind.max() <= 0:
        return ""
    at = int(behind.argmax())
    larger = 0 if theirs[0][at] - served_times[0][at] > 0 else 1
    return (
        f"at {timestamp_text(int(t[at]))} {text(int(t[at] - served_times[larger][at]))} old, "
        "against "
        f"{text(int(t[at] - theirs[larger][at]))}"
    )


def _published(batch: Batch) -> I64:
    """When a job published, through a year or as often as is looked at: int64 microseconds. Between
    two of them it only grows older.
    """
    steps = np.arange(
        _START, _START + min(_LONGEST, batch.every * _PUBLISHED), min(batch.every, HOUR)
    )
    cuts = np.unique(as_of(batch, steps + batch.delay)[0])
    return cuts + batch.delay
