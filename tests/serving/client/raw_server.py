"""A server on a socket that answers as a test says: what clients send is read there, and nothing
that the project makes answers them.
"""

import socket
import threading
from contextlib import contextmanager, suppress
from typing import NamedTuple


class Seen(NamedTuple):
    """A request as it came. headers: by lower-case name."""

    line: str
    headers: dict[str, str]
    body: bytes


class Server(NamedTuple):
    """url; requests: those that came, in order; connections: those that were opened."""

    url: str
    requests: list[Seen]
    connections: list[socket.socket]


def response(body=b'{"status":"ok"}', *headers, status="200 OK"):
    """A response with the length of its body."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_request(reader):
    """The next request of a connection; None at its end."""
    line = reader.readline().decode("latin-1").strip()
    if not line:
        return None
    headers = {}
    while text := reader.readline().decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return Seen(line, headers, reader.read(int(headers.get("content-length", 0))))


@contextmanager
def answering(*answers, tls=None):
    """A server. answers: of the requests in order, the last for all others: bytes to send, a pair
    of bytes and "close", or a function of connection and request that returns the bytes, or None
    where the connection has ended.
    """
    requests, connections, lock = [], [], threading.Lock()

    def serve(connection):
        with (
            suppress(OSError),
            connection if tls is None else tls.wrap_socket(connection, server_side=True) as peer,
            peer.makefile("rb") as reader,
        ):
            while True:
                seen = read_request(reader)
                if seen is None:
                    return
                with lock:
                    answer = answers[min(len(requests), len(answers) - 1)]
                    requests.append(seen)
                data, close = answer if isinstance(answer, tuple) else (answer, None)
                if callable(data):
                    data = data(peer, seen)
                if data is None:
                    return
                peer.sendall(data)
                if close:
                    with suppress(OSError):
                        peer.shutdown(socket.SHUT_RDWR)
                    return

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        scheme = "http" if tls is None else "https"
        try:
            yield Server(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", requests, connections)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
