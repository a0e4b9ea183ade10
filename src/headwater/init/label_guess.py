"""The outcome: a column of numbers, booleans or a few words, and the task that it makes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from headwater.errors import DataError, UsageError, nearest
from headwater.init.key_guess import ID_NAME
from headwater.init.tables import TableProfile, quoted

LABEL_NAME = re.compile(
    r"label|target|outcome|^y$|^(is|has|was)_|late|fraud|churn|convert|click", re.IGNORECASE
)
YES = (
    "yes",
    "y",
    "true",
    "t",
    "1",
    "positive",
    "fraud",
    "churned",
    "converted",
    "late",
    "defaulted",
    "ja",
)
NO = ("no", "n", "false", "f", "0", "negative", "nein")
CLASSES = 20  # words that an outcome may have
ROWS = 2


@dataclass(frozen=True)
class LabelGuess:
    """The outcome: its column, the task, the evidence, and the word that counts as positive (None:
    it is a number or a boolean).
    """

    name: str
    task: str
    evidence: str
    positive: str | None = None
    numeric: bool = True  # whether its values are, so that past outcomes have a mean

    def code(self) -> str:
        """The code of the outcome in a project file, as a polars expression."""
        column = f"pl.col({quoted(self.name)})"
        return column if self.positive is None else f"({column} == {quoted(self.positive)})"

    def values(self, frame: pl.DataFrame) -> pl.Series:
        """The outcome as float64; of several classes, their order."""
        series = frame[self.name]
        if self.positive is not None:
            return (series == self.positive).cast(pl.Float64).alias(self.name)
        if series.dtype in (pl.String, pl.Categorical, pl.Enum):
            return series.cast(pl.String).rank("dense").cast(pl.Float64)
        return series.cast(pl.Float64)


def candidates(events: TableProfile, labels: TableProfile) -> list[str]:
    """Columns that could be the outcome, the likeliest first: by name, then flags, then columns
    that the events lack, then numbers.
    """
    columns = [
        c
        for c in (*labels.texts, *labels.numbers)
        if not ID_NAME.search(c) and _possible(labels, c)
    ]

    def score(name: str) -> tuple[bool, bool, bool, bool]:
        return (
            LABEL_NAME.search(name) is not None,
            _is_flag(labels, name),
            name not in events.kinds,
            labels.kinds[name] != "text",
        )

    columns.reverse()  # of equal ones the last, since outcomes tend to be the last columns
    return sorted(columns, key=score, reverse=True)


def guess_label(events: TableProfile, labels: TableProfile, label: str | None) -> LabelGuess:
    """The given outcome, else the likeliest column.

    Raises:
        UsageError: the given column cannot be an outcome, or no column could be.
        DataError: the labels have too few rows.
    """
    if labels.rows < ROWS:
        raise DataError(
            f"{labels.path} has {labels.rows} row; a model learns from past requests with both "
            "outcomes: give hundreds of them"
        )
    possible = candidates(events, labels)
    if label is not None and label not in labels.kinds:
        raise UsageError(f"--label {label}: the column is not there; {nearest(label, possible)}")
    if label is not None and not _possible(labels, label):
        raise UsageError(
            f"--label {label}: an outcome is numbers, booleans or at most {CLASSES} words, with "
            f"more than one value; {_column_kind(labels, label)}"
        )
    if not possible and label is None:
        raise UsageError(
            f"{labels.path} has no column that could be the outcome: one of numbers, booleans or "
            f"at most {CLASSES} words with more than one value. Its columns are "
            f"{', '.join(labels.frame.columns[:12])}; name one with --label"
        )
    best = label or possible[0]
    missing = labels.frame[best].null_count()
    others = [c for c in possible if c != best][:4] if label is None else []
    tail = f"; {missing:,} rows have none and are left out" if missing else ""
    tail += f"; it could also be {', '.join(others)}: --label" if others else ""
    return _described(labels, best, tail)


def _described(labels: TableProfile, name: str, tail: str) -> LabelGuess:
    values = labels.frame[name].drop_nulls()
    if labels.kinds[name] == "text":
        counts = values.cast(pl.String).value_counts(sort=True)
        words, sizes = counts[name].to_list(), counts["count"].to_list()
        if len(words) == 2:
            positive = next(
                (w for w in words if w.lower() in YES),
                next((words[1 - i] for i in (0, 1) if words[i].lower() in NO), words[1]),
            )
            share = sizes[words.index(positive)] / len(values)
            negative = words[1 - words.index(positive)]
            return LabelGuess(
                name,
                "binary",
                f"{positive!r} is the positive outcome, {share:.1%} of rows; {negative!r} is the "
                f"other{tail}",
                positive,
            )
        named = f"{', '.join(map(str, words[:6]))}{', ...' if len(words) > 6 else ''}"
        return LabelGuess(name, "multiclass", f"{len(words)} classes: {named}{tail}", numeric=False)
    numbers = values.cast(pl.Float64).to_numpy()
    if _two_valued(labels, name):
        return LabelGuess(name, "binary", f"0 or 1; {numbers.mean():.1%} are 1{tail}")
    return LabelGuess(
        name, "regression", f"numbers from {numbers.min():g} to {numbers.max():g}{tail}"
    )


def _possible(labels: TableProfile, name: str) -> bool:
    distinct = labels.distinct.get(name, 0)
    return distinct > 1 and (
        labels.kinds[name] == "number" or (labels.kinds[name] == "text" and distinct <= CLASSES)
    )


def _column_kind(labels: TableProfile, name: str) -> str:
    if name in labels.time_columns:
        return "this one has times"
    return f"this one is {labels.frame[name].dtype} with {labels.distinct.get(name, 0):,} values"


def _is_flag(table: TableProfile, name: str) -> bool:
    """Whether a column is 0 or 1, or yes or no."""
    if table.kinds[name] == "text":
        words = {word.lower() for word in table.frame[name].drop_nulls().cast(pl.String).unique()}
        return len(words) == 2 and bool(words & {*YES, *NO})
    return _two_valued(table, name)


def _two_valued(table: TableProfile, name: str) -> bool:
    """Whether numbers are 0 or 1."""
    return table.distinct[name] == 2 and set(
        table.frame[name].drop_nulls().unique().cast(pl.Float64).to_list()
    ) == {0.0, 1.0}


def determining(table: TableProfile, label: LabelGuess) -> list[str]:
    """Columns that determine the label: a threshold splits it, each value has one outcome, or it is
    a multiple.
    """
    outcome = label.values(table.frame)
    others = (c for c in (*table.numbers, *table.texts) if c != label.name)
    return [
        c
        for c in others
        if _tells(pl.DataFrame([table.frame[c], outcome]).drop_nulls(), c, label.name)
    ]


def _tells(rows: pl.DataFrame, column: str, label: str) -> bool:
    outcomes = rows[label].n_unique()
    if outcomes < 2:
        return False
    if outcomes > 2:
        if not rows[column].dtype.is_numeric():
            return False
        same = rows.select(pl.corr(column, label)).item()
        return same is not None and abs(same) > 0.999
    if rows[column].dtype == pl.String or not rows[column].dtype.is_numeric():
        values = rows[column].n_unique()
        return values * 2 < rows.height and rows.select(column, label).n_unique() == values
    (low, high) = (group[column] for group in rows.partition_by(label, maintain_order=True))
    return bool(low.max() < high.min() or high.max() < low.min())  # type: ignore[operator]
