"""Requests that have arrived whole are taken without a task each; raw sockets show that connections
keep their rules.
"""

import socket

import pytest

from tests.serving.http.test_connection import (
    POST,
    Taking,
    answer,
    answered,
    connect,
    server,
)


@pytest.fixture(scope="module")
def taking():
    with server(app=Taking()) as port:
        yield port


def test_a_client_that_leaves_before_its_answer_costs_nobody_else_theirs(taking):
    with connect(taking) as stays, connect(taking) as leaves:
        for one in (leaves, stays):
            one.sendall(POST.replace(b" / ", b" /late "))
        leaves.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        leaves.close()
        assert answer(stays).startswith(b"HTTP/1.1 200 OK")
    assert answered(taking)
