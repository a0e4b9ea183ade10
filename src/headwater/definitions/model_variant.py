"""A variant: a model at a level, under a name."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from headwater.definitions.checks import check, check_type
from headwater.definitions.definition import Definition
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.level import Level
from headwater.definitions.model import Model, Precomputed

AS_DEFINED = "as defined"
"""The name of the variant that is a model as it was written."""


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
