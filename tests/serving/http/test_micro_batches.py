"""Requests that arrive in one turn of the event loop share a read; with a fixed clock each is
answered to the byte as it is alone.
"""

import asyncio
import json
import random
from dataclasses import replace

import pytest

import headwater as hw
from headwater.serving.http.app import App
from headwater.serving.service import Service
from tests.serving.test_endpoints import COUNTED, NUMBERS, scored
from tests.serving.world import ASKED_AT, MODELS, NOW, PROJECT, ROW, Sum, filled, free_port, hourly
from tests.stores.servers import serving as redis_serving

T = int(ASKED_AT.timestamp()) * 1_000_000
ip = hw.HttpFeatures(
    "ip", url=f"http://127.0.0.1:{free_port()}/", request={"address": str}, response={"score": float}, timeout="2s", retries=0,
    fallback={"score": 0.5},
)  # fmt: skip
RISKY = hw.Model(
    "risky",
    task="binary",
    features=hw.FeatureService("risky_v1", [NUMBERS, ip]),
    labels=COUNTED.labels,
)
AHEAD = hw.Level(predictions=hw.precomputed(hourly, keys=["user"], otherwise="on_request"))
SHOP = hw.Project(
    "shop", [*PROJECT.models, COUNTED, RISKY], levels={**PROJECT.levels, "ahead": AHEAD}
)
SCORERS = {**MODELS, "counted": Sum(), "risky": Sum()}


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with redis_serving(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="module", params=["lmdb", pytest.param("redis", marks=pytest.mark.services)])
def shop(request, tmp_path_factory):
    """The shop over a store: precomputed predictions, third parties that do not answer, a ranking,
    request features that may fail.
    """
    url = (
        f"lmdb:{tmp_path_factory.mktemp('batches') / 'online'}?size=1GB"
        if request.param == "lmdb"
        else request.getfixturevalue("redis_url")
    )
    store = filled(hw.operations.open_store(url))
    filled(store, NUMBERS)
    scored(store, COUNTED, AHEAD)
    store.close()
    with Service(SHOP, url, models=SCORERS, levels=["nightly", "ahead"]) as service:
        yield service


def drawn(random, n):
    """A request, right or wrong: its path and body."""
    user = random.choice([0, 1, 2, 3, 4, 77, None, "1", 1.5, 2**70, True])
    churn = {**ROW, "user": user, "amount": random.choice([12.5, 0.0, 7, None, "x"])}
    plain = {
        "user": user,
        "day": random.choice(["2024-05-01", "2024-05-02", None, "x"]),
        "amount": random.choice([2.0, 0.0, 3]),
    }
    more = (
        {}
        if random.random() < 0.7
        else {"level": random.choice([None, "nightly", "ahead", "never there", "none"])}
    )
    kind = random.randrange(12)
    if kind < 3:
        return "/v1/features/churn_v1", {"row": churn, "compact": random.random() < 0.5, **more}
    if kind < 5:
        return "/v1/features/plain_v1", {"row": plain, "compact": random.random() < 0.5, **more}
    if kind < 7:
        return "/v1/predict/churn", {"row": churn, "features": random.random() < 0.5, **more}
    return [
        ("/v1/predict/plain", {"row": plain, **more}),
        (
            "/v1/predict/counted",
            {
                "row": {"user": random.choice([1, 2, 77, None, "x"])},
                "level": random.choice([None, "ahead"]),
            },
        ),
        ("/v1/features/risky_v1", {"row": {"user": user, "address": f"a{n % 3}"}}),
        ("/v1/rank/feed", {"row": {"user": random.choice([1, 2])}, "k": 2}),
        (
            "/v1/features/churn_v1",
            random.choice(
                [{"rows": [churn, ROW]}, {"row": {}}, {"row": {**ROW, "z": 1}}, {"rwo": 1}, {}, 1]
            ),
        ),
    ][kind - 7]


async def answers(app, requests, *, together):
    """Status, header lines and body of each request: of all in one turn of the event loop, or of
    one after the other.
    """
    loop, tasks = asyncio.get_running_loop(), []

    async def one(n, path, body):
        said, data, headers = (
            {},
            json.dumps(body).encode(),
            {b"host": b"localhost", b"x-request-id": b"r%d" % n},
        )
        if together and path.count("/") == 3:
            done = loop.create_future()
            if app.take(path.encode(), headers, data, lambda *told: done.set_result(told)):
                status, head, content = await done
                return status, sorted(head.rstrip().split(b"\r\n")), content

        async def read():
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message):
            said.update(message)

        await app(
            {
                "type": "http",
                "method": "POST",
                "path": path,
                "headers": list(headers.items()),
                "query_string": b"",
            },
            read,
            send,
        )
        return (
            said["status"],
            sorted(b"%b: %b" % header for header in said["headers"]),
            said["body"],
        )

    for n, (path, body) in enumerate(requests):
        tasks.append(asyncio.create_task(one(n, path, body)))
        if not together:
            await tasks[-1]
    return await asyncio.gather(*tasks)


def asked(service, requests, t=T):
    async def run():
        app = App(service, now=lambda: t)
        await answers(app, [("/v1/features/none", {})], together=False)  # starts its periodic work
        alone = await answers(app, requests, together=False)
        together = await answers(app, requests, together=True)
        await app.close()
        return app, alone, together

    return asyncio.run(run())


@pytest.mark.parametrize("seed", range(8))
def test_no_answer_differs_from_the_one_that_a_request_gets_alone(shop, seed):
    chance = random.Random(seed)
    requests = [drawn(chance, n) for n in range(chance.choice([2, 16, 100]))]
    _, alone, together = asked(shop, requests)
    assert [
        (n, requests[n], one, other)
        for n, (one, other) in enumerate(zip(alone, together, strict=True))
        if one != other
    ] == []


def test_a_request_that_fails_fails_alone(shop):
    good = ("/v1/features/plain_v1", {"row": {"user": 1, "day": "2024-05-01", "amount": 2.0}})
    fails = ("/v1/features/plain_v1", {"row": {"user": 1, "day": "2024-05-01", "amount": 0.0}})
    wrong = ("/v1/features/plain_v1", {"row": {"user": "1", "day": "2024-05-01", "amount": 2.0}})
    _, alone, together = asked(shop, [good, fails, wrong, good])
    assert [status for status, _, _ in together] == [200, 422, 422, 200]
    assert b"ZeroDivisionError" in together[1][2]
    assert alone == together


def test_what_is_old_and_refused_is_refused_to_each(tmp_path):
    refusing = replace(NUMBERS, name="refusing", on_stale="refuse")
    model = replace(COUNTED, features=hw.FeatureService("counted_v1", [refusing]))
    store = filled(hw.operations.open_store(f"lmdb:{tmp_path / 'online'}?size=1GB"), refusing)
    with Service(hw.Project("shop", [model]), store, models={"counted": Sum()}) as service:
        requests = [
            ("/v1/features/counted_v1", {"row": {"user": 1}}),
            ("/v1/predict/counted", {"row": {"user": 2}}),
        ] * 2
        _, alone, together = asked(service, requests, int(NOW.timestamp() + 86_400) * 1_000_000)
    store.close()
    assert alone == together
    assert [status for status, _, _ in together] == [503, 200] * 2  # the model has a default
    assert b'"how":"default"' in together[1][2]
