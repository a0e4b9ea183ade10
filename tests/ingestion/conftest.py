"""Worlds over each kind of store."""

import functools

import pytest

from tests.ingestion.world import World
from tests.stores.durable_stores import durable_store

STORES = [
    "lmdb",
    *(pytest.param(name, marks=pytest.mark.services) for name in ("redis", "postgres")),
]


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    """An online store that outlives the processes which write to it."""
    with durable_store(request.param, tmp_path) as address:
        yield address


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
