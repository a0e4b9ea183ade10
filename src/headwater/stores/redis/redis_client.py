"""Connections to Redis and Valkey, standalone and clusters: each failure of a server is an error
with its remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from headwater import clock
from headwater.errors import MissingExtraError, StoreError, UsageError, nearest
from headwater.retries import Backoff, retry
from headwater.stores import UnansweredError
from headwater.stores.log_first import LogFirstStore
from headwater.stores.redis.lua import Script
from headwater.stores.redis.redis_store import (
    Argument,
    RedisCall,
    RedisOptions,
    RedisStore,
    RedisUrl,
    parse_redis,
    why_not_connected,
)

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.connection import parse_url
    from redis.crc import key_slot
    from redis.retry import Retry
    from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
except ImportError as error:
    raise MissingExtraError("redis", "redis") from error

if TYPE_CHECKING:
    from redis.connection import AbstractConnection

_T = TypeVar("_T")
Trip = Generator[None, None, list[Any]]
"""A conversation with one server, which stops before each answer that is to be read; it returns the
answers.
"""
_PAUSES = Backoff(first=0.05, longest=0.5)
_AT_ONCE = 10_000
_AGAIN = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ClusterError,
    redis.exceptions.RedisClusterException,
)
_NO_USE = (redis.AuthenticationError, redis.exceptions.AuthorizationError)
_REDIRECTED = (
    redis.exceptions.AskError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
    # a replica that is to take over, or a primary that was replaced
    redis.exceptions.ReadOnlyError,
)
_UNANSWERED = (*_AGAIN, *_REDIRECTED)


def open_store(
    url: str, *, readonly: bool = False, for_requests: bool = False
) -> RedisStore | LogFirstStore:
    """The store that `redis://`, `rediss://`, `unix://`, `redis+cluster://` or `redis+sentinel://`
    names (`rediss+...` with TLS).

    Of a cluster, any nodes; of Sentinel, any of its processes and the name of the primary:
    `redis+sentinel://host1,host2/mymaster/0`. Behind a `?`: `prefix=` (what all keys begin with;
    headwater), `timeout=` (for an answer, and to reconnect; 10s), `read_timeout=` (the same, where
    requests wait for the answer; 200ms), `replicas=` (how many must have a commit before it counts
    as made; 0), `sentinel_username=` and `sentinel_password=` (of Sentinel itself), and the
    client's own `ssl_ca_certs=` and the like.
    """
    at = parse_redis(url)
    servers = _connect(at)
    state = RedisStore(servers, at.options, readonly=readonly)
    if for_requests:  # a server that is starting, or slow, was waited for
        servers.limit(at.read_timeout)
    return LogFirstStore(state.table, state) if at.kind == "cluster" else state


def _connect(at: RedisUrl) -> _Standalone | _Cluster:
    connection_options = {**_waits(at.options.timeout), "retry": Retry(NoBackoff(), 0)}
    try:
        if at.kind == "cluster":
            return _Cluster(lambda: _cluster_of(at, connection_options), at.options)
        if at.kind == "sentinel":
            return _Standalone(_named_primary(at, connection_options), at.options)
        return _Standalone(
            redis.Redis.from_url(at.address, protocol=2, **connection_options), at.options
        )
    except ValueError as error:
        raise UsageError(f"{at.options.where} cannot be used: {error}") from error


def _named_primary(at: RedisUrl, connection_options: Mapping[str, Any]) -> redis.Redis:
    """The client of the primary that Sentinel names; each new connection asks which server that is
    by now.
    """
    held = parse_url(at.address)  # type: ignore[no-untyped-call]
    url_options = {
        key: value for key, value in held.items() if key not in ("host", "port", "connection_class")
    }
    secure = {
        "ssl": at.address.startswith("rediss:"),
        **{key: value for key, value in url_options.items() if key.startswith("ssl_")},
    }
    access = {name: url_options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    watched = Sentinel(
        at.hosts, sentinel_kwargs={**secure, **connection_options, **access, "protocol": 2}
    )  # type: ignore[no-untyped-call]
    client: redis.Redis = watched.master_for(
        at.name, **{**url_options, **secure, **connection_options, "protocol": 2}
    )  # type: ignore[no-untyped-call]
    return client


def _cluster_of(at: RedisUrl, connection_options: Mapping[str, Any]) -> RedisCluster:
    """The client of a cluster; any reachable node describes it."""
    nodes = [ClusterNode(host, port) for host, port in at.hosts]  # type: ignore[no-untyped-call]
    return RedisCluster.from_url(at.address, protocol=2, startup_nodes=nodes, **connection_options)


def _limit(client: redis.Redis, seconds: float) -> None:
    """Have new connections wait so long, and close the others."""
    pool = client.connection_pool
    pool.connection_kwargs.update(_waits(seconds))
    pool.disconnect()
    pool.reset()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            _limit(sentinel, seconds)


def _waits(seconds: float) -> dict[str, float]:
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds}


class _Standalone:
    """One server, or a proxy behind one address."""

    cluster = False

    def __init__(self, client: redis.Redis, options: RedisOptions) -> None:
        self._client, self.options = client, options

    def run(
        self,
        calls: Sequence[RedisCall],
        *,
        once: bool = False,
        durable: bool = False,
        atomic: bool = False,
    ) -> list[Any]:
        """See `Servers`."""

        def attempt() -> list[Any]:
            (answers,) = _together(
                [_answers(self._client, calls, self.options, durable=durable, atomic=atomic)]
            )
            if isinstance(answers, Exception):
                raise answers
            return answers

        try:
            return _persistently(attempt, self.options, once=once, refresh=self._let_go)
        except UnansweredError as error:
            if isinstance(error.__cause__, MasterNotFoundError):
                raise UnansweredError(f"{error}{self._silent_sentinels()}") from error.__cause__
            raise

    def everywhere(self, *command: Argument) -> list[Any]:
        """See `Servers`."""
        return self.run([RedisCall(b"", command)])

    def scan(self, pattern: bytes) -> Iterator[list[bytes]]:
        """See `Servers`."""
        return _scan(self._client, pattern, self.options)

    def _silent_sentinels(self) -> str:
        """Why Sentinels cannot be reached, and the remedy; or the primaries that they know."""
        reasons: dict[str, None] = {}
        names: list[str] = []
        for sentinel in self._client.connection_pool.sentinel_manager.sentinels:  # type: ignore[attr-defined]
            try:
                names += sentinel.sentinel_masters()
            except redis.RedisError as error:
                reasons[str(error).rstrip(".")] = None
        if names:
            return f" ({nearest(self.options.where.split('/')[3], names)})"
        return "".join(
            f": {reason}. {why_not_connected(self.options.where, reason)}" for reason in reasons
        )

    def _let_go(self) -> bool:
        """Close unused connections: the address may lead to another server by now."""
        self._client.connection_pool.disconnect(inuse_connections=False)
        return False

    def limit(self, seconds: float) -> None:
        """Wait so long for each answer from here on."""
        self.options = replace(self.options, timeout=seconds)
        _limit(self._client, seconds)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


class _Cluster:
    """The masters of a cluster; each call goes to the master of its slot. `make` connects and
    discovers them.
    """

    cluster = True

    def __init__(self, make: Callable[[], RedisCluster], options: RedisOptions) -> None:
        self.options = options
        self._client = _persistently(make, options)

    def run(
        self,
        calls: Sequence[RedisCall],
        *,
        once: bool = False,
        durable: bool = False,
        atomic: bool = False,
    ) -> list[Any]:
        """See `Servers`. All masters work at the same time; calls that one has not answered are
        made again, there or elsewhere.
        """
        answers: dict[int, Any] = {}

        def attempt() -> list[Any]:
            nodes: dict[str, tuple[redis.Redis, list[int]]] = {}
            for index, call in enumerate(calls):
                if index not in answers:
                    node = self._client.nodes_manager.get_node_from_slot(key_slot(call.key))
                    nodes.setdefault(node.name, (node.redis_connection, []))[1].append(index)
            results = _together(
                [
                    _answers(
                        client,
                        [calls[index] for index in indexes],
                        self.options,
                        durable=durable,
                        atomic=atomic,
                    )
                    for client, indexes in nodes.values()
                ]
            )
            failures = [result for result in results if isinstance(result, Exception)]
            for (_, indexes), result in zip(nodes.values(), results, strict=True):
                if not isinstance(result, Exception):
                    answers.update(zip(indexes, result, strict=True))
            if failures:
                raise failures[0]
            return [answers[index] for index in range(len(calls))]

        return _persistently(attempt, self.options, once=once, refresh=self._refresh())

    def everywhere(self, *command: Argument) -> list[Any]:
        """See `Servers`."""
        return _persistently(
            lambda: [_ask(client, *command) for client in self._masters()],
            self.options,
            refresh=self._refresh(),
        )

    def scan(self, pattern: bytes) -> Iterator[list[bytes]]:
        """See `Servers`."""
        for client in self._masters():
            yield from _scan(client, pattern, self.options)

    def limit(self, seconds: float) -> None:
        """Wait so long for each answer from here on."""
        self.options = replace(self.options, timeout=seconds)
        manager = self._client.nodes_manager
        manager.connection_kwargs.update(_waits(seconds))
        for node in [*manager.nodes_cache.values(), *manager.startup_nodes.values()]:
            if node.redis_connection is not None:
                _limit(node.redis_connection, seconds)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _refresh(self) -> Callable[[], bool]:
        """Discovers the masters; whether one of them took over since now."""
        before = self._client.nodes_manager.slots_cache

        def refresh() -> bool:
            self._client.nodes_manager.initialize()
            after = self._client.nodes_manager.slots_cache
            return any(
                slot in after and after[slot][0].name != nodes[0].name
                for slot, nodes in before.items()
            )

        return refresh

    def _masters(self) -> list[redis.Redis]:
        return [
            node.redis_connection
            for node in self._client.nodes_manager.get_nodes_by_server_type("primary")
        ]


def _together(trips: Sequence[Trip]) -> list[list[Any] | Exception]:
    """The answers of each trip, or its error: everything is written to all servers before the first
    answer is read.
    """
    results: dict[int, list[Any] | Exception] = {}
    waiting = dict(enumerate(trips))
    try:
        while waiting:
            for number, trip in list(waiting.items()):
                try:
                    next(trip)
                except StopIteration as end:
                    results[number] = end.value
                except Exception as error:  # noqa: BLE001 (the caller raises it, when the others have answered)
                    results[number] = error
                else:
                    continue
                del waiting[number]
    finally:
        for trip in waiting.values():
            trip.close()
    return [results[number] for number in range(len(trips))]


def _answers(
    client: redis.Redis,
    calls: Sequence[RedisCall],
    options: RedisOptions,
    *,
    durable: bool,
    atomic: bool,
) -> Trip:
    """One round trip for every so many calls, and one more where the server does not know a
    script.
    """
    answers: list[Any] = []
    for start in range(0, len(calls), _AT_ONCE):
        batch = calls[start : start + _AT_ONCE]
        batch_answers = yield from _trip(
            client,
            [_command(call, by_name=True) for call in batch],
            options,
            durable=durable,
            atomic=atomic,
        )
        unknown = [
            index
            for index, answer in enumerate(batch_answers)
            if isinstance(answer, redis.exceptions.NoScriptError)
        ]
        if unknown:
            commands = [_command(batch[index], by_name=False) for index in unknown]
            again = yield from _trip(client, commands, options, durable=durable, atomic=atomic)
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
    client: redis.Redis,
    commands: Sequence[tuple[Argument, ...]],
    options: RedisOptions,
    *,
    durable: bool,
    atomic: bool,
) -> Trip:
    """Write commands, and read their answers, errors among them."""
    wait = (
        [("WAIT", options.replicas, int(options.timeout * 500))]
        if durable and options.replicas
        else []
    )
    if atomic and len(commands) > 1 and not wait:
        with client.pipeline(transaction=True) as pipeline:
            for command in commands:
                _ask(pipeline, *command)
            return pipeline.execute(raise_on_error=False)
    connection, whole = client.connection_pool.get_connection(), False
    try:
        packed = connection.pack_commands([*commands, *wait])  # type: ignore[no-untyped-call]
        connection.send_packed_command(packed)  # type: ignore[no-untyped-call]
        yield
        answers = [_answer(client, connection, command) for command in (*commands, *wait)]
        whole = True
    finally:
        if not whole:  # answers that are still to come are of these commands
            connection.disconnect()  # type: ignore[no-untyped-call]
        client.connection_pool.release(connection)
    if wait:
        have = answers.pop()
        if isinstance(have, int) and have < options.replicas:
            raise StoreError(
                f"{options.where} has made the commit, but {have} replicas have it and "
                f"replicas={options.replicas} are asked for. It may be lost if the server is. "
                "Bring the replicas back, read the offsets again and go on from them"
            )
    return answers


def _answer(
    client: redis.Redis, connection: AbstractConnection, command: tuple[Argument, ...]
) -> Any:  # noqa: ANN401, as the command has it
    try:
        return client.parse_response(connection, command[0])  # type: ignore[no-untyped-call]
    except redis.ResponseError as error:
        return error


def _ask(client: redis.Redis, *command: Argument) -> Any:  # noqa: ANN401, as the command has it
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def _scan(client: redis.Redis, pattern: bytes, options: RedisOptions) -> Iterator[list[bytes]]:
    cursor = 0
    while True:
        cursor, keys = _persistently(
            partial(_ask, client, "SCAN", cursor, "MATCH", pattern, "COUNT", 1000), options
        )
        yield keys
        if cursor == 0:
            return


def _persistently(
    make: Callable[[], _T],
    options: RedisOptions,
    *,
    once: bool = False,
    refresh: Callable[[], bool] = lambda: False,
) -> _T:
    """The result of `make`, retried until the timeout while the server cannot be reached; `once`:
    only where it refused to take it.

    refresh: looks where the servers are now; whether that is elsewhere. A silent server takes all
    of the time, so another one gets as much.
    """

    def attempt() -> _T:
        try:
            return make()
        except _NO_USE as error:
            give = (
                "It has no password: leave it out of the URL"
                if "without any password" in str(error)
                else "Give redis://USER:PASSWORD@HOST:PORT/DB"
            )
            raise StoreError(
                f"{options.where} refuses the user or the password: {str(error).rstrip('.')}. "
                f"{give}"
            ) from error
        except _UNANSWERED:
            raise
        except redis.ResponseError as error:
            raise StoreError(
                f"{options.where} refuses: {error}. Nothing was written. {_remedy(error)}"
            ) from error

    def passes(error: Exception) -> bool:
        return not once or isinstance(error, _REDIRECTED)

    def wait(seconds: float) -> None:
        clock.wait(seconds)
        _quietly(refresh)

    def answer() -> _T:
        return retry(
            attempt,
            on=_UNANSWERED,
            pauses=_PAUSES.within(options.timeout),
            passes=passes,
            wait=wait,
        )

    try:
        return answer()
    except _UNANSWERED as error:
        if not (_quietly(refresh) and passes(error)):
            raise _unanswered(error, options) from error
    try:
        return answer()
    except _UNANSWERED as error:
        _quietly(refresh)
        raise _unanswered(error, options) from error


def _quietly(refresh: Callable[[], bool]) -> bool:
    """As `refresh`; False where no server says where they are."""
    try:
        return refresh()
    except _AGAIN:
        return False


def _unanswered(error: Exception, options: RedisOptions) -> UnansweredError:
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return UnansweredError(
            f"{options.where} refuses: {error}. Nothing was written. {_remedy(error)}"
        )
    if isinstance(error, MasterNotFoundError):
        return UnansweredError(
            f"{options.where}: none of these Sentinels can be reached and has a primary of this "
            "name"
        )
    message = str(error).rstrip(".")
    return UnansweredError(
        f"{options.where} does not answer: {message}. {why_not_connected(options.where, message)}"
    )


def _remedy(error: Exception) -> str:
    message = str(error)
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "maxmemory" in message:
        return (
            "Its memory is full: raise maxmemory, or compact the store; ingestion goes on from "
            "the last commit"
        )
    if isinstance(error, redis.exceptions.ReadOnlyError) or "read only replica" in message:
        return "It is a replica: give the address of the primary"
    if "MISCONF" in message:
        return "It cannot save to its disk: make room there; ingestion goes on from the last commit"
    if isinstance(error, redis.exceptions.NoPermissionError) or "NOPERM" in message:
        return (
            "Allow the user EVAL, EVALSHA, INFO, SCAN, MEMORY and the commands on strings, "
            "hashes, lists and sorted sets; one who only reads needs +@read +@connection "
            "+@transaction +eval +evalsha +info +time, in a cluster also +cluster"
        )
    return "See the server's message above"
