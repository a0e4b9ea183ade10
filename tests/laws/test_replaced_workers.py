"""SIGHUP replaces each worker of `headwater serve` once and no other process, and every request is
answered meanwhile.
"""

import signal
import time

import httpx
import pytest

from tests.laws.operated import Operated


@pytest.fixture
def shop(tmp_path):
    """A shop that is served by two workers, and ingested and materialized in parallel."""
    made = Operated(tmp_path)
    made.train()
    made.everything()
    try:
        made.ready()
        yield made
    finally:
        made.stop()


@pytest.mark.slow
def test_every_worker_is_replaced_once_and_ingestion_goes_on(shop):
    workers, seen = set(shop.children(" serve ")), set()
    others = set(shop.children()) - workers
    assert (len(workers), bool(others)) == (2, True)
    with httpx.Client(base_url=shop.url, timeout=60, trust_env=False) as client:

        def answered():
            seen.update(shop.children(" serve "))
            return client.post("/v1/predict/churn", json={"row": {"user": 1}}).status_code == 200

        for _ in range(2):  # the second one finds workers that are to be replaced already
            shop.process.send_signal(signal.SIGHUP)
        shop.until(
            lambda: answered() and not workers & set(shop.children(" serve ")),
            "other workers in place of all",
        )
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert answered()
    assert len(seen - workers) == len(shop.children(" serve ")) == 2
    assert others <= set(shop.children())
    assert shop.stop() == 0
