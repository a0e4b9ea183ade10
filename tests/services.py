"""Which tests start a server or a browser: those that ask for a fixture that starts one, or are
marked `services` by hand.
"""

import json
import os

import pytest

FIXTURES = {
    "aws_url",
    "broker",
    "browser",
    "cluster_url",
    "iceberg",
    "ministack",
    "ministack_address",
    "moto",
    "moto_address",
    "postgres_server",
    "postgres_url",
    "redis_server",
    "redis_url",
    "s3",
    "sail",
    "sentinel_url",
    "valkey_url",
}

_running = []  # the test that runs now


def begins(item):
    """Tell `starts` which test runs."""
    _running[:] = [item]


def starts(name):
    """Called by each function that starts a service: a test without the mark fails."""
    if _running and _running[0].get_closest_marker("services") is None:
        pytest.fail(f"{_running[0].nodeid} starts {name}: mark it with @pytest.mark.services")


def running(fixture):
    """The address of a service that runs already, which a fixture takes instead of starting one;
    HEADWATER_SERVICES has them, as JSON.
    """
    return json.loads(os.environ.get("HEADWATER_SERVICES", "{}")).get(fixture)
