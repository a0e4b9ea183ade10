"""OFREP: experiments as flags, against the protocol and its public providers for Python and
JavaScript.
"""

import json
import re
from datetime import UTC, datetime
from urllib.parse import quote

import httpx
import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode, GeneralError
from openfeature.flag_evaluation import Reason

import headwater as hw
from headwater.journal.exposure_log import read_exposures
from headwater.serving.http.app import App
from headwater.serving.http.auth import TokenFile
from headwater.serving.http.connection_limits import ConnectionLimits
from headwater.serving.http.ofrep import DEFAULT
from headwater.serving.process.uvicorn_server import ServerOptions
from headwater.serving.process.uvicorn_server import serving as http_serving
from headwater.serving.service import Service
from tests.serving.experiment_world import (
    DAY,
    EXPERIMENTED,
    T,
    expected,
    plan,
    serving,
    started,
)
from tests.serving.world import MODELS, Lines, asking, free_port
from tests.waiting import until

ALL = "/ofrep/v1/evaluate/flags"
FRESH = f"{ALL}/fresh"
SWITCHBACK = {
    "kind": "switchback",
    "columns": {"region": "city"},
    "settings": {"length": 7 * DAY // 24, "washout": 0, "random_bounds": False},
}
CLUSTER = {"kind": "cluster", "columns": {"cluster": "market"}, "settings": {"burn_in": 0}}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    made = hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('flags') / 'online'}?size=1GB")
    yield made
    made.close()


@pytest.fixture
def running(empty_store, tmp_path):
    """A client of the service, while an experiment of these changes runs."""
    opened = []

    def run(now=lambda: T, tokens=None, **changes):
        store = started(tmp_path / "models", **changes)
        client = serving(empty_store, tmp_path, store, now=now, tokens=tokens)
        opened.append(client)
        return client.__enter__(), store

    yield run
    for client in opened:
        client.__exit__(None, None, None)


def asked(client, unit="u1", path=FRESH, headers=None, **context):
    return client.post(
        path, json={"context": {"targetingKey": unit, **context}}, headers=headers or {}
    )


# ---------------------------------------------------------------- evaluations


def test_a_split_has_the_arm_that_predictions_have(running):
    client, store = running()
    arms = {}
    for unit in range(40):
        answer = asked(client, str(unit))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        arm = expected(store, unit)
        assert answer.json() == {
            "key": "fresh",
            "reason": "SPLIT",
            "variant": arm,
            "value": arm,
            "metadata": {
                "experiment": "fresh",
                "version": 1,
                "propensity": 0.5,
                "control": arm == "hourly",
                "model": "churn",
                "level": "as defined" if arm == "hourly" else "nightly",
            },
        }
        arms[arm] = arms.get(arm, 0) + 1
    assert arms.keys() == {"hourly", "nightly"}


def test_a_unit_that_takes_no_part_gets_the_programs_default(running):
    client, store = running(enrolled=(0.1,))
    answers = [asked(client, f"u{n}").json() for n in range(60)]
    outside = [answer for answer in answers if "value" not in answer]
    assert 40 < len(outside) < 60
    assert all(
        (one["reason"], one["variant"], one["metadata"].keys())
        == ("SPLIT", DEFAULT, {"experiment", "version"})
        for one in outside
    )
    assert [answer.get("value") for answer in answers] == [
        expected(store, f"u{n}") for n in range(60)
    ]


@pytest.mark.parametrize("at", [T - DAY - 1, T - DAY + 14 * DAY], ids=["before", "after"])
def test_before_the_start_and_after_the_end_it_is_disabled(running, at):
    client, _ = running(now=lambda: at)
    assert asked(client).json() == {
        "key": "fresh",
        "reason": "DISABLED",
        "variant": DEFAULT,
        "metadata": {"experiment": "fresh", "version": 1},
    }


@pytest.mark.parametrize("design", [SWITCHBACK, CLUSTER], ids=["switchback", "cluster"])
def test_regions_and_clusters_are_entries_of_the_context(running, design):
    client, store = running(**design)
    (column,) = design["columns"].values()
    arms = set()
    for group in ("oslo", "rome", 3, "lima", "bern", "cairo", True):
        answer = asked(client, **{column: group}).json()
        text = "true" if group is True else str(group)
        assert answer["value"] == expected(store, "u1", text)
        assert answer["reason"] == "TARGETING_MATCH"
        arms.add(answer["value"])
    assert arms == {"hourly", "nightly"}
    for wrong in ({}, {column: None}, {column: 0.5}, {column: ["oslo"]}, {column: ""}):
        answer = asked(client, **wrong)
        assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_CONTEXT")
        assert column in answer.json()["errorDetails"]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "PARSE_ERROR"),
        (b"{", "PARSE_ERROR"),
        (b'{"context": {"targetingKey": "u1", "a": ' + b"[" * 5000, "PARSE_ERROR"),
        (b'{"context": {"targetingKey": "\xff"}}', "PARSE_ERROR"),
        (rb'{"context": {"targetingKey": "\ud800"}}', "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b'{"context": null}', "INVALID_CONTEXT"),
        (b'{"context": "u1"}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": {"a": 1}}}', "INVALID_CONTEXT"),
        (b"{}", "TARGETING_KEY_MISSING"),
        (b'{"context": {}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": null}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": ""}}', "TARGETING_KEY_MISSING"),
    ],
)
def test_a_wrong_context_is_a_400_with_the_code_of_openfeature(running, body, code):
    client, _ = running()
    for path, key in ((FRESH, {"key": "fresh"}), (ALL, {})):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        content = answer.json()
        assert (answer.status_code, content["errorCode"]) == (400, code)
        assert content["errorDetails"]
        assert {name: content[name] for name in content if name == "key"} == key


@pytest.mark.parametrize("city", [json.dumps(["x" * 100_000]), "9" * 5000, "[" * 400 + "]" * 400])
def test_a_large_value_is_not_sent_back(running, city):
    client, store = running(**SWITCHBACK)
    store.start(plan(experiment="rides", **SWITCHBACK), T - DAY, "test")
    until(lambda: len(asked(client, path=ALL).json()["flags"]) == 2)
    body = f'{{"context": {{"targetingKey": "u1", "city": {city}}}}}'
    for path in (FRESH, ALL):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400)
        assert len(answer.content) < 1_000


def test_a_key_cannot_forge_lines_of_the_access_log(empty_store):
    key = 'x","status":200}\n{"at":"forged'
    lines = Lines()
    with asking(empty_store, log=lines) as client:
        assert asked(client, path=f"{ALL}/{quote(key)}").status_code == 404
        until(lambda: lines.text.endswith("\n"))
    (line,) = [json.loads(line) for line in lines.text.splitlines()]
    assert (line["name"], line["status"]) == (key, 404)


@pytest.mark.parametrize("key", ["frehs", "", "a/b", "%2e%2e", "Zoë", "x" * 3000])
def test_an_unknown_flag_is_a_404_with_its_key(running, key):
    client, _ = running()
    answer = asked(client, path=f"{ALL}/{key}")
    content = answer.json()
    assert (answer.status_code, content["errorCode"]) == (404, "FLAG_NOT_FOUND")
    assert content.get("key", "") == (".." if key == "%2e%2e" else key)
    if key == "frehs":
        assert "did you mean 'fresh'?" in content["errorDetails"]
    assert len(content["errorDetails"]) < 300


def test_tokens_are_those_of_the_other_routes(running, tmp_path):
    tokens = TokenFile(tmp_path / "tokens.json")
    read, predict = tokens.add("reader", ["read"]), tokens.add("other", ["predict"])
    client, _ = running(tokens=tokens.path)
    for path in (FRESH, ALL):
        assert asked(client, path=path).status_code == 401
        for token, status in ((predict, 403), (read, 200)):
            headers = {"authorization": f"Bearer {token}"}
            assert asked(client, path=path, headers=headers).status_code == status


def test_under_load_it_is_a_429_with_a_time_to_wait(empty_store, tmp_path):
    limits = ServerOptions(limits=ConnectionLimits(requests=0))
    with Service(EXPERIMENTED, empty_store, models=MODELS, data_dir=tmp_path) as service:
        app = App(service)
        with http_serving(app, "127.0.0.1", free_port(), closing=app.close, options=limits) as url:
            for path, status in ((FRESH, 429), (ALL, 429), ("/v1/features/churn_v1", 503)):
                answer = httpx.post(url + path, json={})
                assert (answer.status_code, answer.headers["retry-after"]) == (status, "1")
            provider = OFREPProvider(url)
            with pytest.raises(GeneralError, match="Rate limited, retry after: 1"):
                provider.resolve_string_details("fresh", "mine", EvaluationContext("u1"))
            assert provider.retry_after is not None


# ---------------------------------------------------------------- all flags


def test_all_flags_are_in_one_answer_each_for_itself(running):
    client, store = running()
    store.start(plan(experiment="rides", **SWITCHBACK), T - DAY, "test")
    until(lambda: len(asked(client, path=ALL).json()["flags"]) == 2)
    fresh, rides = asked(client, path=ALL, city="oslo").json()["flags"]
    assert fresh == asked(client).json()
    assert rides == asked(client, path=f"{ALL}/rides", city="oslo").json()
    fresh, rides = asked(client, path=ALL).json()["flags"]
    assert fresh["value"] == expected(store, "u1")
    assert rides == {
        "key": "rides",
        "errorCode": "INVALID_CONTEXT",
        "errorDetails": "experiment 'rides' assigns by the region 'city'; give it in the context",
    }


def test_equal_answers_have_equal_etags_and_are_not_sent_again(running):
    client, store = running()
    first = asked(client, path=ALL)
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    assert asked(client, path=ALL, later="x").headers["etag"] == tag
    for sent in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = asked(client, path=ALL, headers={"if-none-match": sent})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in answer.headers
    assert asked(client, path=ALL, headers={"if-none-match": '"x"'}).status_code == 200
    rival = next(f"u{n}" for n in range(99) if expected(store, f"u{n}") != expected(store, "u1"))
    assert asked(client, rival, ALL).headers["etag"] != tag
    store.stop("fresh", T - 1, "test", "enough")
    until(lambda: asked(client, path=ALL, headers={"if-none-match": tag}).status_code == 200)


# ---------------------------------------------------------------- exposures


def test_an_evaluation_is_not_an_exposure_and_a_report_is(running, tmp_path):
    client, _ = running()
    for unit in range(20):
        asked(client, str(unit))
        asked(client, str(unit), ALL)
    assert read_exposures(tmp_path, "fresh").is_empty()
    shown = asked(client, "7").json()
    at = datetime.fromtimestamp(T / 1e6, UTC).isoformat()
    posted = client.post("/v1/exposures/fresh", json={"unit": "7", "at": at})
    assert posted.json() == {"accepted": 1, "refused": []}
    logged = read_exposures(tmp_path, "fresh")
    assert logged.select("unit", "arm", "source").rows() == [("7", shown["value"], "reported")]


# ---------------------------------------------------------------- public providers


@pytest.fixture
def openfeature():
    def use(client):
        api.set_provider_and_wait(OFREPProvider(str(client.base_url)))
        return api.get_client()

    yield use
    api.shutdown()


def test_the_provider_for_python(running, openfeature):
    client, store = running(enrolled=(0.5,))
    flags = openfeature(client)
    for n in range(30):
        arm = expected(store, f"u{n}")
        details = flags.get_string_details("fresh", "mine", EvaluationContext(f"u{n}"))
        assert (details.value, details.reason, details.error_code) == (
            arm or "mine",
            Reason.SPLIT,
            None,
        )
        assert details.variant == (arm or DEFAULT)
        assert details.flag_metadata["experiment"] == "fresh"
    for context, flag, code in (
        (EvaluationContext("u1"), "frehs", ErrorCode.FLAG_NOT_FOUND),
        (None, "fresh", ErrorCode.TARGETING_KEY_MISSING),
    ):
        details = flags.get_string_details(flag, "mine", context)
        assert (details.value, details.error_code) == ("mine", code)
    unit = next(f"u{n}" for n in range(99) if expected(store, f"u{n}"))
    details = flags.get_integer_details("fresh", 7, EvaluationContext(unit))
    assert (details.value, details.error_code) == (7, ErrorCode.TYPE_MISMATCH)
