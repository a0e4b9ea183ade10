"""Export of an experiment: the tables, plan and schedule that its main figure is computed from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl

from headwater.errors import DataError
from headwater.results.experiment_result import ExperimentResult

EXPOSURES, OUTCOMES, PLAN, SCHEDULE = (
    "exposures.parquet",
    "outcomes.parquet",
    "plan.json",
    "schedule.csv",
)


def write(
    result: ExperimentResult, exposures: pl.DataFrame, outcomes: pl.DataFrame, folder: Path
) -> Path:
    """Write the files into a folder, which is made, and return it.

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        exposures.write_parquet(folder / EXPOSURES)
        outcomes.write_parquet(folder / OUTCOMES)
        plan = {"digest": result.digest, "plan": result.plan, "changes": list(result.changes)}
        (folder / PLAN).write_bytes(
            msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n"
        )
        if result.schedule:
            pl.DataFrame(
                list(result.schedule), schema=["region", "bucket", "arm"], orient="row"
            ).write_csv(folder / SCHEDULE)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder
