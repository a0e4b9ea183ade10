"""Which fields of a request are the request time itself, so that a caller may leave them out."""

from __future__ import annotations

from datetime import datetime

from headwater.definitions.project import Project


def request_times(project: Project, service: str) -> frozenset[str]:
    """The fields of a feature service that every model with it has as the time of its labels,
    declared as a datetime.

    Training fills such a field with the request time of each row, so a request that leaves it out
    has its own request time in it.

    >>> import headwater as hw
    >>> from headwater.testing.examples import visiting
    >>> request_times(visiting(hw.batch("1h")), "churn_v1")
    frozenset()
    """
    models = [
        model for model in project.models if service in {read.name for read in model.services}
    ]
    if not models:
        return frozenset()
    times = {model.labels.timestamp_field for model in models}
    (read,) = {
        read.name: read for model in models for read in model.services if read.name == service
    }.values()
    keys = {view.request_key(key) for view in read.views for key in view.keys}
    declared = [(field.name, field.dtype) for field in read.request_fields]
    declared += [pair for function in read.request_features for pair in function.fields.items()]
    other = {name for name, dtype in declared if dtype is not datetime}
    return frozenset(name for name, _ in declared if times == {name} and name not in keys | other)
