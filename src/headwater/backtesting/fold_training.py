"""Every level trained at every fold, as often as is asked, and its score of every test row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headwater import clock, settings
from headwater.backtesting import levels as of_levels
from headwater.backtesting.fitting import Fit, Fitter
from headwater.backtesting.half_samples import half_sample
from headwater.backtesting.split import Fold, Split
from headwater.definitions.checks import timestamp_text
from headwater.definitions.evaluations import Refits
from headwater.definitions.level import Level
from headwater.errors import DataError
from headwater.kernel.arrays import F64, I64, Bool
from headwater.kernel.sorting import in_threads
from headwater.models.fit import Fitted, check_classes
from headwater.training.candidate_lists import Lists
from headwater.training.negatives import Negatives
from headwater.training.requests import Requests
from headwater.training.resources import Resources
from headwater.training.train import in_time_order


@dataclass(frozen=True)
class Run:
    """The scores of one refit: float64 (test rows) or (test rows, classes), and the thresholds of
    each row's fold: float64 (test rows).
    """

    score: F64
    threshold: F64
    cheapest: F64


@dataclass(frozen=True)
class LevelScores:
    """What a level says of every test row.

    fitted: the model of the last fold and the first seed; None of scores made elsewhere.
    seeds: a run for each. days: a run for each half of the training days.
    answered: bool (test rows). default: what stands in for those that are not; None where it is
    more than a number. replayed: the scores of the freshest level's models on this level's
    features. trained: rows that train, of each fold. seconds: that each run took, seeds before
    days; runs of several levels take turns.
    """

    fitted: Fitted | None
    seeds: Sequence[Run]
    days: Sequence[Run]
    answered: Bool
    default: float | None
    trained: Sequence[int]
    note: str
    replayed: F64 | None = None
    seconds: Sequence[float] = ()


@dataclass(frozen=True)
class Trainer:
    """What all levels share: the rows in time order, the split, and how often each is trained.

    lists: what a ranking ranks at each level. negatives: of each level, where the labels are a log
    of positives.
    """

    fitter: Fitter
    requests: Requests
    split: Split
    levels: Mapping[str, Level]
    rows: Mapping[str, of_levels.LevelRows]
    lists: Mapping[str, Lists] | None
    refits: Refits
    resources: Resources
    replays: bool = True
    negatives: Mapping[str, Negatives] | None = None

    def scores(self) -> dict[str, LevelScores]:
        """The scores of every level; where the last one reads the same features as another, its
        models are replayed there too, if asked.

        Only the first fit of each level is kept as a model: of refits, only scores are read.
        """
        order = in_time_order(self.requests, np.ones(len(self.requests.t), np.bool_))
        rows = {
            (name, number): self._rows(name, fold, order)
            for name in self.rows
            for number, fold in enumerate(self.split.folds)
        }
        halves = self._halves({at: learnable for at, (_, learnable) in rows.items()})
        jobs = [
            (name, again)
            for name in self.rows
            for again in range(self.refits.seeds + self.refits.days)
        ]
        done = self.resources.counter("training", len(jobs))

        def refit(job: tuple[str, int]) -> _Trained:
            # A thread a level, each estimator on one: two that share the processors' threads wait
            # for one another at every tree.
            trained = self._run(*job, rows, halves)
            done(1)
            return trained

        done(0)
        threads = self.resources.threads or settings.threads()
        runs = dict(zip(jobs, in_threads(refit, jobs, threads), strict=True))
        freshest = runs[list(self.rows)[-1], 0]
        scores = {}
        for name, level in self.rows.items():
            trained_runs = [
                runs[name, again] for again in range(self.refits.seeds + self.refits.days)
            ]
            first = trained_runs[0]
            scores[name] = LevelScores(
                fitted=first.fits[-1].fitted,
                seeds=[trained.run for trained in trained_runs[: self.refits.seeds]],
                days=[trained.run for trained in trained_runs[self.refits.seeds :]],
                answered=level.answered[self.split.test],
                default=first.default,
                trained=first.trained,
                note=self._note(name),
                replayed=self._replayed(name, freshest) if self.replays else None,
                seconds=[trained.seconds for trained in trained_runs],
            )
        return scores

    def _run(
        self,
        name: str,
        again: int,
        rows: Mapping[tuple[str, int], tuple[I64, I64]],
        halves: Mapping[tuple[int, int], Bool],
    ) -> _Trained:
        """One level trained at every fold, with the seed and on the half of the days that this
        refit has at every level.
        """
        started, level = clock.stopwatch(), self.rows[name]
        fits, trained, defaults = [], [], []
        fitter, frame, negatives = (
            self.fitter,
            level.frame,
            None if self.negatives is None else self.negatives[name],
        )
        if negatives is not None:
            fitter, frame = (
                replace(fitter, outcomes=negatives.outcomes(fitter.outcomes)),
                negatives.features(frame),
            )
        for number in range(len(self.split.folds)):
            train, learnable = rows[name, number]
            if (again, number) in halves:
                learnable = learnable[halves[again, number][learnable]]
            seed = self.refits.seed(self.fitter.seed, again, number)
            fits.append(
                fitter.fit(
                    frame, learnable if negatives is None else negatives.rows(learnable), seed
                )
            )
            trained.append(len(learnable))
            defaults.append(self._default(fits[-1].fitted, level, train, learnable))
        default = defaults[-1] if isinstance(defaults[-1], float) else None
        run = self._scored(name, fits, defaults)
        kept_fits = fits if again == 0 else []  # a model of each refit would fill memory
        return _Trained(kept_fits, run, trained, default, defaults, clock.stopwatch() - started)

    def _rows(self, name: str, fold: Fold, order: I64) -> tuple[I64, I64]:
        """The training rows of a level at a fold, in order of time, and the rows of these that it
        can learn from: int64 each.
        """
        known_at = of_levels.outcomes_known(self.fitter.model, self.levels[name], self.requests)
        train = order[fold.train(known_at)[order]]
        learnable = train[self.rows[name].answered[train]]
        if self.negatives is not None:
            learnable = learnable[self.negatives[name].trains[learnable]]
        self._check(name, fold, len(train), learnable)
        return train, learnable

    def _halves(self, learnable: Mapping[tuple[str, int], I64]) -> Mapping[tuple[int, int], Bool]:
        """By refit and fold, the half of the training days that every level is trained on: bool
        (requests).
        """
        # negatives are drawn for each positive
        one_kind = self.fitter.model.task_type.values or self.negatives is not None
        halves = {}
        for number, fold in enumerate(self.split.folds):
            levels = [learnable[name, number] for name in self.rows]
            for again in range(self.refits.seeds, self.refits.seeds + self.refits.days):
                seed = (self.fitter.seed, again, number)
                kinds = 1 if one_kind else 2
                halves[again, number] = half_sample(
                    self.requests.t, fold.before_split, levels, self.fitter.outcomes.y, kinds, seed
                )
        return halves

    def _scored(self, name: str, fits: Sequence[Fit], defaults: Sequence[float | F64]) -> Run:
        """What the model of each fold says of the fold's test rows."""
        test = np.flatnonzero(self.split.test)
        folds = [fold.test[test] for fold in self.split.folds]
        parts = [
            self._of_fold(name, fit.fitted, mask, test, base)
            for fit, mask, base in zip(fits, folds, defaults, strict=True)
        ]
        score = np.empty((len(test), *parts[0].shape[1:]))
        threshold, cheapest = np.empty(len(test)), np.empty(len(test))
        for fit, mask, fold_scores in zip(fits, folds, parts, strict=True):
            score[mask], threshold[mask], cheapest[mask] = fold_scores, fit.threshold, fit.cheapest
        return Run(score, threshold, cheapest)

    def _of_fold(self, name: str, fitted: Fitted, mask: Bool, test: I64, base: float | F64) -> F64:
        if self.lists is not None:
            groups = self.fitter.outcomes.groups
            assert groups is not None
            return self.lists[name].places(fitted, None if mask.all() else groups[test[mask]])[mask]
        level, rows = self.rows[name], test[mask]
        return of_levels.filled(fitted.score(level.frame[rows]), level.answered[rows], base)

    def _replayed(self, name: str, freshest: _Trained) -> F64 | None:
        last = list(self.rows)[-1]
        same = list(self.rows[name].frame.columns) == list(self.rows[last].frame.columns)
        if name == last or freshest.fits[0].fitted.replayed or not same:
            return None
        return self._scored(name, freshest.fits, freshest.defaults).score

    def _note(self, name: str) -> str:
        note, model = self.rows[name].note, self.fitter.model
        if self.lists is None or not (model.ranking is not None and model.ranking.candidates):
            return note
        says = [
            note,
            self.lists[name].says(self.fitter.outcomes.y[self.split.test]),
            self._drawn(name),
        ]
        return "; ".join(note for note in says if note)

    def _drawn(self, name: str) -> str:
        """What the level draws to train on, in words."""
        if self.negatives is None:
            return ""
        negatives, answered = self.negatives[name], self.rows[name].answered & self.split.train
        drawn = (
            f"trained on {len(negatives.request_index):,} negatives sampled from the candidates, "
            "tested on all candidates"
        )
        unknown = int((answered & ~negatives.trains).sum())
        return (
            (
                f"{drawn}; {unknown:,} of {int(answered.sum()):,} training positives are not among "
                "the candidates and left out"
            )
            if unknown
            else drawn
        )

    def _default(
        self, fitted: Fitted, level: of_levels.LevelRows, train: I64, learnable: I64
    ) -> float | F64:
        """What stands in for a request that is not answered; of several classes, the share of
        each.
        """
        model, y = self.fitter.model, self.fitter.outcomes.y
        if model.task_type.classes:
            return np.bincount(
                y[train].astype(np.int64), minlength=len(self.fitter.outcomes.classes)
            ) / len(train)
        if model.default is not None:
            return float(model.default)
        return float(
            y[train].mean()
            if fitted.in_units_of_label
            else fitted.score(level.frame[learnable]).mean()
        )

    def _check(self, name: str, fold: Fold, train: int, learnable: I64) -> None:
        subject = f"level {name!r}" + (
            f", split {timestamp_text(fold.at)}" if len(self.split.folds) > 1 else ""
        )
        if not train:
            raise DataError(
                f"{subject}: no outcome is known by then, so nothing trains; give outcomes sooner, "
                "or split later"
            )
        if not len(learnable) and self.negatives is not None:
            raise DataError(
                f"{subject}: none of the {train} training rows has its chosen item among the "
                "candidates that were known when it asked; check that candidates hold items as "
                "the labels write them, and that their sources' history begins before the labels"
            )
        if not len(learnable):
            raise DataError(
                f"{subject}: none of the {train} training rows is answered, since no event of "
                "their "
                "keys was known when the scores were made; check the keys of precomputed(), and "
                "that the sources' history begins before the labels"
            )
        if self.fitter.model.task_type.positives:
            check_classes(
                self.fitter.outcomes.y[learnable],
                f"model {self.fitter.model.name!r}, {subject}, training rows",
                self.split.left_out,
            )


@dataclass(frozen=True)
class _Trained:
    """fits: of each fold; of the first run only."""

    fits: Sequence[Fit]
    run: Run
    trained: Sequence[int]
    default: float | None
    defaults: Sequence[float | F64]
    seconds: float
