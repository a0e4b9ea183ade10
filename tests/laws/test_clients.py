"""Both clients ask again over a connection of their own, whatever became of the last one."""

import asyncio
import socket
import threading
from contextlib import contextmanager

import headwater as hw

BODY = b'{"status": "ok"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"


@contextmanager
def one_answer_each():
    """The URL of a server that answers once over each connection, promises to keep it, and closes
    it; and what it releases when it has.
    """
    closed, stop = threading.Semaphore(0), threading.Event()

    def answer():
        while True:
            connection, _ = server.accept()
            with connection:
                if stop.is_set():
                    return
                if connection.recv(65_536):
                    connection.sendall(ANSWER % (len(BODY), BODY))
            closed.release()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", closed
        finally:
            stop.set()
            socket.create_connection(server.getsockname()).close()
            thread.join()


async def asked_by_asyncio(url, closed):
    async with hw.client.AsyncClient(url, retries=0) as client:
        for _ in range(3):
            yield (await client.health()).ready
            await asyncio.to_thread(closed.acquire)
            for _ in range(3):  # the event loop hears of it
                await asyncio.sleep(0)


def test_a_closed_connection_is_not_used_again():
    """Without a second attempt, each request has its answer."""
    with one_answer_each() as (url, closed), hw.client.Client(url, retries=0) as client:
        for _ in range(3):
            assert client.health().ready
            closed.acquire()


def test_a_closed_connection_is_not_used_again_by_asyncio():
    async def answers(url, closed):
        return [ready async for ready in asked_by_asyncio(url, closed)]

    with one_answer_each() as (url, closed):
        assert asyncio.run(answers(url, closed)) == [True] * 3
