"""The sample rate of a serving log, by the process that wrote it, and the weight of each logged
request.

    FOLDER/served/sample_rates/PROCESS      the share of requests that this process kept, as text;
                                            absent where it kept all

Requests are sampled by a hash of their ids, so each is kept with the same probability, and its
Horvitz-Thompson weight is 1 over the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import polars as pl

from headwater import disk
from headwater.errors import DataError
from headwater.journal.serving_log_files import read
from headwater.journal.serving_log_rows import REQUEST

RATES = "sample_rates"


def write_rate(root: Path, process: str, rate: float) -> None:
    """Note the rate at which a process keeps requests.

    Args:
        root: of the serving log.
        process: as its segments are named.
        rate: above 0 and up to 1.
    """
    if not 0 < rate < 1:
        return
    path = disk.make_folder(root / RATES) / process
    with disk.open_private(path, "wb") as file:
        file.write(repr(rate).encode())


def rate_of(path: Path) -> float:
    """The rate at which the requests of a file of the log, parquet or segment, were kept.

    Raises:
        DataError: the note of the rate is not a number above 0 and up to 1.
    """
    parquet = path.suffix == ".parquet"
    stem = path.stem.partition("-")[2] if parquet else path.stem
    note = path.parents[2] / RATES / stem.rpartition("-")[0]
    with suppress(FileNotFoundError):
        text = note.read_text(encoding="utf-8")
        with suppress(ValueError):
            if 0 < float(text) <= 1:
                return float(text)
        raise DataError(
            f"{note} holds {text!r}; it is the share of requests that were logged, above 0 and up "
            "to 1"
        )
    return 1.0


def request_weights(files: Sequence[Path], requests: pl.Series) -> pl.Series:
    """The Horvitz-Thompson weight of each request, float64: 1 over the rate at which its file was
    sampled.

    Args:
        files: of the serving log.
        requests: ids.
    """
    by_rate: dict[float, list[Path]] = {}
    for path in files:
        by_rate.setdefault(rate_of(path), []).append(path)
    weights = pl.DataFrame(schema={REQUEST: pl.String, "weight": pl.Float64})
    for rate, sampled in by_rate.items():
        if rate < 1:
            ids = read(sampled).select(pl.col(REQUEST).cast(pl.String)).unique().collect()
            weights = pl.concat([weights, ids.with_columns(pl.lit(1 / rate).alias("weight"))])
    weights = weights.unique(REQUEST, keep="first", maintain_order=True)
    request_frame = pl.DataFrame({REQUEST: requests.cast(pl.String)})
    return request_frame.join(weights, on=REQUEST, how="left", maintain_order="left")[
        "weight"
    ].fill_null(1.0)
