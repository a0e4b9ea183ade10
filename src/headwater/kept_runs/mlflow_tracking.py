"""Kept runs as runs of MLflow tracking."""

from __future__ import annotations

import json

from headwater.kept_runs.runs import KeptRun
from headwater.models.formats.mlflow import TrackedRun, log_run


def log_to_mlflow(run: KeptRun, tracking_uri: str, experiment: str = "headwater") -> str:
    """Log a kept run, and return the id that MLflow gives it. A run that was logged before is found
    by its tag, and not logged again.

    Args:
        run: which.
        tracking_uri: of the tracking server, or a `file:` URI.
        experiment: the name of MLflow's experiment; it is made where it is not there.

    Raises:
        MissingExtraError: mlflow is not installed.
        ConnectError: the server cannot be reached, or refuses.
    """
    record = run.record
    tags = {
        "headwater.kind": record.kind,
        "headwater.subject": record.subject,
        "mlflow.source.git.commit": record.commit,
        "mlflow.user": record.by,
        "mlflow.note.content": record.sentence,
    }
    params = {**record.definitions, **{f"data {name}": seen for name, seen in record.data.items()}}
    files = {"result.json": json.dumps(run.to_dict(), indent=1)}
    return log_run(
        TrackedRun(record.id, ("headwater.run", record.id), tags, record.figures, params, files),
        tracking_uri,
        experiment,
    )
