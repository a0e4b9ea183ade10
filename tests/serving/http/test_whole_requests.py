"""Requests that have arrived whole are taken without a task each; raw sockets show that connections
keep their rules.
"""

import contextlib
import json
import socket
import time

import pytest

from headwater.serving.http.connection_limits import ConnectionLimits
from tests.serving.http.test_connection import (
    CHUNKED,
    HOST,
    POST,
    Taking,
    answer,
    answered,
    ask,
    connect,
    everything,
    server,
)


@pytest.fixture(scope="module")
def taking():
    with server(app=Taking()) as port:
        yield port


def sent(port, *parts):
    """The answers to a request in parts, some time apart, up to the end of the connection."""
    with connect(port) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            one.sendall(part)
            time.sleep(0.05)
        said = everything(one)
    heads, texts = [], []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        size = int(
            next(
                line.partition(b": ")[2]
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
        )
        heads.append(head)
        texts.append(json.loads(rest[:size]))
        said = rest[size:]
    return heads, texts


LAST = POST.replace(HOST, HOST + b"Connection: close\r\n")


@pytest.mark.parametrize(
    ("parts", "taken"),
    [
        ([LAST], [True]),
        ([POST, LAST], [True, True]),
        ([POST + LAST], [True, False]),  # the second waits for the first
        ([LAST[:-1], LAST[-1:]], [False]),  # the body comes later
        ([LAST[:20], LAST[20:]], [True]),
        ([CHUNKED + b"Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"], [True]),
        ([LAST.replace(b" / ", b" /declined ")], [False]),
        ([LAST.replace(b"POST", b"PUT")], [False]),
        ([LAST.replace(b"HTTP/1.1", b"HTTP/1.0")], [True]),
    ],
)  # fmt: skip
def test_what_has_arrived_whole_is_taken(taking, parts, taken):
    heads, texts = sent(taking, *parts)
    assert [text.get("taken", False) for text in texts] == taken
    assert [text["body"] for text in texts] == [3] * len(taken)
    for head, last in zip(heads, [*[False] * (len(heads) - 1), True], strict=True):
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.lower().count(b"\r\ndate: ") == 1
        assert (b"connection: close" in head) == last
    assert answered(taking)


def test_a_client_that_leaves_before_its_answer_costs_nobody_else_theirs(taking):
    with connect(taking) as stays, connect(taking) as leaves:
        for one in (leaves, stays):
            one.sendall(POST.replace(b" / ", b" /late "))
        leaves.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        leaves.close()
        assert answer(stays).startswith(b"HTTP/1.1 200 OK")
    assert answered(taking)


def test_requests_that_are_taken_count_towards_the_limit():
    with server(ConnectionLimits(requests=2), Taking()) as port, contextlib.ExitStack() as stack:
        late = [stack.enter_context(connect(port)) for _ in range(2)]
        for one in late:
            one.sendall(POST.replace(b" / ", b" /late "))
        time.sleep(0.1)
        assert ask(port, POST).startswith(b"HTTP/1.1 503 ")
        assert all(answer(one).startswith(b"HTTP/1.1 200") for one in late)
        assert answered(port)  # they count no more


def test_garbage_behind_a_request_that_is_taken_leaves_its_answer_whole(taking):
    said = ask(taking, POST + b"GARBAGE\0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b"}")
    assert ask(taking, POST * 5_000).count(b"HTTP/1.1 200") <= 66


def test_the_answer_to_a_request_that_was_taken_is_given_when_the_server_ends():
    with server(grace=5.0, app=Taking()) as port:
        one = connect(port)
        one.sendall(POST.replace(b" / ", b" /late "))
        time.sleep(0.2)
    assert b"connection: close" in everything(one)
    one.close()
