"""A store that is filled once, and the shop served from it."""

import pytest

import headwater as hw
from tests.serving.world import MODELS, PROJECT, asking, filled


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    made = filled(
        hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('served') / 'online'}?size=1GB")
    )
    yield made
    made.close()


@pytest.fixture(scope="session")
def client(store):
    """A client of the shop, without tokens."""
    with asking(store) as made:
        yield made


@pytest.fixture(scope="session")
def service(store):
    """The shop in this process."""
    with hw.operations.Service(PROJECT, store, models=MODELS) as made:
        yield made
