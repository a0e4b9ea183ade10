"""Stores that outlive the processes which write to them, by the name of their kind."""

from contextlib import contextmanager

from tests.stores.servers import clustered, serving, serving_postgres


@contextmanager
def durable_store(kind, folder):
    """The URL of an online store that outlives its writers: "lmdb", "redis", "cluster" (of three)
    or "postgres".
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
    else:
        with serving(folder / "redis", "--appendonly", "yes", "--appendfsync", "always") as server:
            yield server.url
