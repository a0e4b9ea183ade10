"""A port in front of a server that delays, ends or blocks connections: of all clients, or of one
process.
"""

import contextlib
import socket
import threading
import time
from pathlib import Path


class Link:
    """Leads to a port of this machine. Data sent while it is blocked arrives when it is healed, as
    TCP would have it.

    delay: seconds that each piece of data takes, in both directions. target: the port, which may
    change.
    """

    def __init__(self, target, port=0):
        self.target, self.delay = target, 0.0
        self._blocked, self._open, self._healed, self._threads = set(), {}, threading.Event(), []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._thread(self._accept)

    def cut(self, pid=None):
        """End the connections of a process; None is every process."""
        for one, owner in list(self._open.items()):
            if pid in (None, owner):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def block(self, pid=None):
        """Let nothing of a process pass, without a sign: a partition of the network."""
        self._healed.clear()
        self._blocked.add(pid)

    def leads(self, pid):
        """Whether a process has a connection here."""
        return pid in self._open.values()

    def heal(self):
        self._blocked.clear()
        self._healed.set()

    def switch(self, target):
        """Lead to another port; open connections end."""
        self.target = target
        self.cut()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.heal()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _thread(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def _accept(self):
        with contextlib.suppress(OSError):  # it is closed
            while True:
                here, (_, port) = self._listener.accept()
                self._thread(self._lead, here, owner(port))

    def _lead(self, here, pid):
        self._wait(pid)
        try:
            there = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            here.close()
            return
        there.settimeout(None)
        with here, there:
            self._open |= {here: pid, there: pid}
            requests = self._thread(self._pump, here, there, pid)
            self._pump(there, here, pid)
            requests.join()
            del self._open[here], self._open[there]

    def _pump(self, source, sink, pid):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._wait(pid)
                if self.delay:
                    time.sleep(self.delay)
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _wait(self, pid):
        while self._blocked & {None, pid}:
            self._healed.wait(0.05)


def owner(port):
    """The process that a connection from this port belongs to; None where that cannot be told."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if int(row[1].partition(":")[2], 16) == port}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if entry.name.isdecimal() and any(
                _leads_to(one) in inodes for one in (entry / "fd").iterdir()
            ):
                return int(entry.name)
    return None


def _leads_to(descriptor):
    """What a process has open; nothing where it has closed that meanwhile."""
    try:
        return str(descriptor.readlink())
    except OSError:
        return None
