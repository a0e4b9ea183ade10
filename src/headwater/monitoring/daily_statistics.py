"""Daily statistics of the serving log: small counts for each day, so that a page over millions of
rows reads none of them.

    FOLDER/served_statistics/2026-03-12.parquet    one table a day, with the files of the log that
                                                   it covers

The process that converts segments adds each new file of the log to its day (`update`); a file is
read once. Counts of two files add up. The table has a row for each count: `folder` ("model=churn"),
`subject`, `measure`, `bucket`, `label`, `count`.

    measure    subject            bucket               label      counts
    rows                          hour of the day                 rows
    how                                                how        predictions
    version                                            version    rows
    latency    stage, or ""       of microseconds                 rows
    status     feature                                 status     rows
    null       feature                                            rows
    value      feature            of the value                    sampled rows
    text       feature                                 the value  sampled rows; of a value with 20
               and 1 % in a file
    age        view               of seconds                      sampled rows
    read       view                                               rows that read it
    stale      view                                               rows
    incomplete view                                               rows
    file       path in the log    size in bytes                   1

A bucket has the sign, the exponent and three bits of the mantissa of a float64, as
`aggregations.approx_percentile` has six: its middle is within 6.25 % of each value in it. A bucket
that begins at an integer up to 16 is read as this number, so small counts are exact.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from headwater import disk
from headwater.engine.checkpoint import lock
from headwater.events.columns import status_name
from headwater.ingestion.archive import durable
from headwater.journal.serving_log_files import SERVED
from headwater.journal.serving_log_rows import AT, LATENCY, PREDICTION_HOW, VERSION, VIEWS
from headwater.kernel.arrays import F64, I64

STATISTICS: Final = "served_statistics"
SCHEMA: Final = {
    "folder": pl.String,
    "subject": pl.String,
    "measure": pl.String,
    "bucket": pl.Int64,
    "label": pl.String,
    "count": pl.Int64,
}
_KEYS: Final = ("folder", "subject", "measure", "bucket", "label")
_SHIFT: Final = 52 - 3
_SAMPLED: Final = 10_000  # rows of a file
_SHARE: Final = 0.01  # of a file's sampled rows that a text needs
_FEW: Final = 20  # sampled rows that a text needs, so that none of a few people is kept
_BATCH: Final = 50  # files between two writes
_PATH: Final = "path"
_DAY = re.compile(r"headwater_date=(\d{4}-\d{2}-\d{2})")

Key = tuple[str, str, str, int | None, str | None]


def update(folder: Path, most: int | None = None) -> int:
    """Add the files of the serving log that no statistics cover yet, the newest days first; how
    many.

    A day with a file that has been rewritten or deleted is computed again. Where another process is
    at it, nothing is done.

    Args:
        folder: the data directory; the log is its subfolder `served`.
        most: how many files at most; None is all.

    Raises:
        OSError: a file cannot be read or written.
    """
    root, target = folder / SERVED, folder / STATISTICS
    pending = list(_pending(root, target))
    if not pending:
        return 0
    disk.own_folder(folder)
    disk.make_folder(target)
    done = 0
    with disk.open_private(target / "lock", "ab") as file:
        if not lock(file):
            return 0
        for day, counted, new in pending:
            counts = counted
            for first in range(0, len(new), _BATCH):
                paths = new[
                    first : first + _BATCH if most is None else first + min(_BATCH, most - done)
                ]
                if not paths:
                    return done
                counts = _added([counts, *(_counts_of(root, path) for path in paths)])
                durable(counts, _path(target, day))
                done += len(paths)
    return done


def uncovered(folder: Path) -> int:
    """How many files of the serving log the statistics do not cover yet."""
    return sum(len(new) for _, _, new in _pending(folder / SERVED, folder / STATISTICS))


def daily_statistics(
    folder: Path,
    *,
    since: date | None = None,
    measures: Collection[str] = (),
    subjects: Collection[str] = (),
) -> pl.DataFrame:
    """The counts, with the column `day`; those of some measures and subjects where these are given.

    >>> import tempfile
    >>> daily_statistics(Path(tempfile.mkdtemp())).columns
    ['day', 'folder', 'subject', 'measure', 'bucket', 'label', 'count']
    """
    paths = [
        path
        for path in _tables(folder / STATISTICS)
        if since is None or date.fromisoformat(path.stem) >= since
    ]
    if not paths:
        return pl.DataFrame(schema={"day": pl.Date, **SCHEMA})
    rows = pl.scan_parquet(paths, hive_partitioning=False, include_file_paths=_PATH)
    if measures:
        rows = rows.filter(pl.col("measure").is_in(list(measures)))
    if subjects:
        rows = rows.filter(pl.col("subject").is_in(list(subjects)))
    day = pl.col(_PATH).str.slice(-len("2026-03-12.parquet"), 10).str.to_date("%Y-%m-%d")
    return rows.select(day.alias("day"), *SCHEMA).collect()


def prune_statistics(folder: Path) -> None:
    """Delete the statistics of days that the log no longer has."""
    for path in _tables(folder / STATISTICS):
        if not (folder / SERVED / f"headwater_date={path.stem}").exists():
            path.unlink(missing_ok=True)


def buckets(values: F64) -> I64:
    """The bucket of each finite value."""
    sizes = np.abs(values).view(np.int64) >> _SHIFT
    sizes[sizes < 8] = 0  # no exponent: 0, or nearer to it than any bucket
    return np.where(values < 0, -sizes, sizes)


def middles(bucket_numbers: I64) -> F64:
    """The value in the middle of each bucket; of one that begins at an integer up to 16, this
    number.
    """
    sizes = np.abs(bucket_numbers)
    middle = ((sizes << _SHIFT) | (1 << (_SHIFT - 1))).view(np.float64)
    low = (sizes << _SHIFT).view(np.float64)
    middle = np.where((low == np.floor(low)) & (low <= 16), low, middle)
    return np.where(sizes == 0, 0.0, np.where(bucket_numbers < 0, -middle, middle))


def quantiles(
    bucket_numbers: Sequence[int], counts: Sequence[int], shares: Sequence[float]
) -> list[float]:
    """The values that these shares of the counted values do not exceed, from buckets and their
    counts; NaN where nothing is counted.

    >>> quantiles(buckets(np.array([1.0, 2.0, 4.0])).tolist(), [1, 1, 2], [0.25, 0.5, 0.9])
    [1.0, 2.0, 4.0]
    """
    places = np.asarray(bucket_numbers, np.int64)
    if not len(places):
        return [float("nan")] * len(shares)
    order = np.argsort(places, kind="stable")
    total = np.cumsum(np.asarray(counts, np.int64)[order])
    ranks = np.maximum(1, np.ceil(np.asarray(shares) * total[-1]))
    index = np.searchsorted(total, ranks, side="left")
    return [float(value) for value in middles(places[order][index])]


def _tables(target: Path) -> list[Path]:
    return sorted(target.glob("????-??-??.parquet"))


def _path(target: Path, day: date) -> Path:
    return target / f"{day:%Y-%m-%d}.parquet"


def _pending(root: Path, target: Path) -> Iterator[tuple[date, pl.DataFrame, list[Path]]]:
    """By day, the newest first: the counts so far, and the files that are not in them."""
    none = pl.DataFrame(schema=SCHEMA)
    by_day: dict[date, dict[str, int]] = {}
    for day, name, size in (
        daily_statistics(target.parent, measures=["file"])
        .select("day", "subject", "bucket")
        .iter_rows()
    ):
        by_day.setdefault(day, {})[name] = size
    for day_path in sorted(root.glob("headwater_date=*"), reverse=True):
        match = _DAY.fullmatch(day_path.name)
        if match is None:
            continue
        day = date.fromisoformat(match[1])
        covered = by_day.get(day, {})
        files = {
            str(path.relative_to(root)): path.stat().st_size
            for path in sorted(day_path.glob("*/*.parquet"))
        }
        # a file was rewritten, or deleted
        if any(files.get(name) != size for name, size in covered.items()):
            yield day, none, [root / name for name in files]
        elif new := [root / name for name in files if name not in covered]:
            yield (
                day,
                pl.read_parquet(_path(target, day), hive_partitioning=False) if covered else none,
                new,
            )


def _added(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The sum of counts, sorted so that a feature's stand together."""
    return (
        pl.concat(tables)
        .group_by(_KEYS)
        .agg(pl.col("count").sum())
        .sort("subject", "measure", "folder", "bucket", "label")
    )


def _counts_of(root: Path, path: Path) -> pl.DataFrame:
    """The counts of one file of the log."""
    rows = pl.read_parquet(path, hive_partitioning=False)
    counts: Counter[Key] = Counter()
    step = -(-rows.height // _SAMPLED) or 1
    sample = rows.gather_every(step)
    folder = path.parent.name
    counts[folder, str(path.relative_to(root)), "file", path.stat().st_size, None] = 1
    hours = rows[AT].dt.hour().value_counts()
    counts.update({(folder, "", "rows", int(hour), None): n for hour, n in hours.iter_rows()})
    for measure, column in (("how", PREDICTION_HOW), ("version", VERSION)):
        counts.update(
            {
                (folder, "", measure, None, label): n
                for label, n in rows[column].drop_nulls().value_counts().iter_rows()
            }
        )
    for name in rows.columns:
        if name == LATENCY or name.startswith(f"{LATENCY}__"):
            _count_values(
                counts,
                (folder, name.removeprefix(LATENCY).removeprefix("__"), "latency"),
                rows[name],
            )
    for name in rows.columns:
        if (status := status_name(name)) in rows.columns:
            _count_feature(counts, folder, name, rows[name], rows[status], sample[name])
    views = next(iter(rows[VIEWS].drop_nulls()), "{}")
    for view in json.loads(views):
        _count_values(
            counts, (folder, view, "age"), sample[f"{view}__age"].dt.total_microseconds() / 1e6
        )
        counts[folder, view, "read", None, None] = rows.height - rows[f"{view}__K"].null_count()
        for flag in ("stale", "incomplete"):
            counts[folder, view, flag, None, None] = int(rows[f"{view}__{flag}"].sum() or 0)
    keys = list(zip(*counts, strict=True))
    columns = dict(zip(_KEYS, keys, strict=True)) | {"count": list(counts.values())}
    return pl.DataFrame(columns, SCHEMA).filter(pl.col("count") > 0)


def _count_feature(
    counts: Counter[Key],
    folder: str,
    name: str,
    values: pl.Series,
    statuses: pl.Series,
    sample: pl.Series,
) -> None:
    counts.update(
        {
            (folder, name, "status", None, str(label)): n
            for label, n in statuses.drop_nulls().value_counts().iter_rows()
        }
    )
    counts[folder, name, "null", None, None] = values.null_count()
    if sample.dtype.is_numeric() or sample.dtype == pl.Boolean():
        _count_values(counts, (folder, name, "value"), sample)
    elif sample.dtype == pl.String():
        texts = (
            sample.drop_nulls()
            .value_counts()
            .filter(pl.col("count") >= max(_SHARE * sample.len(), _FEW))
        )
        counts.update({(folder, name, "text", None, label): n for label, n in texts.iter_rows()})


def _count_values(counts: Counter[Key], key: tuple[str, str, str], values: pl.Series) -> None:
    numbers = values.cast(pl.Float64).drop_nulls().to_numpy()
    filled, times = np.unique(buckets(numbers[np.isfinite(numbers)]), return_counts=True)
    counts.update(
        {(*key, bucket, None): n for bucket, n in zip(filled.tolist(), times.tolist(), strict=True)}
    )
