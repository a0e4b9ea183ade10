"""Fitting a model on features, and scoring rows with it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from headwater import settings
from headwater.definitions.definition import Readable, counted
from headwater.definitions.model import TASKS, Estimator, Model, TaskType
from headwater.errors import DataError, listed
from headwater.kernel.arrays import F64, I64
from headwater.models.estimators import default_estimator, fresh_copy, is_fitted, weight_parameter
from headwater.models.feature_encoding import Encoding, fit_encoding
from headwater.models.formats.model_format import Fixed
from headwater.models.named import Frames, frames_for, is_catboost, named, parameter
from headwater.models.outcomes import ClassName, LabelValues
from headwater.models.scoring import in_units_of_label, scores_of

if TYPE_CHECKING:
    import polars as pl

_LONGEST = 10_000  # candidates in a list, as LightGBM's ranking takes them
_OFFSETS = ("init_score", "base_margin")  # of LightGBM and XGBoost
_GRADES = 31  # of relevance that it knows: 0 to 30


@dataclass(frozen=True)
class Fitted(Readable):
    """An estimator with the encoding of its input; `description` names it in reports.

    classes: of a multiclass task. known: the positions among them of those that the estimator has
    learned, in its order; None for all.
    frames: the library of the frames that the estimator gets; "" where it gets a matrix.
    """

    estimator: Estimator
    encoding: Encoding
    kind: str
    description: str
    replayed: bool = False  # given fitted, and not trained here
    classes: tuple[ClassName, ...] = ()
    known: tuple[int, ...] | None = None
    frames: Frames = ""

    @property
    def task(self) -> TaskType:
        """What it was fitted for."""
        return TASKS[self.kind]

    @property
    def in_units_of_label(self) -> bool:
        """Whether a score is a probability or a value; False where it only orders, as a decision
        function and a ranking do.
        """
        return in_units_of_label(self.estimator, self.task)

    @property
    def takes_raw(self) -> bool:
        """Whether the estimator reads the features as they are, by their names: models that were
        trained elsewhere.
        """
        return isinstance(self.estimator, Fixed) and bool(
            getattr(self.estimator, "takes_frames", False)
        )

    def score(self, frame: pl.DataFrame) -> F64:
        """What the model says of each row.

        Binary: the probability of the outcome, float64 (rows); an estimator without `predict_proba`
        gives its `decision_function`, or what it predicts. Regression: the predicted value, float64
        (rows). Multiclass: the probability of each class, float64 (rows, classes) in the order of
        `classes`, 0 for one that no training row had. Ranking: float64 (rows), a higher score
        nearer to the top; scores compare within a list only.

        Raises:
            DataError: an estimator that refuses the data, or was given fitted on other columns.
        """
        if frame.height == 0:
            return np.empty((0, len(self.classes)) if self.task.classes else 0)
        return self.score_inputs(self.inputs(frame))

    def inputs(self, frame: pl.DataFrame) -> object:
        """The features as the estimator takes them: a float64 matrix (rows, inputs), or a frame."""
        if self.takes_raw:
            return frame.select(self.encoding.columns)
        return (
            named(self.encoding, frame, self.frames)
            if self.frames
            else self.encoding.transform(frame)
        )

    def score_inputs(self, x: object) -> F64:
        """As `score`, of what the estimator takes: float64 (rows, inputs), or a frame."""
        try:
            scores = scores_of(
                self.estimator,
                self.task,
                len(self.classes if self.known is None else self.known),
                x,
            )
        except ValueError as error:
            raise DataError(
                f"{self.description}, cannot score the features {list(self.encoding.columns)}: "
                f"{first_line(error)}"
            ) from error
        if self.known is None or len(self.known) == len(self.classes):
            return scores
        out = np.zeros((len(scores), len(self.classes)))
        out[:, self.known] = scores
        return out


def fit(
    model: Model,
    frame: pl.DataFrame,
    label: F64,
    *,
    classes: Sequence[ClassName] = (),
    groups: I64 | None = None,
    weight: F64 | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Fitted:
    """The model's estimator fitted on these rows; a fitted one is taken as it is.

    Args:
        model: says which estimator.
        frame: one row a training row, one column a feature.
        label: float64 (rows), as `models.outcomes` makes it: of a multiclass task the positions in
            `classes`.
        classes: of a multiclass task; the estimator learns those that a training row has.
        groups: of a ranking, int64 (rows): rows of one number are candidates of one list.
        weight: float64 (rows), how much each row counts; passed to the estimator's `fit` as
            `sample_weight`.
        seed: of the estimator.
        threads: how many it uses; all where None.

    Raises:
        DataError: labels of one class, or an estimator that refuses the data.
    """
    return fit_outcomes(
        model, frame, LabelValues(label, tuple(classes), groups, weight), seed=seed, threads=threads
    )


def fit_outcomes(
    model: Model,
    frame: pl.DataFrame,
    outcomes: LabelValues,
    *,
    seed: int = 0,
    threads: int | None = None,
) -> Fitted:
    """As `fit`, of rows with all that is known of them. Where negatives are sampled, the draws are
    corrected for (see `_corrected`).
    """
    label, classes, groups, weight = outcomes.y, outcomes.classes, outcomes.groups, outcomes.weight
    context = f"model {model.name!r}, training rows"
    if model.task_type.positives:
        check_classes(label, context)
    encoding = fit_encoding(frame)
    if model.estimator is not None and is_fitted(model.estimator):
        frames = frames_for(model.estimator, encoding)
        _check_given(model, encoding, named=bool(frames))
        described = f"{type(model.estimator).__name__}, given fitted"
        return Fitted(
            model.estimator,
            encoding,
            model.task_kind,
            described,
            replayed=True,
            classes=tuple(classes),
            frames=frames,
        )
    learned = None
    if model.task_type.classes:
        label, learned = _seen(label, classes, context)
    if model.task_type.lists:
        groups = check_lists(label, groups, context)
    fitted = _unfitted(model, encoding, label, seed, threads)
    y = label if model.task_type.values or (label % 1).any() else label.astype(np.int64)
    order = np.arange(len(y))
    more: dict[str, object] = {}
    takes = inspect.signature(fitted.estimator.fit).parameters
    if encoding.categorical and "categorical_feature" in takes:
        more["categorical_feature"] = encoding.categorical
    if (
        encoding.categorical
        and is_catboost(fitted.estimator)
        and not parameter(fitted.estimator, "cat_features")
    ):
        more["cat_features"] = list(encoding.categories)
    if groups is not None and "group" in takes:
        order = np.argsort(groups, kind="stable")  # a list's candidates stand together
        more["group"] = np.bincount(groups)[np.unique(groups)]
        if fitted.estimator.__class__.__name__ == "LGBMRanker":
            _check_ranker(label, np.asarray(more["group"]), context)
    elif groups is not None and model.estimator is not None:
        fitted = replace(fitted, description=f"{fitted.description}, each candidate by itself")
    if outcomes.log_q is not None:
        weight = _corrected(model, fitted.estimator, outcomes, order, more)
    if weight is not None:
        more[weight_parameter(fitted.estimator)] = weight[order]
    in_order = frame if np.array_equal(order, np.arange(len(y))) else frame[order]
    _fit(model, fitted, (fitted.inputs(in_order), y[order]), more)
    return replace(fitted, classes=tuple(classes), known=learned)


def _corrected(
    model: Model, estimator: Estimator, outcomes: LabelValues, order: I64, more: dict[str, object]
) -> F64 | None:
    """The weights of rows that correct for sampled negatives; an estimator of lists gets an offset
    of scores instead, in `more`.

    A ranker compares the rows of a list, so each score gets the offset -log q while it is fitted.
    An estimator that judges each row by itself counts a negative 1/q times, so that its
    probabilities are those of the full candidate set.
    """
    assert outcomes.log_q is not None
    if "group" in more:
        takes = inspect.signature(estimator.fit).parameters
        offset = next((name for name in _OFFSETS if name in takes), None)
        if offset is None:
            raise DataError(
                f"model {model.name!r}: {type(estimator).__name__}.fit takes none of "
                f"{', '.join(_OFFSETS)}, so it cannot correct for sampled negatives; give a "
                "LightGBM ranker, or an estimator that judges each candidate by itself with "
                "sample_weight"
            )
        more[offset] = -outcomes.log_q[order]
        return outcomes.weight
    try:
        weight_parameter(estimator)
    except DataError as error:
        raise DataError(
            f"model {model.name!r}: {type(estimator).__name__}.fit takes no sample_weight, so it "
            "cannot correct for sampled negatives; give another estimator"
        ) from error
    drawn = np.where(outcomes.y > 0, 1.0, np.exp(-outcomes.log_q))
    return drawn if outcomes.weight is None else drawn * outcomes.weight


def _unfitted(
    model: Model, encoding: Encoding, label: F64, seed: int, threads: int | None
) -> Fitted:
    if model.estimator is not None:
        estimator, description = (
            fresh_copy(model.estimator, encoding, seed=seed),
            type(model.estimator).__name__,
        )
    else:
        graded = model.task_type.lists and bool((~np.isin(label, (0, 1))).any())
        estimator, description = default_estimator(
            model.task_type,
            encoding,
            graded=graded,
            seed=seed,
            threads=threads or settings.threads(),
        )
    return Fitted(
        estimator, encoding, model.task_kind, description, frames=frames_for(estimator, encoding)
    )


def _fit(
    model: Model, fitted: Fitted, rows: tuple[object, F64 | I64], more: Mapping[str, object]
) -> None:
    try:
        fitted.estimator.fit(*rows, **more)
    except ValueError as error:
        inputs = (
            (
                "The columns are numbers (NaN where missing) and categories: "
                f"{listed(fitted.encoding.inputs, 12)}"
            )
            if fitted.frames
            else (
                "Missing values are NaN and strings are category numbers; a pipeline with an "
                "imputer takes them. An estimator of your own gets a frame with names if it has "
                "an attribute takes_frames = True"
            )
        )
        raise DataError(
            f"model {model.name!r}: {fitted.description} cannot be fitted: {first_line(error)} "
            f"{inputs}"
        ) from error


def first_line(error: Exception) -> str:
    """Without the page of advice that scikit-learn adds."""
    return str(error).partition("\n")[0].rstrip(".") + "."


def _check_given(model: Model, encoding: Encoding, *, named: bool) -> None:
    """Refuse to replay an estimator that was fitted on other columns, or on strings whose category
    numbers are not known.
    """
    context = (
        f"model {model.name!r}: {type(model.estimator).__name__} was given fitted, and is not "
        "trained again"
    )
    raw = isinstance(model.estimator, Fixed) and getattr(model.estimator, "takes_frames", False)
    unknown = [*encoding.categories, *encoding.words]
    if unknown and not (raw or named):
        raise DataError(
            f"{context}; the category numbers of {', '.join(map(repr, unknown))} in its training "
            "are not known. Give it unfitted, or make numbers of these columns in a source's "
            "select or a request feature"
        )
    width = getattr(model.estimator, "n_features_in_", None)
    if width is not None and width != len(encoding.columns):
        raise DataError(
            f"{context}; it takes {width} columns, and the features are {len(encoding.columns)}: "
            f"{', '.join(encoding.columns)}"
        )
    names = [str(n) for n in getattr(model.estimator, "feature_names_in_", ())]
    if raw and set(names) - set(encoding.columns):
        raise DataError(
            f"{context}; it takes the columns {names}, and the features are "
            f"{list(encoding.columns)}"
        )
    if not raw and set(names) & set(encoding.columns) and names != list(encoding.columns):
        raise DataError(
            f"{context}; it takes the columns {names}, and the features are "
            f"{list(encoding.columns)}: give the service that order"
        )


def check_classes(
    label: F64, context: str, left_out: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Refuse labels that are not 0 and 1, or only one of them. left_out: rows by reason, which may
    have had the other.
    """
    classes = np.unique(label)
    strange = [c for c in classes.tolist() if c not in (0.0, 1.0)]
    if strange:
        raise DataError(
            f"{context}: a binary label is 0 or 1, and {strange[0]:g} is among them; make one in "
            "the labels' select, or set task='regression'"
        )
    if len(classes) < 2:
        held = (
            f"all {len(label)} labels are {classes[0]:g}" if len(classes) else "there are no labels"
        )
        lost = (
            f". Rows that are left out may have the other: {counted(left_out)}"
            if any(left_out.values())
            else ""
        )
        raise DataError(
            f"{context}: {held}; both outcomes are needed{lost}. Check the label, the filter and "
            "the split"
        )


def _seen(label: F64, classes: Sequence[ClassName], context: str) -> tuple[F64, tuple[int, ...]]:
    """The labels as positions among the classes that some row has, and the positions of these."""
    positions = np.unique(label)
    if np.isnan(positions).any():
        raise DataError(
            f"{context}: {int(np.isnan(label).sum())} labels are no class of "
            f"{', '.join(map(str, classes[:12]))}"
        )
    if len(positions) < 2:
        held = (
            f"all {len(label)} labels are {classes[int(positions[0])]!r}"
            if len(positions)
            else "there are no labels"
        )
        raise DataError(
            f"{context}: {held}; at least two classes are needed. Check the label, the filter and "
            "the split"
        )
    return np.searchsorted(positions, label).astype(np.float64), tuple(int(c) for c in positions)


def check_lists(label: F64, groups: I64 | None, context: str) -> I64:
    """Refuse a ranking in which no list has one candidate that is more relevant than another; else
    its groups.
    """
    if groups is None:
        raise DataError(
            f"{context}: a ranking needs groups; headwater.models.outcomes makes them of the labels"
        )
    if len(label) and float(label.min()) < 0:
        raise DataError(
            f"{context}: the label of a ranking says how relevant a candidate was, 0 or more, and "
            f"{label.min():g} is among them"
        )
    order = np.argsort(groups, kind="stable")
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    if (
        not len(label)
        or (
            np.maximum.reduceat(label[order], first) == np.minimum.reduceat(label[order], first)
        ).all()
    ):
        raise DataError(
            f"{context}: in none of the {len(first)} lists one candidate is more relevant than "
            "another, so no order can be learned. Check the label and the group"
        )
    return groups


def _check_ranker(label: F64, sizes: I64, context: str) -> None:
    """What LightGBM would refuse in words of its own."""
    if sizes.max() > _LONGEST:
        raise DataError(
            f"{context}: a list has {sizes.max():,} candidates, and LightGBM ranks at most "
            f"{_LONGEST:,}; name a finer group, or give an estimator that judges each candidate "
            "by itself"
        )
    if (label % 1).any() or label.max() >= _GRADES:
        strange = label[(label % 1 != 0) | (label >= _GRADES)][0]
        raise DataError(
            f"{context}: LightGBM ranks by grades that are integers from 0 to {_GRADES - 1}, and "
            f"{strange:g} is among them; make grades in the labels' select, or give an estimator "
            "that judges each candidate by itself"
        )
