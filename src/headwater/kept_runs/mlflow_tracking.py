"""Runs as runs of MLflow tracking. The extra [mlflow] is imported here, when a run is logged."""

from __future__ import annotations

import json
import re
from typing import Final

from headwater.errors import ConnectError, MissingExtraError
from headwater.kept_runs.runs import Run

_UNNAMED: Final = re.compile(r"[^\w\-. :/]")  # what MLflow allows in a metric's name
_LONGEST: Final = 500  # characters of a parameter's value


def log_to_mlflow(run: Run, tracking_uri: str, experiment: str = "headwater") -> str:
    """Log a kept run, and return the id that MLflow gives it. A run that was logged before is found by its tag, and not logged again.

    Args:
        run: which.
        tracking_uri: of the tracking server, or a `file:` or `sqlite:` URI.
        experiment: the name of MLflow's experiment; it is made where it is not there.

    Raises:
        MissingExtraError: mlflow is not installed.
        ConnectError: the server cannot be reached, or refuses.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingExtraError(str(error.name), "mlflow") from error
    record = run.record
    try:
        client = MlflowClient(tracking_uri)
        known = client.get_experiment_by_name(experiment)
        of = client.create_experiment(experiment) if known is None else known.experiment_id
        found = client.search_runs([of], f"tags.`headwater.run` = '{record.id}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {
            "headwater.run": record.id,
            "headwater.kind": record.kind,
            "headwater.subject": record.subject,
            "mlflow.source.git.commit": record.commit,
            "mlflow.user": record.by,
            "mlflow.note.content": record.sentence,
        }
        made = client.create_run(of, tags=tags, run_name=record.id)
        number = made.info.run_id
        for name, value in record.figures.items():
            client.log_metric(number, _UNNAMED.sub("_", name), value)
        for name, text in {**record.definitions, **{f"data {name}": seen for name, seen in record.data.items()}}.items():
            client.log_param(number, _UNNAMED.sub("_", name), text[:_LONGEST])
        client.log_text(number, json.dumps(run.to_dict(), indent=1), "result.json")
        client.set_terminated(number)
    except MlflowException as error:
        raise ConnectError(f"MLflow at {tracking_uri} refused the run: {error}") from error
    return str(number)
