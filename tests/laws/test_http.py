"""Each route answers as /openapi.json describes it, limits hold just inside and just past them, and
requests are in the access log.
"""

import io
import json
import socket
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import httpx
import pytest

import headwater as hw
from headwater.testing import clock
from tests.laws import roads
from tests.laws.test_roads import Asked, serving

TOTALS = {"taste": roads.Total(), "lapse": roads.Total()}
ROW = {"user": 1, "page": "p", "peer": 2, "amount": 5.5, "country": "no"}
COST = {"user": 1}
ASKED = {  # of each route that is described: what is sent, the status, and a part of the answer
    "post /v1/features/taste_v1": ({"row": ROW}, 200, "features"),
    "post /v1/features/lapse_v1": ({"rows": [COST, {"user": 77}], "compact": True}, 200, "names"),
    "post /v1/predict/taste": ({"rows": [ROW, ROW]}, 200, "predictions"),
    "post /v1/predict/lapse": (
        {"row": COST, "level": "nightly", "features": True},
        200,
        "prediction",
    ),
    "post /v1/outcomes/labels": ([{"request_id": "r1", "outcome": 1.5}], 200, "accepted"),
    "post /v1/outcomes/paid": ({"request_id": "r2"}, 422, "refused"),
    "get /v1/experiments": ({}, 200, "experiments"),
    "post /ofrep/v1/evaluate/flags": ({"context": {"targetingKey": "u1"}}, 200, "flags"),
    "post /ofrep/v1/evaluate/flags/{key}": (
        {"context": {"targetingKey": "u1"}},
        404,
        "errorCode",
    ),
    "get /v1/explain": ({"feature": "user__count_1h", "user": "1", "events": "3"}, 200, "keys"),
    "get /v1/status": ({}, 200, "views"),
    "get /v1/lineage": ({"around": "view user"}, 200, "edges"),
    "get /v1/feature": ({"feature": "cost__sum_cost_2d"}, 200, "definition"),
    "get /v1/plan": ({}, 200, "changes"),
    "get /v1/runs": ({}, 200, "runs"),
    "get /v1/models": ({}, 200, "models"),
    "get /v1/parity": ({}, 200, "views"),
    "get /v1/served": ({"days": "1"}, 200, "served"),
    "get /healthz": ({}, 200, "status"),
    "get /readyz": ({}, 200, "status"),
    "get /metrics": ({}, 200, ""),
    "get /openapi.json": ({}, 200, "paths"),
    "get /docs": ({}, 200, ""),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The shop, served at a time that stands still, and who asks it."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch, clock.at(roads.START) as now, ExitStack() as stack:
        patch.setenv("HEADWATER_HOME", str(folder / "home"))
        asked = Asked(folder, now)
        asked.send()
        store = stack.enter_context(closing(hw.operations.open_store(asked.url)))
        asked.ingest(store)
        log = io.StringIO()
        url = serving(stack, asked, store, models=TOTALS, levels=("nightly",), log=log)
        yield stack.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))


@pytest.fixture(scope="module")
def document(shop):
    return shop.get("/openapi.json").json()


# ---------------------------------------------------------------- the description


def faults(value, schema, document, where="it"):
    """Why a value does not fit a schema; nothing where it does."""
    if "$ref" in schema:
        *_, name = schema["$ref"].split("/")
        return faults(value, document["components"]["schemas"][name], document, where)
    for form in ("oneOf", "anyOf"):
        if form in schema:
            found = [faults(value, one, document, where) for one in schema[form]]
            fitting = sum(not each for each in found)
            return (
                []
                if fitting == 1 or (fitting and form == "anyOf")
                else [f"{where} fits {fitting} forms: {found}"]
            )
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where} is {value!r}"]
    types = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "null": type(None),
        "integer": int,
        "number": int | float,
    }
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(
        isinstance(value, types[kind]) and (kind == "boolean" or not isinstance(value, bool))
        for kind in kinds
    ):
        return [f"{where} is {value!r}, and no {kinds}"]
    if isinstance(value, list):
        inner = [
            fault
            for n, one in enumerate(value)
            for fault in faults(one, schema.get("items", {}), document, f"{where}[{n}]")
        ]
        return (
            inner
            if schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
            else [f"{where} has {len(value)}"]
        )
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        missing = [
            f"{where} lacks {name}" for name in schema.get("required", []) if name not in value
        ]
        unknown = [f"{where} has {name}" for name in value if name not in known and others is False]
        rest = others if isinstance(others, dict) else {}
        inner = [
            fault
            for name, one in value.items()
            for fault in faults(one, known.get(name, rest), document, f"{where}.{name}")
        ]
        return missing + unknown + inner
    return []


def ask(shop, route, sent):
    method, path = route.split()
    return shop.request(method, path, **({"json": sent} if method == "post" else {"params": sent}))


def described(document, route):
    method, path = route.split()
    return document["paths"][path][method]


def test_each_route_is_described(document):
    assert {
        f"{method} {path}" for path, methods in document["paths"].items() for method in methods
    } == set(ASKED)


@pytest.mark.parametrize("route", ASKED)
def test_a_route_answers_as_it_is_described(shop, document, route):
    sent, status, part = ASKED[route]
    about = described(document, route)
    if route.startswith("post"):
        assert (
            faults(sent, about["requestBody"]["content"]["application/json"]["schema"], document)
            == []
        )
    else:
        names = {one["name"]: one["schema"] for one in about.get("parameters", [])}
        assert sent.keys() <= names.keys()
        assert all(set(schema) & {"type", "enum"} for schema in names.values())
    answer = ask(shop, route, sent)
    assert answer.status_code == status, answer.text
    (media, form), *_ = about["responses"][str(status)]["content"].items()
    assert answer.headers["content-type"].startswith(media)
    if media == "application/json":
        said = answer.json()
        assert part in said, said
        if "schema" in form and status == 200:
            assert faults(said, form["schema"], document) == []


WRONG = {  # a request that no route takes, its status, and words of the error
    "an unknown field": ("post /v1/features/lapse_v1", {"row": {"user": 1, "usr": 2}}, 422, "usr"),
    "a text for a number": ("post /v1/features/lapse_v1", {"row": {"user": "one"}}, 422, "user"),
    "an unknown option": ("post /v1/predict/lapse", {"row": COST, "levels": None}, 422, "levels"),
    "an undeclared level": (
        "post /v1/predict/lapse",
        {"row": COST, "level": "weekly"},
        422,
        "weekly",
    ),
    "a row and rows": ("post /v1/predict/lapse", {"row": COST, "rows": [COST]}, 422, "row"),
    "no rows": ("post /v1/predict/lapse", {"rows": []}, 422, "10,000"),
    "10,001 rows": ("post /v1/predict/lapse", {"rows": [COST] * 10_001}, 422, "10,001"),
    "no feature": ("get /v1/explain", {"user": "1"}, 422, "feature"),
    "1,001 events": (
        "get /v1/explain",
        {"feature": "user__count_1h", "user": "1", "events": "1001"},
        422,
        "events",
    ),
    "401 days": ("get /v1/served", {"days": "401"}, 422, "days"),
    "an unknown service": ("post /v1/features/taste", {"row": ROW}, 404, "taste_v1"),
    "another method": ("get /v1/features/taste_v1", {}, 405, "POST"),
}


@pytest.mark.parametrize(("route", "sent", "status", "word"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_and_named(shop, document, route, sent, status, word):
    answer = ask(shop, route, sent)
    assert answer.status_code == status, answer.text
    assert word in answer.text
    assert faults(answer.json(), {"$ref": "#/components/schemas/Error"}, document) == []
    if route in ASKED and route.startswith("post"):
        assert (
            faults(
                sent,
                described(document, route)["requestBody"]["content"]["application/json"]["schema"],
                document,
            )
            != []
        )


def test_10_000_rows_are_answered(shop):
    rows = [{"user": n % 9} for n in range(10_000)]
    several = shop.post("/v1/predict/lapse", json={"rows": rows}).json()["predictions"]
    alone = [
        shop.post("/v1/predict/lapse", json={"row": row}).json()["prediction"]["value"]
        for row in rows[:9]
    ]
    assert [one["value"] for one in several] == [alone[n % 9] for n in range(10_000)]


# ---------------------------------------------------------------- the header


def said(shop, head, body=b""):
    """The status of the answer to a request as it is written here."""
    url = urlsplit(str(shop.base_url))
    with socket.create_connection((url.hostname, url.port), timeout=30) as one:
        one.sendall(head + b"\r\n" + body)
        with one.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def headed(*headers, target=b"/healthz", version=b"1.1", host=True):
    return b"".join(
        (
            b"GET " + target + b" HTTP/" + version + b"\r\n",
            *([b"host: localhost\r\n"] if host else []),
            *(line + b"\r\n" for line in headers),
        )
    )


def long_header(size):
    """A header of so many bytes, its target and lines."""
    used = len(b"/healthz") + len(b"host") + len(b"localhost") + 4 + len(b"x") + 4
    return headed(b"x: " + b"v" * (size - used))


HEADS = {  # a header, and the status of its answer
    "32,768 bytes": (long_header(32_768), 200),
    "32,769 bytes": (long_header(32_769), 431),
    "100 lines": (headed(*(b"x%d: v" % n for n in range(99))), 200),
    "101 lines": (headed(*(b"x%d: v" % n for n in range(100))), 431),
    "two hosts": (headed(b"host: b"), 400),
    "no host": (headed(host=False), 400),
    "no host, as HTTP/1.0 has it": (headed(version=b"1.0", host=False), 403),
    "another host": (headed(b"x: y", host=False).replace(b"x: y", b"host: evil.example"), 403),
    "two lengths": (headed(b"content-length: 0", b"content-length: 0"), 400),
    "a length and chunks": (headed(b"content-length: 1", b"transfer-encoding: chunked"), 400),
    "an unknown coding": (headed(b"transfer-encoding: gzip"), 400),
    "no protocol": (b"hello\r\n", 400),
}


@pytest.mark.parametrize(("head", "status"), HEADS.values(), ids=HEADS)
def test_a_header_is_read_or_refused(shop, head, status):
    assert said(shop, head) == status
    assert shop.get("/healthz").status_code == 200


def test_a_body_is_json_of_some_size(shop):
    post = {"url": "/v1/predict/lapse", "headers": {"content-type": "application/json"}}
    assert shop.post(**post, content=b'{"row": {"user": 1}}').status_code == 200
    assert shop.post(**post, content=b'{"row": {"user": 1}').status_code == 400
    assert shop.post(**post, content=b"[" * 100_000).status_code in {400, 422}
    assert shop.post(**post, content=b"\xff").status_code == 400
    assert (
        shop.post(
            "/v1/predict/lapse", content=b"x", headers={"content-encoding": "gzip"}
        ).status_code
        == 415
    )


# ---------------------------------------------------------------- the access log


@pytest.mark.parametrize(("share", "kept"), [(1.0, 12), (0.5, 6), (0.25, 3), (0.0, 0)])
def test_the_access_log_has_every_failure_and_a_share_of_the_rest(shop, tmp_path, share, kept):
    with clock.at(roads.START) as now, ExitStack() as stack:
        asked, log = Asked(tmp_path, now), io.StringIO()
        store = stack.enter_context(closing(hw.operations.open_store(asked.url)))
        hw.materialize(asked.project, store=store)
        with ExitStack() as inner:
            url = serving(inner, asked, store, models=TOTALS, log=log, log_sample=share)
            client = inner.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))
            for n in range(12):
                request = client.post(
                    "/v1/predict/lapse",
                    json={"rows": [COST] * (n + 1)},
                    headers={"x-request-id": f"r{n}"},
                )
                assert request.status_code == 200
            for n in range(5):
                assert (
                    client.post(
                        "/v1/predict/lapse",
                        json={"row": {"user": "?"}},
                        headers={"x-request-id": f"w{n}"},
                    ).status_code
                    == 422
                )
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
    good, bad = (
        [line for line in lines if (line["status"] >= 400) is failed] for failed in (False, True)
    )
    assert (len(good), sorted(line["id"] for line in bad)) == (kept, [f"w{n}" for n in range(5)])
    for line in lines:
        assert set(line) == {"at", "id", "route", "name", "status", "ms", "rows"}
        assert (line["route"], line["name"]) == ("/v1/predict/{model}", "lapse")
        assert line["ms"] >= 0
    assert all(line["rows"] == int(line["id"][1:]) + 1 for line in good)
