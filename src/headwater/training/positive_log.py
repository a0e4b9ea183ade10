"""The labels of a model as its training reads them: in a ranking each item once in its group, and
of a log of positives one request for each group.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl

from headwater.definitions.model import Model
from headwater.definitions.ranking import Ranking
from headwater.errors import DataError
from headwater.kernel.arrays import I64
from headwater.models.outcomes import outcomes
from headwater.training.label_rows import read_labels
from headwater.training.requests import Requests
from headwater.training.resources import DEFAULT_RESOURCES, Resources


def model_labels(model: Model, resources: Resources = DEFAULT_RESOURCES) -> Requests:
    """The labelled requests of a model; see `read_labels`.

    With `Ranking(negatives=)` the table is a log of positives: each row is an item that the request
    chose. Rows of one group are one request, at the time of the first. In every ranking an item
    that is repeated in a group counts once, as its first row has it; the other rows are counted in
    `left_out`.

    Raises:
        DataError: as `read_labels`; a row of the log that is not a positive, or request columns
            that differ within a group; without `negatives=`, an item with several labels in one
            group.
    """
    requests = read_labels(model.labels, resources, strings=model.task_type.classes)
    if model.ranking is None:
        return requests
    if model.ranking.negatives is None:
        return each_item_once(model, model.ranking, requests)
    return _one_request_a_group(model, model.ranking, requests)


def _one_request_a_group(model: Model, task: Ranking, requests: Requests) -> Requests:
    context = f"labels {model.labels.name!r}"
    assert requests.label is not None
    assert requests.known_at is not None
    of_list = outcomes(model, requests.label, requests.frame).groups
    assert of_list is not None
    negative = int((requests.label <= 0).sum())
    if negative:
        raise DataError(
            f"{context}: {negative} of {len(requests.t)} labels are 0 or less, and "
            "Ranking(negatives=) takes a log of positives; filter them out, or leave negatives "
            "out to train on the rows as they are"
        )
    _check_request_columns(model, task, requests, context)
    t = np.full(int(of_list.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(t, of_list, requests.t)
    return _first_of_each(
        task,
        requests,
        Requests(requests.frame, t[of_list], requests.label, requests.known_at),
        of_list,
    )


def each_item_once(model: Model, task: Ranking, requests: Requests) -> Requests:
    """The requests without rows that repeat an item in its group, which metrics of lists would
    count twice.

    Raises:
        DataError: an item with several labels in one group, or a row without a group.
    """
    assert requests.label is not None
    of_list = outcomes(model, requests.label, requests.frame).groups
    assert of_list is not None
    chosen = _first_of_each(task, requests, requests, of_list)
    if len(chosen.t) == len(requests.t):
        return requests
    pairs = pl.DataFrame(
        {"list": of_list, "item": requests.frame[task.item], "label": requests.label}
    )
    several = (
        pairs.group_by("list", "item").agg(pl.col("label").n_unique()).filter(pl.col("label") > 1)
    )
    if several.height:
        raise DataError(
            f"labels {model.labels.name!r}: {several.height} of {len(chosen.t)} pairs of "
            f"{task.group!r} and {task.item!r} have rows with different labels, and an item has "
            "one place in a list; name a finer group, such as the id of the request, or keep one "
            "row of each pair"
        )
    return chosen


def _first_of_each(task: Ranking, requests: Requests, chosen: Requests, of_list: I64) -> Requests:
    """The rows of `chosen` that are the first, by the time of `requests`, of their item in their
    list; how many are not is counted.
    """
    order = np.argsort(requests.t, kind="stable")
    pairs = pl.DataFrame(
        {"list": of_list[order], "item": requests.frame[task.item][order], "row": order}
    )
    first = np.sort(pairs.unique(["list", "item"], keep="first")["row"].to_numpy())
    left_out = Counter(requests.left_out)
    if len(first) < len(order):
        left_out[f"labels: {task.item} repeated in its {task.group}"] += len(order) - len(first)
    counted = replace(chosen, left_out=left_out)
    return counted if len(first) == len(order) else counted.take(first)


def _check_request_columns(model: Model, task: Ranking, requests: Requests, context: str) -> None:
    """Refuse columns that differ within a group: they describe the chosen item, and they are
    unknown for the others.
    """
    services = [model.features, *([task.retrieval] if task.retrieval is not None else [])]
    needed = {
        c for service in services for c in service.needed_by() if c not in (task.item, task.group)
    }
    needed &= set(requests.frame.columns)
    kinds = requests.frame.group_by(task.group).agg(pl.col(c).n_unique() for c in sorted(needed))
    for column in sorted(needed):
        if (differ := int((kinds[column] > 1).sum())) > 0:
            raise DataError(
                f"{context}: the column {column!r} differs within {differ} of {kinds.height} "
                "groups, so it belongs to the chosen item, and is not known of negatives; make "
                f"it a feature of a view keyed by {task.item!r}, or name a finer group"
            )
