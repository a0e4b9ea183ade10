"""The files of the serving log: their paths, reading them as one log, and their retention.

Requests are in segments first, files of the journal, and in parquet files once these are converted
(`conversion`). `segments` lists both, `read` reads both, and each request is returned exactly once,
also while segments are converted.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from headwater import clock, settings
from headwater.definitions.checks import parse_timestamp
from headwater.errors import DataError, nearest
from headwater.journal.format import SERVED_ROWS
from headwater.journal.journal_files import CLOSED, OPEN, journal_files
from headwater.journal.serving_log_frames import rows_of
from headwater.journal.serving_log_rows import AT

SERVED, SEGMENTS = "served", "segments"
_EPOCH = date(1970, 1, 1)
_DAY = re.compile(r"headwater_date=(\d{4}-\d{2}-\d{2})")


def served(
    folder: str | Path | None = None,
    *,
    model: str | None = None,
    service: str | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
) -> pl.LazyFrame:
    """What was served, one row a request (of a ranking, a candidate), from early to late within
    each file.

    Columns that a row was served without are null in it:

    - the request's own columns, named `headwater_given_<name>` where a feature has the name;
    - each feature, and its status `<feature>__status`;
    - of each view `<view>__T`, `<view>__K`, `<view>__age` (t - K), `<view>__stale`,
      `<view>__incomplete`, and `<view>__sequence`: the last commit that counts, as JSON, a number
      or where several processes write one for each partition;
    - `headwater_request` (its id), `headwater_row` (in it), `headwater_at` (when it asked),
      `headwater_prediction`, `headwater_how` (precomputed, on_request, default),
      `headwater_prediction_age`, `headwater_latency_us` and `headwater_latency_us__<stage>`;
    - of a ranking with `explore=`: `headwater_propensity`, the probability that the place had this
      item, `headwater_explored`, whether its list is in random order; the first row of such a list
      has in `headwater_candidates` all items that could have been shown;
    - `headwater_kind`, `_project`, `_service`, `_model`, `_version`, `_arm`, `_level`, and
      `_views`, their fingerprints as JSON.

    Args:
        folder: where the log was written; None is headwater's home.
        model: the predictions of that model.
        service: the features of that service that were asked for without a model.
        since, until: rows that asked from `since` on and before `until`: tz-aware, or ISO 8601 with
            an offset.

    Raises:
        DataError: nothing was served, or nothing of that name, or nothing then.
    """
    files = segments(folder, model=model, service=service, since=since, until=until)
    frame = read(files)
    if since is not None:
        frame = frame.filter(pl.col(AT) >= _timestamp(since, "since"))
    return frame if until is None else frame.filter(pl.col(AT) < _timestamp(until, "until"))


def segments(
    folder: str | Path | None = None,
    *,
    model: str | None = None,
    service: str | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
) -> list[Path]:
    """The files of the log that may hold such rows, sorted, segments last; see `served`."""
    root = (settings.home() if folder is None else Path(folder)) / SERVED
    wanted = [
        f"{kind}={name}"
        for kind, name in (("model", model), ("service", service))
        if name is not None
    ]
    first = date.min if since is None else _timestamp(since, "since").date()
    last = date.max if until is None else _timestamp(until, "until").date()
    day_paths = [day_path for day, day_path in _days(root) if first <= day <= last]
    raw = [path for path in raw_segments(root) if not wanted or path.parent.name in wanted]
    if since is not None or until is not None:
        raw = [path for path in raw if any(first <= day <= last for day in _raw_days(path))]
    files = sorted(
        path
        for day_path in day_paths
        for name in wanted or ("*",)
        for path in day_path.glob(f"{name}/*.parquet")
    )
    if files or raw:  # in this order: a segment that was converted in between is a file by now
        return files + raw
    folders = [
        *(day_path for _, day in _days(root) for day_path in day.iterdir()),
        *(path.parent for path in raw_segments(root)),
    ]
    names = {folder.name.partition("=")[2] for folder in folders}
    if not names:
        raise DataError(f"no serving log at {root}; `headwater serve` writes one in its --data-dir")
    selection = " and ".join(name.replace("=", " ") for name in wanted)
    if wanted and not names & {name for name in (model, service) if name is not None}:
        raise DataError(
            f"the serving log at {root} has no rows of {selection}; "
            f"{nearest(str(model or service), names)}"
        )
    raise DataError(
        f"the serving log at {root} has no rows{f' of {selection}' if selection else ''} from "
        f"{first} to {last}; take other days"
    )


def read(files: Sequence[Path]) -> pl.LazyFrame:
    """The rows of some files; a column that is not in all of them is null in the others.

    Raises:
        DataError: they have no whole request.
        StoreError: a segment of another version.
    """
    parquet_files = list(files)
    frames: list[pl.LazyFrame] = []
    for path in files:
        if path.suffix not in (OPEN, CLOSED):
            continue
        parquet_files.remove(path)
        days = _raw_rows(path)
        converted = {
            file.parent.parent.name for file in parquet_files if file.stem.endswith(f"-{path.stem}")
        }
        if days is None:  # it has been converted since it was listed
            parquet_files += [
                file for file in _converted(path) if file.parent.parent.name not in converted
            ]
        else:
            frames += [
                rows.lazy()
                for day, rows in days.items()
                if day_folder(path, day).name not in converted
            ]
    if not parquet_files and not frames:
        raise DataError(
            "no whole request has been written to the serving log yet; read it again after some "
            "requests"
        )
    return pl.concat(
        [*(pl.scan_parquet(path, hive_partitioning=False) for path in parquet_files), *frames],
        how="diagonal_relaxed",
    )


def raw_segments(root: Path) -> list[Path]:
    """The segments that are not converted, sorted by name; `root`: of the serving log."""
    return journal_files(root.parent, SERVED_ROWS)


def _raw_rows(path: Path) -> dict[date, pl.DataFrame] | None:
    """The rows of a segment by day; None where it is gone. It may be closed since it was listed."""
    for at in (path, path.with_suffix(CLOSED)):
        with suppress(FileNotFoundError):
            return {
                _EPOCH + timedelta(days=day): rows
                for day, rows in rows_of(at.read_bytes(), str(at)).days.items()
            }
    return None


def _raw_days(path: Path) -> list[date]:
    """The days of a segment's requests."""
    days = _raw_rows(path)
    return (
        list(days)
        if days is not None
        else [
            date.fromisoformat(file.parent.parent.name.partition("=")[2])
            for file in _converted(path)
        ]
    )


def _converted(path: Path) -> list[Path]:
    """The files that a segment was converted to."""
    return sorted(
        path.parents[2].glob(f"headwater_date=*/{path.parent.name}/*-{path.stem}.parquet")
    )


def day_folder(root: Path, day: date) -> Path:
    """The folder of a day."""
    return root / f"headwater_date={day:%Y-%m-%d}"


def prune(root: Path, keep: int, now: int) -> list[Path]:
    """Delete the days that ended, and were last written to, more than `keep` before `now`,
    microseconds both; which these were.

    The second matters where requests ask as of a time long past, as a replay of history does.
    """
    limit = now - keep
    end = clock.timestamp(limit).date()
    for path in (root / SEGMENTS).glob("*/*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime_ns // 1000 < limit:
                path.unlink()
    old = [day_path for day, day_path in _days(root) if day < end and _written(day_path) < limit]
    for day_path in old:
        shutil.rmtree(day_path, ignore_errors=True)  # another process may be at it
    return old


def _written(day_path: Path) -> int:
    """When a file of the folder was last written, in microseconds."""
    times = []
    for path in day_path.rglob("*"):
        with suppress(FileNotFoundError):  # another process has just named it, or deleted it
            times.append(path.stat().st_mtime_ns // 1000)
    return max(times, default=0)


def _days(root: Path) -> list[tuple[date, Path]]:
    matches = [
        (match, day_path)
        for day_path in sorted(root.glob("headwater_date=*"))
        if (match := _DAY.fullmatch(day_path.name))
    ]
    return [(date.fromisoformat(match[1]), day_path) for match, day_path in matches]


def _timestamp(timestamp: datetime | str, option: str) -> datetime:
    return clock.timestamp(parse_timestamp(timestamp, option))
