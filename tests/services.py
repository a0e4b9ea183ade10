"""Which tests start a server or a browser: all of them are in `make test-full`, and one of each
kind, marked `smoke`, in `make test`.
"""

import json
import os

import pytest

from tests.effort import FULL

STARTED_BY = {
    "aws_url": "an emulator of AWS",
    "broker": "Kafka",
    "browser": "a browser",
    "cluster_url": "Redis",
    "iceberg": "Spark",
    "ministack": "an emulator of AWS",
    "ministack_address": "an emulator of AWS",
    "moto": "an emulator of AWS",
    "moto_address": "an emulator of AWS",
    "postgres_server": "PostgreSQL",
    "postgres_url": "PostgreSQL",
    "redis_server": "Redis",
    "redis_url": "Redis",
    "s3": "S3",
    "sail": "Spark",
    "sentinel_url": "Redis",
    "valkey_url": "Redis",
}
"""Fixtures that start one."""

CHOSEN_BY = {
    "database",
    "either",
    "emulator",
    "emulator_and_store",
    "make_store",
    "migratable",
    "opening",
    "orders",
    "place",
    "store",
    "stores",
    "url",
    "urls",
}
"""Fixtures whose parameter names the service to start."""

NAMES = {
    "cluster",
    "kafka",
    "ministack",
    "ministack_and_postgres",
    "moto",
    "moto_and_postgres",
    "postgres",
    "postgresql",
    "redis",
    "s3",
    "sail",
}
NAMES |= {"valkey"}

_running = []  # the item whose fixtures and test run now, and whether it may start a service


def of_services(item):
    """Whether a test starts a service: by its mark, its fixtures or their parameters."""
    if item.get_closest_marker("services") is not None or not STARTED_BY.keys().isdisjoint(
        item.fixturenames
    ):
        return True
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return any(not NAMES.isdisjoint(_words(params[name])) for name in CHOSEN_BY & params.keys())


def _words(value):
    return (
        {value}
        if isinstance(value, str)
        else {word for word in value if isinstance(word, str)}
        if isinstance(value, tuple)
        else set()
    )


def begins(item):
    """Tell `starts` which test runs."""
    _running[:] = [(item.nodeid, of_services(item))]


def starts(name):
    """Called by each function that starts a service. A test of the short form that is not known to
    start one fails.
    """
    if not FULL and _running and not _running[0][1]:
        pytest.fail(
            f"{_running[0][0]} starts {name}: mark it with @pytest.mark.services, or name its "
            "fixture in tests/services.py"
        )


def running(fixture):
    """The address of a service that runs already, which a fixture takes instead of starting one;
    HEADWATER_SERVICES has them, as JSON.
    """
    return json.loads(os.environ.get("HEADWATER_SERVICES", "{}")).get(fixture)
