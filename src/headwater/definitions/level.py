"""A level: how fresh each view is, and whether predictions are precomputed. One value for backtest
and production.

A variant: a model at a level, under a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import cast

from headwater.definitions.checks import (
    Duration,
    check,
    check_timezone,
    check_type,
    refusal,
    spelled,
    text,
)
from headwater.definitions.checks import micros as _micros
from headwater.definitions.definition import Definition
from headwater.definitions.feature_service import Enriched, FeatureService, names_of, over
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import (
    Freshness,
    OnRequest,
    batch,
    check_freshness,
    is_freshness,
    kind_of,
    never,
    on_request,
)
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.model import Model, Precomputed, check_predictions, precomputed_members
from headwater.definitions.source import Source
from headwater.errors import DefinitionError, UsageError


@dataclass(frozen=True, eq=False)
class Level(Definition):
    """How fresh a model's features and predictions are.

    Args:
        features: one freshness for every view, or a freshness for some views (an alias follows its
            view unless it is named itself; the others stay as defined). None leaves all as defined.
            What enriches the events of a source stays as defined at every level: it is part of what
            these events say. So do third-party features, which are asked for with the request,
            unless they are named: `{ip: never()}`.
        predictions: `precomputed(freshness, keys=)` for precomputed scores, `on_request()` for
            scores computed by the request. None leaves them as the model defines.
        known_after: for some sources, how soon after their event time events are known instead; for
            labels, how soon after the request outcomes are known, so that their rows train earlier
            or later. A model whose label is an outcome(...) of a source knows its outcomes by that
            source's.

    >>> Level(batch("1d", delay="4h")).features
    Batch(every 1d at 00:00 UTC, published 4h later)
    """

    features: (
        Freshness
        | Mapping[FeatureView, Freshness]
        | Mapping[FeatureView | HttpFeatures, Freshness]
        | None
    ) = None
    predictions: Precomputed | OnRequest | None = None
    known_after: (
        Mapping[Source, Duration] | Mapping[Labels, Duration] | Mapping[Source | Labels, Duration]
    ) = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.features, Mapping):
            named = {
                v.view if isinstance(v, HttpFeatures) else v: freshness
                for v, freshness in self.features.items()
            }
            for view, freshness in named.items():
                give = (
                    "one freshness, or a mapping from the views themselves, not their names, to "
                    "freshness"
                )
                check_type(view, FeatureView, "Level: a key of features", give)
                check_freshness(freshness, f"Level: the freshness of {view.name!r}")
            object.__setattr__(self, "features", named)
        elif self.features is not None:
            check_freshness(self.features, "Level: features")
        check_predictions(self.predictions, "Level")
        known_after = "a mapping from sources or labels to durations"
        check_type(self.known_after, Mapping, "Level: known_after", known_after)
        late = {
            known_later_of: text(_micros(d, f"Level: known_after of {_named(known_later_of)!r}"))
            for known_later_of, d in self.known_after.items()
        }
        for source, soon in late.items():
            if isinstance(source, Labels):
                _check_labels(source, soon)
                continue
            check_type(source, Source, "Level: a key of known_after", known_after)
            if isinstance(source.history, Enriched):
                raise DefinitionError(
                    f"Level: known_after names {source.name!r}, whose events are known when they "
                    f"and the last of what enriches them are; name {source.history.base.name!r}, "
                    "or a source that enriches it, instead"
                )
            if source.changes is not None:
                raise DefinitionError(
                    f"Level: known_after of {source.name!r}, whose changes={source.changes!r} are "
                    "each known at a time of their own: sooner, a correction would be known with "
                    "what it corrects. Leave the source out"
                )
        object.__setattr__(self, "known_after", late)

    def freshness(self, view: FeatureView) -> Freshness:
        """The freshness of `view` at this level; a third party is asked with the request at each
        level that does not name it.
        """
        if self.features is None or (
            view.third_party is not None and not isinstance(self.features, Mapping)
        ):
            return view.freshness
        if not isinstance(self.features, Mapping):
            return self.features
        freshness = self.features.get(view, self.features.get(view.root))
        if freshness is None and any(named.name == view.name for named in self.features):
            raise DefinitionError(
                f"Level names a view {view.name!r} that differs from the view {view.name!r} that "
                "is read; give that view itself, not one that was defined again"
            )
        return view.freshness if freshness is None else freshness

    def source(self, view: FeatureView) -> Source:
        """The source of `view`, with its events (and all that enriches them) known as soon as this
        level says.
        """
        return self._soon(view.source) if self.known_after else view.source

    def _soon(self, source: Source) -> Source:
        if isinstance(source.history, Enriched):
            return over(source, self._soon)
        soon = self._delays.get(source)
        return source if soon is None else source.known_within(soon)

    def outcome_known_after(self, model: Model) -> int | None:
        """How long after the request the model's outcomes are known at this level, in microseconds;
        None: as the labels say.
        """
        labels = model.labels
        soon = self._delays.get(labels)
        if soon is not None:
            return _micros(soon, "known_after")
        if isinstance(labels.label, Outcome) and labels.label.source in self._delays:
            return labels.label.horizon + _micros(self._delays[labels.label.source], "known_after")
        return None

    @property
    def _delays(self) -> Mapping[Source | Labels, Duration]:
        return cast("Mapping[Source | Labels, Duration]", self.known_after)

    def precomputed(self, model: Model) -> Precomputed | None:
        """How the model's predictions are precomputed at this level; None where they are computed
        on request.
        """
        predictions = model.predictions if self.predictions is None else self.predictions
        return predictions if isinstance(predictions, Precomputed) else None

    def service(self, model: Model) -> FeatureService:
        """The model's feature service with every view as fresh as this level says, under the same
        names: it serves the level.

        Raises:
            UsageError: the level says when events of a source are known. A backtest can ask what
                that would change; events that are served are known when they come.

        >>> from headwater.testing.examples import churn
        >>> print(Level(batch("1d")).service(churn()).view("user").freshness)
        every 1d at 00:00 UTC, published 0s later
        """
        return self._served(model.features)

    def feature_names(self, model: Model) -> tuple[str, ...]:
        """The features of a prediction at this level, in order: all, or those known before a
        request arrives.
        """
        precomputed = self.precomputed(model)
        if precomputed is None or precomputed.on_request:
            return model.features.feature_names
        return tuple(
            name for member in precomputed_members(model, precomputed) for name in names_of(member)
        )

    def retrieval(self, model: Model) -> FeatureService | None:
        """The service that a ranking's candidates are retrieved from, at this level's freshness;
        None where each request brings its own.

        Raises:
            UsageError: as `service`.
        """
        retrieval = None if model.ranking is None else model.ranking.retrieval
        return None if retrieval is None else self._served(retrieval)

    def _served(self, service: FeatureService) -> FeatureService:
        soon = [source.name for source in service.sources if source in self.known_after]
        if soon:
            raise UsageError(
                f"a level with known_after={{{soon[0]}: ...}} is for backtests only: a served "
                "event is known when it arrives. Make it arrive sooner, set known_after of the "
                "source, and leave it out of the level"
            )
        return service.changed(lambda view: view.at(self.freshness(view)))

    def kind(self, model: Model) -> str:
        """`batch` or `real-time`, by the one-hour rule; precomputed predictions are as old as their
        cut.
        """
        precomputed = self.precomputed(model)
        if precomputed is not None:
            return kind_of([precomputed.freshness])
        return kind_of([self.freshness(v) for v in model.features.views])

    def describe(self, model: Model) -> str:
        """The level in words."""
        by_view = {v.name: self.freshness(v) for v in model.features.views}
        kinds = set(by_view.values())
        words = (
            str(next(iter(kinds)))
            if len(kinds) == 1
            else "; ".join(f"{name}: {f}" for name, f in by_view.items())
        )
        precomputed = self.precomputed(model)
        lookup = (
            ""
            if precomputed is None
            else (
                f"; predictions precomputed {precomputed.freshness} for "
                f"{', '.join(precomputed.keys)}"
            )
        )
        soon = "".join(
            f"; {'outcomes of ' * isinstance(s, Labels)}{s.name} known after {d}"
            for s, d in self.known_after.items()
        )
        return (words or "no view is read") + lookup + soon

    def reads_history(self, model: Model) -> bool:
        """Whether any event can count at this level."""
        return any(self.freshness(v).reads_events for v in model.features.views_in_history)


def _named(definition: object) -> object:
    return definition.name if isinstance(definition, Source | Labels) else definition


def _check_labels(labels: Labels, soon: str) -> None:
    """Refuse an outcome that would be known before the end of its horizon."""
    if isinstance(labels.label, Outcome) and _micros(soon, "known_after") < labels.label.horizon:
        raise DefinitionError(
            f"Level: known_after of {labels.name!r} is {soon}, and its outcome is only settled "
            f"{text(labels.label.horizon)} after the request; give that or more, or a shorter "
            "within= to the outcome"
        )


def as_level(level: object, subject: str = "the level") -> Level:
    """A level; a bare freshness is that of every view.

    Raises:
        DefinitionError: something else.

    >>> as_level(batch("1d")) == Level(batch("1d"))
    True
    """
    if isinstance(level, Level):
        return level
    if not is_freshness(level):
        raise refusal(
            level,
            subject,
            "a Level or a freshness, such as hw.streaming('2s'); names of levels are the project's",
        )
    return Level(level)


@spelled
def ladder(timezone: str = "UTC") -> dict[str, Level]:
    """The usual steps from batch to real time.

    Request only; daily (cut at midnight, published 4 hours later); hourly (15 minutes later); each
    minute (60 seconds later); and at the moment of asking, which is the ceiling.

    >>> list(ladder())
    ['request only', 'daily', 'hourly', 'minute', 'instant']
    """
    check_timezone(timezone, "ladder()")
    return {
        "request only": Level(never()),
        "daily": Level(batch("1d", timezone=timezone, delay="4h")),
        "hourly": Level(batch("1h", delay="15m")),
        "minute": Level(batch("1m", delay="60s")),
        "instant": Level(on_request()),
    }


AS_DEFINED = "as defined"
"""The name of the variant that is a model as it was written."""


def without_level(stored: str) -> str:
    """The view of a stored view's name.

    >>> without_level("user@live"), without_level("user@2@live"), without_level("user@2")
    ('user', 'user@2', 'user@2')
    """
    name, *further = stored.split("@")
    return f"{name}@{further[0]}" if further and further[0].isdecimal() else name


def at_level(model: str, level: str) -> str:
    """A model at a level, in words.

    >>> at_level("churn", "hourly"), at_level("churn", AS_DEFINED)
    ('churn at hourly', 'churn as defined')
    """
    return f"{model} {level}" if level == AS_DEFINED else f"{model} at {level}"


@dataclass(frozen=True, eq=False)
class ModelVariant(Definition):
    """A model at a level: a served variant, or one side of an experiment.

    Args:
        name: any string that is not blank, such as "live".
        model: which model.
        level: how fresh its features and predictions are; as defined where it is left out.
        allow_staler: whether a version that was trained at a fresher level may be served at this
            one: an arm's decision.

    Raises:
        DefinitionError: no name, no model, or no level.

    >>> from headwater.definitions.freshness import streaming
    >>> from headwater.testing.examples import churn
    >>> print(ModelVariant("live", churn(), Level(streaming("2s"))))
    churn at live: streaming, 2s behind
    """

    name: str
    model: Model
    level: Level = field(default_factory=Level)
    _: KW_ONLY
    allow_staler: bool = field(default=False, metadata={"fingerprint": "given"})

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and self.name.strip()
        check(named, self.name, "a variant: name", "a string that is not blank, such as 'live'")
        check_type(self.model, Model, f"variant {self.name!r}: model", "a Model")
        check_type(
            self.level,
            Level,
            f"variant {self.name!r}: level",
            "a hw.Level, such as hw.Level(hw.batch('1d'))",
        )

    @property
    def service(self) -> FeatureService:
        """The model's feature service as fresh as the level says; raises as `Level.service`."""
        return self.level.service(self.model)

    @property
    def services(self) -> tuple[FeatureService, ...]:
        """The services read to answer a request, at the level's freshness: the retrieval of
        candidates, if any, and the features.
        """
        retrieval = self.level.retrieval(self.model)
        return (self.service,) if retrieval is None else (retrieval, self.service)

    @property
    def precomputed(self) -> Precomputed | None:
        """How predictions are precomputed; None where they are computed on request."""
        return self.level.precomputed(self.model)

    def __str__(self) -> str:
        return f"{at_level(self.model.name, self.name)}: {self.level.describe(self.model)}"
