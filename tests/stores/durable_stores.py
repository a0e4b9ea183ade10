"""Stores that outlive the processes which write to them, by the name of their kind."""

import contextlib
from contextlib import contextmanager

import pytest

from headwater.stores.dynamodb.dynamodb_store import create_table
from tests.stores.emulators import CREDENTIALS, DYNAMODB, emulating
from tests.stores.servers import clustered, serving, serving_postgres


@contextmanager
def durable_store(kind, folder):
    """The URL of an online store that outlives its writers: "lmdb", "redis", "cluster" (of three),
    "postgres", or a kind of DYNAMODB.
    """
    if kind == "lmdb":
        yield f"lmdb:{folder / 'online'}"
    elif kind == "cluster":
        with clustered(
            folder / "cluster", "--appendonly", "yes", "--appendfsync", "always"
        ) as servers:
            yield f"redis+cluster://127.0.0.1:{servers[0].port}"
    elif kind == "postgres":
        with serving_postgres() as server:
            yield f"{server.address}/postgres"
    elif kind in DYNAMODB:
        emulator, _, elsewhere = kind.partition("_and_")
        with (
            emulating(emulator, folder / emulator) as address,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            # an emulator copies its table at each transaction
            at = f"dynamodb://features?region=eu-west-1&endpoint={address}&timeout=60s"
            create_table(at)
            with (
                durable_store(elsewhere, folder) if elsewhere else contextlib.nullcontext() as state
            ):
                yield f"{at}&state={state}" if elsewhere else at
    else:
        with serving(folder / "redis", "--appendonly", "yes", "--appendfsync", "always") as server:
            yield server.url
