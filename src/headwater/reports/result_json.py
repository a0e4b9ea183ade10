"""The result as JSON values, for `--json` and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from headwater.reports import wording
from headwater.results.backtest_result import BacktestResult, LevelResult
from headwater.results.estimate import Estimate, Paired


def to_json(result: BacktestResult) -> dict[str, object]:
    """The result as a dictionary of JSON values; NaN and infinity become None.

    Keys: levels, paired, slices, folds, money, new_keys, transitions, attribution, leak_audit, seconds, rows; also
    model, task, headline, verdict,
    split, estimator, fingerprint, versions, assumptions and other context of the numbers.
    The points of the curves and the rows of each day are left out: they are `result.levels[i].curves` and
    `result.split.rows_per_day`.
    """
    split = result.split
    return {
        "model": result.model,
        "task": result.task,
        "headline": result.headline,
        "verdict": wording.verdict(result),
        "higher_is_better": dict(result.higher_is_better),
        "min_lift": _finite_values(result.min_lift),
        "positive_rate": _finite(result.positive_rate),
        "levels": _levels(result.levels),
        "paired": _paired(result.paired),
        "slices": [
            {
                "name": slice_result.name,
                "describes": slice_result.describes,
                "rows": slice_result.rows,
                "levels": _levels(slice_result.levels),
                "paired": _paired(slice_result.paired),
                "note": slice_result.note,
            }
            for slice_result in result.slices
        ],
        "leak_audit": [
            {**asdict(finding), "columns": list(finding.columns), "share": _finite(finding.share)} for finding in result.leak_audit
        ],
        "folds": [
            {**asdict(fold), "values": {level: _finite_values(values) for level, values in fold.values.items()}} for fold in result.folds
        ],
        "money": None if result.money is None else _numbers(asdict(result.money)),
        "new_keys": None if result.new_keys is None else {**_numbers(asdict(result.new_keys)), "keys": list(result.new_keys.keys)},
        "transitions": [
            {**asdict(step), "coverage": [*map(_finite, step.coverage)], "coverage_of_new": [*map(_finite, step.coverage_of_new)]}
            for step in result.transitions
        ],
        "attribution": None if result.attribution is None else result.attribution.to_dict(),
        "intervals": result.intervals,
        "seconds": _finite_values(result.seconds),
        "rows": {"train": split.train_rows, "test": split.test_rows, "left_out": dict(split.left_out)},
        "split": {"train_start": split.train_start, "split": split.split, "test_end": split.test_end},
        "label_delay_seconds": _finite_values(split.label_delay_seconds),
        "definitions": result.definitions,
        "fingerprint": result.fingerprint,
        "versions": dict(result.versions),
        "assumptions": list(result.assumptions),
        "not_in_training": list(result.not_in_training),
        "estimator": result.estimator,
        "encoded": dict(result.encoded),
    }


def _levels(levels: Sequence[LevelResult]) -> list[dict[str, object]]:
    return [
        {
            "name": level.name,
            "kind": level.kind,
            "describes": level.describes,
            "age_seconds": _finite(level.age_seconds),
            "metrics": {name: _estimate(value) for name, value in level.metrics.items()},
            "coverage": _finite(level.coverage),
            "replayed": _finite_values(level.replayed),
            "note": level.note,
            "train_rows": level.train_rows,
        }
        for level in levels
    ]


def _paired(paired: Sequence[Paired]) -> list[dict[str, object]]:
    return [
        {
            "from": step.from_,
            "to": step.to,
            "metric": step.metric,
            "delta": _finite(step.delta),
            "low": _finite(step.low),
            "high": _finite(step.high),
            "detectable": _finite(step.detectable),
            "verdict": step.verdict,
            "sentence": step.sentence,
            "p": _finite(step.p),
            "family": step.family,
        }
        for step in paired
    ]


def _estimate(value: Estimate) -> dict[str, float | None]:
    return {"value": _finite(value.value), "low": _finite(value.low), "high": _finite(value.high)}


def _numbers(values: Mapping[str, object]) -> dict[str, object]:
    return {name: _finite(value) if isinstance(value, float) else value for name, value in values.items()}


def _finite_values(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
