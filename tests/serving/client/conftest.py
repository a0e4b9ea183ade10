"""Both clients, called alike."""

import asyncio

import pytest

import headwater as hw


class Awaited:
    """The asynchronous client, asked as the other one is."""

    def __init__(self, *args, **options):
        self._client = hw.client.AsyncClient(*args, **options)
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name):
        return lambda *args, **options: self._loop.run_until_complete(
            getattr(self._client, name)(*args, **options)
        )

    def idle(self, seconds=0.01):
        """Let the event loop run."""
        self._loop.run_until_complete(asyncio.sleep(seconds))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self._loop.close()


@pytest.fixture(params=[hw.client.Client, Awaited], ids=["sync", "async"])
def make(request):
    return request.param
