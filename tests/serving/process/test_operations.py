"""`headwater serve` with all its processes, as real ones: they are killed, replaced and stopped
while clients ask.
"""

import http.client
import json
import os
import signal
import threading
import time
from datetime import UTC, datetime

import httpx
import pytest

import headwater as hw
from headwater.errors import HeadwaterError
from tests.laws.operated import Operated, alive
from tests.waiting import until


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop that is served by two workers, and ingested and materialized in parallel."""
    made = Operated(tmp_path_factory.mktemp("shop"))
    made.train(versions=2)
    made.everything("--liveness-timeout=5")
    try:
        made.ready()
        yield made
    finally:
        made.stop(signal.SIGKILL if made.process.poll() is None else signal.SIGTERM)


class BlockingThirdPartyClients:
    """Threads that ask for predictions, one after the other on connections that are kept, until
    they are told to stop.
    """

    def __init__(self, url, *, threads=4, pause=0.004, retries=0):
        self.url, self.pause, self.retries = url, pause, retries
        self.failed, self.versions = [], []
        self.done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(threads)]

    def __enter__(self):
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for one in self._threads:
            one.join()

    def _ask(self, user):
        with hw.client.Client(self.url, retries=self.retries, timeout=20) as client:
            while not self.done.is_set():
                try:
                    self.versions.append(client.predict("churn", {"user": user}).version)
                except HeadwaterError as error:
                    self.failed.append(f"{type(error).__name__}: {error}")
                time.sleep(self.pause)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_its_requests_are_asked_again(shop):
    before = shop.children(" serve ")
    with BlockingThirdPartyClients(shop.url, retries=3) as asking:
        shop.until(lambda: len(asking.versions) > 100, "answers")
        ready = shop.said().count("is ready after")
        os.kill(next(iter(before)), signal.SIGKILL)
        shop.until(lambda: len(set(shop.children(" serve ")) - set(before)) == 1, "another worker")
        assert shop.health() == 200  # the other one answers meanwhile
        shop.until(lambda: shop.said().count("is ready after") == ready + 1, "its readiness")
    assert asking.failed == []
    assert "was ended by SIGKILL" in shop.said()


@pytest.mark.slow
def test_killed_workers_lose_no_entry_of_the_serving_log(shop):
    ids = [f"killed-{n}" for n in range(150)]
    for n, name in enumerate(ids):
        body = {"row": {"user": n % 7}} if n % 2 else {"rows": [{"user": 1}, {"user": n % 7}]}
        assert (
            httpx.post(
                f"{shop.url}/v1/predict/churn",
                json=body,
                headers={"X-Request-Id": name},
                trust_env=False,
            ).status_code
            == 200
        )
    time.sleep(0.3)  # a batch waits 50 ms at most
    for pid in shop.children(" serve "):
        os.kill(pid, signal.SIGKILL)
    shop.ready()

    def kept():
        return set(
            hw.operations.served(shop.folder / ".headwater", model="churn").collect()[
                "headwater_request"
            ]
        )

    shop.until(lambda: kept() >= set(ids), "what was in the pipes")


@pytest.mark.slow
def test_another_version_becomes_current_and_no_request_is_dropped(shop):
    with BlockingThirdPartyClients(shop.url) as asking:
        shop.until(lambda: len(asking.versions) > 50, "answers")
        shop.registry.promote(2, "churn")
        shop.until(lambda: asking.versions[-40:] == ["2"] * 40, "the new version from every worker")
        shop.registry.rollback("churn")
        shop.until(lambda: asking.versions[-40:] == ["1"] * 40, "the old version from every worker")
    assert asking.failed == []


@pytest.mark.slow
def test_ingestion_that_is_killed_goes_on_and_each_event_counts_once(shop):
    with hw.client.Client(shop.url, retries=50, timeout=60) as client:
        before = client.features("churn_v1", {"user": 7}).rows[0]["live__count_1h"].value
        os.kill(next(iter(shop.children(" ingest "))), signal.SIGKILL)
        taken = [
            client.events("clicks", {"user": 7, "at": datetime.now(UTC), "n": n}) for n in range(5)
        ]
        assert sum(one.accepted for one in taken) == 5
        assert (
            client.features("churn_v1", {"user": 7}).rows[0]["live__count_1h"].value == before + 5
        )


@pytest.mark.slow
def test_a_job_that_keeps_dying_is_counted_and_workers_stay_ready(shop):
    seen = set()
    for _ in range(3):
        shop.until(lambda: set(shop.children(" materialize ")) - seen, "another one")
        (one,) = set(shop.children(" materialize ")) - seen
        os.kill(one, signal.SIGKILL)
        seen.add(one)
    assert shop.health() == 200
    shop.until(
        lambda: shop.metric('headwater_process_deaths_total{process="materialize"}') == 3,
        "the count",
    )


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_others_answer(shop):
    before = shop.children(" serve ")
    hanging, ready = next(iter(before)), shop.said().count("is ready after")
    os.kill(hanging, signal.SIGSTOP)
    shop.until(
        lambda: hanging not in shop.children(" serve ") and len(shop.children(" serve ")) == 2,
        "another worker",
    )
    assert "has not answered for 5 s; killing it" in shop.said()
    assert shop.health() == 200
    shop.until(lambda: shop.said().count("is ready after") > ready, "its readiness")


@pytest.mark.slow
def test_what_is_under_way_is_finished_when_it_is_stopped(shop):
    body = json.dumps({"row": {"user": 5}}).encode()
    under_way = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=30)
    under_way.putrequest("POST", "/v1/predict/churn")
    under_way.putheader("Content-Length", str(len(body)))
    under_way.endheaders(body[:5])
    with hw.client.Client(shop.url) as client:  # accepted events are on the disk, whenever it ends
        count = client.features("churn_v1", {"user": 9}).rows[0]["live__count_1h"].value
        assert client.events("clicks", {"user": 9, "at": datetime.now(UTC), "n": 1}).accepted == 1
    children = shop.children()
    shop.process.send_signal(signal.SIGTERM)
    shop.until(lambda: "stopping" in shop.said(), "stopping")
    under_way.send(body[5:])
    answer = under_way.getresponse()
    assert (answer.status, json.loads(answer.read())["prediction"]["how"]) == (200, "on_request")
    under_way.close()
    assert shop.process.wait(60) == 0, shop.said()
    assert not any(map(alive, children))
    assert shop.health() is None
    lines = [json.loads(line) for line in shop.said().splitlines() if line.startswith("{")]
    assert any(line["route"] == "/v1/predict/{model}" and line["status"] == 200 for line in lines)
    shop.everything(workers=1)
    shop.ready()
    with hw.client.Client(shop.url) as client:
        assert client.features("churn_v1", {"user": 9}).rows[0]["live__count_1h"].value == count + 1


@pytest.mark.slow
def test_no_process_is_orphaned_when_the_supervisor_is_killed(shop):
    # one may be starting again
    until(lambda: all(map(shop.children, (" serve ", " ingest ", " materialize "))))
    children = shop.children()
    shop.stop(signal.SIGKILL)
    until(lambda: not any(map(alive, children)), "all have ended", said=lambda: children)
