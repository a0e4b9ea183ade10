"""Connections to Redis and Valkey, standalone and clusters: every failure of a server as an error that says what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from headwater import clock
from headwater.errors import MissingExtraError, StoreError, UsageError
from headwater.online_stores.log_first import LogFirstStore
from headwater.online_stores.redis.commands import Argument, RedisCall, RedisOptions, Servers, UnansweredError
from headwater.online_stores.redis.lua import Script
from headwater.online_stores.redis.redis_store import RedisStore
from headwater.online_stores.server_url import parse

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import RedisCluster
    from redis.crc import key_slot
    from redis.retry import Retry
except ImportError as error:
    raise MissingExtraError("redis", "redis") from error

_T = TypeVar("_T")
_PAUSE = 0.05
_AT_ONCE = 10_000
_PASSED_ON = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "max_connections", "client_name", "db")
_AGAIN = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ClusterError, redis.exceptions.RedisClusterException)
_NO_USE = (redis.AuthenticationError, redis.exceptions.AuthorizationError)
_REDIRECTED = (redis.exceptions.AskError, redis.exceptions.TryAgainError, redis.exceptions.ClusterDownError)


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> RedisStore | LogFirstStore:
    """The store that `redis://`, `rediss://`, `unix://`, `redis+cluster://` or `rediss+cluster://` names.

    Behind a `?`: `prefix=` (what all keys begin with; headwater), `timeout=` (for an answer, and to reconnect; 10s), `read_timeout=`
    (the same, where requests wait for the answer; 200ms), `replicas=` (how
    many must have a commit before it counts as made; 0), and the client's own `ssl_ca_certs=` and the like.
    """
    at = parse(url, ("replicas", *_PASSED_ON))
    passed = {name: value for name, value in at.options.items() if name in _PASSED_ON}
    replicas = at.options.get("replicas", "0")
    if not replicas.isdecimal():
        raise UsageError(f"replicas={replicas!r} of {at.where}: give an integer")
    options = RedisOptions(at.where, at.prefix.encode(), int(replicas), at.timeout)
    state = RedisStore(_connect(url, passed, options), options, readonly=readonly)
    if for_requests:
        state.close()  # a server that is starting was waited for
        options = replace(options, timeout=at.read_timeout)
        state = RedisStore(_connect(url, passed, options), options, readonly=readonly)
    return LogFirstStore(state.table, state) if "+cluster" in urlsplit(url).scheme else state


def _connect(url: str, more: Mapping[str, str], options: RedisOptions) -> Servers:
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if kind not in ("", "cluster") or (kind and scheme == "unix"):
        raise UsageError(f"{options.where}: the scheme is redis, rediss, unix, redis+cluster or rediss+cluster")
    plain = f"{scheme}://{parts.netloc}{parts.path}?{urlencode(more)}"
    how = {"socket_timeout": options.timeout, "socket_connect_timeout": options.timeout, "retry": Retry(NoBackoff(), 0)}
    try:
        if kind:
            return _Cluster(lambda: RedisCluster.from_url(plain, protocol=2, **how), options)
        return _Standalone(redis.Redis.from_url(plain, protocol=2, **how), options)
    except ValueError as error:
        raise UsageError(f"{options.where} cannot be used: {error}") from error


class _Standalone:
    """One server, or what stands in for it behind one address."""

    cluster = False

    def __init__(self, client: redis.Redis, options: RedisOptions) -> None:
        self._client, self.options = client, options

    def run(self, calls: Sequence[RedisCall], *, once: bool = False, durable: bool = False, atomic: bool = False) -> list[Any]:
        """See `Servers`."""
        return _persistently(lambda: _answers(self._client, calls, self.options, durable=durable, atomic=atomic), self.options, once=once)

    def everywhere(self, *command: Argument) -> list[Any]:
        """See `Servers`."""
        return self.run([RedisCall(b"", command)])

    def scan(self, pattern: bytes) -> Iterator[list[bytes]]:
        """See `Servers`."""
        return _scan(self._client, pattern, self.options)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


class _Cluster:
    """The masters of a cluster; each call goes to the master of its slot. `make` connects and discovers them."""

    cluster = True

    def __init__(self, make: Callable[[], RedisCluster], options: RedisOptions) -> None:
        self.options = options
        self._client = _persistently(make, options)

    def run(self, calls: Sequence[RedisCall], *, once: bool = False, durable: bool = False, atomic: bool = False) -> list[Any]:
        """See `Servers`. Nodes are asked one after the other; calls that a node has not answered yet are made again elsewhere."""
        answers: dict[int, Any] = {}

        def attempt() -> list[Any]:
            nodes: dict[str, list[int]] = {}
            for index, call in enumerate(calls):
                if index not in answers:
                    nodes.setdefault(self._client.nodes_manager.get_node_from_slot(key_slot(call.key)).name, []).append(index)
            for name, indexes in nodes.items():
                client = self._client.nodes_manager.nodes_cache[name].redis_connection
                node_answers = _answers(client, [calls[index] for index in indexes], self.options, durable=durable, atomic=atomic)
                answers.update(zip(indexes, node_answers, strict=True))
            return [answers[index] for index in range(len(calls))]

        return _persistently(attempt, self.options, once=once, refresh=self._client.nodes_manager.initialize)

    def everywhere(self, *command: Argument) -> list[Any]:
        """See `Servers`."""
        return [_persistently(partial(_ask, client, *command), self.options) for client in self._masters()]

    def scan(self, pattern: bytes) -> Iterator[list[bytes]]:
        """See `Servers`."""
        for client in self._masters():
            yield from _scan(client, pattern, self.options)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _masters(self) -> list[redis.Redis]:
        return [node.redis_connection for node in self._client.nodes_manager.get_nodes_by_server_type("primary")]


def _answers(client: redis.Redis, calls: Sequence[RedisCall], options: RedisOptions, *, durable: bool, atomic: bool) -> list[Any]:
    """One round trip for every so many calls, and one more where the server does not know a script."""
    answers: list[Any] = []
    for start in range(0, len(calls), _AT_ONCE):
        batch = calls[start : start + _AT_ONCE]
        batch_answers = _trip(client, [_command(call, by_name=True) for call in batch], options, durable=durable, atomic=atomic)
        unknown = [index for index, answer in enumerate(batch_answers) if isinstance(answer, redis.exceptions.NoScriptError)]
        if unknown:
            again = _trip(client, [_command(batch[index], by_name=False) for index in unknown], options, durable=durable, atomic=atomic)
            for index, answer in zip(unknown, again, strict=True):
                batch_answers[index] = answer
        answers += batch_answers
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _command(call: RedisCall, *, by_name: bool) -> tuple[Argument, ...]:
    if not isinstance(call.command, Script):
        return call.command
    start = ("EVALSHA", call.command.sha) if by_name else ("EVAL", call.command.text)
    return (*start, 1, call.key, *call.args)


def _trip(
    client: redis.Redis, commands: Sequence[tuple[Argument, ...]], options: RedisOptions, *, durable: bool, atomic: bool
) -> list[Any]:
    durable = durable and options.replicas > 0
    if len(commands) == 1 and not durable:
        try:
            return [_ask(client, *commands[0])]
        except redis.exceptions.NoScriptError as error:
            return [error]
    with client.pipeline(transaction=atomic and not durable) as pipeline:
        for command in commands:
            _ask(pipeline, *command)
        if durable:
            _ask(pipeline, "WAIT", options.replicas, int(options.timeout * 500))
        answers = pipeline.execute(raise_on_error=False)
    if durable:
        have = answers.pop()
        if isinstance(have, int) and have < options.replicas:
            raise StoreError(
                f"{options.where} has made the commit, but {have} replicas have it and replicas={options.replicas} are asked for. It may be lost "
                "if the server is. Bring the replicas back, read the offsets again and go on from them"
            )
    return answers


def _ask(client: redis.Redis, *command: Argument) -> Any:  # noqa: ANN401, as the command has it
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def _scan(client: redis.Redis, pattern: bytes, options: RedisOptions) -> Iterator[list[bytes]]:
    cursor = 0
    while True:
        cursor, keys = _persistently(partial(_ask, client, "SCAN", cursor, "MATCH", pattern, "COUNT", 1000), options)
        yield keys
        if cursor == 0:
            return


def _persistently(make: Callable[[], _T], options: RedisOptions, *, once: bool = False, refresh: Callable[[], object] = lambda: None) -> _T:
    """The result of `make`, retried until the timeout while the server cannot be reached, unless `once`."""
    until = clock.stopwatch() + options.timeout
    while True:
        try:
            return make()
        except _NO_USE as error:
            raise StoreError(
                f"{options.where} refuses the user or the password: {error}. Give redis://USER:PASSWORD@HOST:PORT/DB"
            ) from error
        except (*_AGAIN, *_REDIRECTED) as error:
            moved = isinstance(error, _REDIRECTED)
            if (once and not moved) or clock.stopwatch() >= until:
                raise UnansweredError(
                    f"{options.where} does not answer: {str(error).rstrip('.')}. Is it running, and within reach?"
                ) from error
        except redis.ResponseError as error:
            raise StoreError(f"{options.where} refuses: {error}. Nothing was written. {_remedy(error)}") from error
        time.sleep(_PAUSE)
        try:
            refresh()
        except _AGAIN:
            continue


def _remedy(error: Exception) -> str:
    message = str(error)
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "maxmemory" in message:
        return "Its memory is full: raise maxmemory, or compact the store; ingestion goes on from the last commit"
    if isinstance(error, redis.exceptions.ReadOnlyError) or "read only replica" in message:
        return "It is a replica: give the address of the primary"
    if "MISCONF" in message:
        return "It cannot save to its disk: make room there; ingestion goes on from the last commit"
    if isinstance(error, redis.exceptions.NoPermissionError) or "NOPERM" in message:
        return (
            "Allow the user EVAL, EVALSHA, INFO, SCAN, MEMORY and the commands on strings, hashes, lists and sorted sets; one who only reads "
            "needs +@read +@connection +@transaction +eval +evalsha +info +time, in a cluster also +cluster"
        )
    return "See the server's message above"
