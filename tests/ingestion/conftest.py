"""Worlds over each kind of store, how often to kill, and where figures are printed."""

import functools

import pytest

from tests.figures import figure
from tests.ingestion.world import LONG, World
from tests.stores.durable_stores import durable_store

STORES = ["lmdb", "redis", "postgres"]


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    """An online store that outlives the processes which write to it."""
    with durable_store(request.param, tmp_path) as address:
        yield address


@pytest.fixture
def kills():
    """How often to kill."""
    return 200 if LONG else 6


@pytest.fixture
def report():
    """Prints the figure that a test found."""
    return figure


@pytest.fixture
def world_at(tmp_path):
    """A World over a store of any URL."""

    def make(url, stream, more="", **options):
        return World(tmp_path, url, stream, more, **options)

    return make


@pytest.fixture
def world(url, world_at):
    """A World over each kind of store."""
    return functools.partial(world_at, url)
