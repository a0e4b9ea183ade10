"""A listening socket that takes no further connections, before it is closed."""

import socket
import sys
import threading

import pytest

from headwater.serving.process.listening_socket import open_listener, stop_new_connections


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux filters the packets of a listening socket"
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_pending_connections_stay_and_new_ones_wait_until_the_socket_is_closed(host):
    with open_listener(host, 0) as listener:
        address = listener.getsockname()[:2]
        with socket.create_connection(address, timeout=5) as pending:
            pending.sendall(b"sent before")
            stop_new_connections(listener)
            with socket.socket(listener.family) as new:
                new.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    new.connect(address)
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(5)
                pending.sendall(b", and after")
                assert accepted.recv(11) == b"sent before"
                assert accepted.recv(11) == b", and after"
                accepted.sendall(b"answered")
                assert pending.recv(8) == b"answered"
            outcome = []

            def connect():
                with socket.socket(listener.family) as late:
                    late.settimeout(5)
                    outcome.append(late.connect_ex(address))

            waiting = threading.Thread(target=connect)
            waiting.start()
            waiting.join(0.2)
            assert outcome == []
    waiting.join()
    assert outcome[0] != 0
