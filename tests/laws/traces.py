"""Where a text is found in what headwater has written: each file below the folder of a place, and
everything that the server of its store holds.
"""

import io
from contextlib import closing, suppress
from urllib.parse import parse_qs, urlsplit

import polars as pl
import psycopg
import redis

import headwater as hw
from tests.laws import shop


def traces(place, text, *, besides=()):
    """The files, and the keys of a store, that have the bytes of a text, or a row that has it.

    Of LMDB, the copy that `store.backup` writes is searched, since its file has free pages.

    Args:
        place: where.
        text: what.
        besides: names of files that are not searched.
    """
    copy = place.folder / "copy-to-search"
    lmdb = place.url.startswith("lmdb:")
    with closing(hw.operations.open_store(place.url)) as store:
        store.backup(copy) if lmdb else None
    stores = {path.parent for path in place.folder.rglob("data.mdb")} - {copy}
    found = [
        path
        for path in place.folder.rglob("*")
        if path.is_file()
        and path.name not in besides
        and not (path.parent in stores and path.name in {"data.mdb", "lock.mdb"})
        and holds(path.read_bytes(), text)
    ]
    if lmdb:
        for path in copy.iterdir():
            path.unlink()
        copy.rmdir()
    values = dict(_on_the_server(place)) | shop.contents(place)
    return [*found, *(key for key, value in values.items() if holds(key + value, text))]


def holds(data, text):
    """Whether bytes have a text, as they are or in the rows of a table."""
    if text.encode() in data:
        return True
    rows = ""
    for read in (pl.read_parquet, pl.read_ipc_stream):
        with suppress(pl.exceptions.PolarsError, OSError):
            rows += str(read(io.BytesIO(data)).rows())
    return text in rows


def _on_the_server(place):
    """Keys and values as they are there, also those that no scan shows."""
    kind, options = place.url.partition(":")[0], parse_qs(urlsplit(place.url).query)
    if kind in {"redis", "redis+cluster"}:
        found = [
            pair
            for url in _masters(place.url.partition("?")[0])
            for pair in _on_redis(url, options["prefix"][0])
        ]
        assert found
        yield from found
    elif kind in {"postgres", "postgresql"}:
        with psycopg.connect(place.url.partition("?")[0]) as client:
            tables = client.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE %s",
                [f"%{options['prefix'][0]}%"],
            ).fetchall()
            assert tables
            for table in tables:
                rows = client.execute(f'SELECT * FROM "{table[0]}"."{table[1]}"').fetchall()
                for number, row in enumerate(rows):
                    yield (
                        f"{table} {number}".encode(),
                        b"".join(v if isinstance(v, bytes) else str(v).encode() for v in row),
                    )


def _masters(url):
    """The servers that hold the keys: of a cluster, all that are no copies."""
    if not url.startswith("redis+cluster:"):
        return [url]
    address = urlsplit(url)
    with closing(redis.RedisCluster(host=address.hostname, port=address.port)) as cluster:
        return [f"redis://{node.host}:{node.port}" for node in cluster.get_primaries()]


def _on_redis(url, prefix):
    with closing(redis.Redis.from_url(url)) as client:
        for key in client.scan_iter(match=f"*{prefix}*", count=10_000):
            yield key, _of_redis(client, key)


def _of_redis(client, key):
    read = {
        b"string": client.get,
        b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": lambda key: [str(client.xrange(key)).encode()],
    }[client.type(key)]
    value = read(key)
    return value if isinstance(value, bytes) else b"\0".join(value or [])
