"""`planted`: events in the columns of `headwater.testing.cases` in, values out, which the naive
reference must agree with.
"""

from datetime import timedelta

import pytest

import headwater as hw
from headwater.testing.cases import BASE, SCHEMA, Case
from headwater.testing.conformance import compare


@pytest.fixture
def planted():
    return _planted


def _planted(
    feature, events, asked=(0,), *, window="1h", freshness=None, ttl=None, dtype=False, **rules
):
    """The feature's value for each request.

    `at`, `known` and `asked` are microseconds after BASE (a request may be a dict of "key" and
    "timestamp"); the key is 1 where not given.
    """
    late = any("known" in event for event in events)
    source = hw.Source(
        "events", timestamp_field="at", known_at_field="known" if late else None, **rules
    )
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[feature],
        windows=[window],
        freshness=freshness or hw.on_request(),
        ttl=ttl,
    )
    given = Case(view, [_row(e) for e in events], [_asked(t) for t in asked])
    found = compare(given)[view.feature_names[0]]
    return found.dtype if dtype else found.to_list()


def _asked(request):
    given = request if isinstance(request, dict) else {"key": 1, "timestamp": request}
    return given | {"timestamp": _moment(given["timestamp"])}


def _row(event):
    times = {"known": event.get("known", event["at"]), "at": event["at"]}
    return (
        dict.fromkeys(SCHEMA) | {"key": 1} | event | {name: _moment(t) for name, t in times.items()}
    )


def _moment(t):
    return BASE + timedelta(microseconds=t)
