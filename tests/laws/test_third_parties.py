"""Features of a third party: what it answers is served, a call that goes wrong costs its features
alone, and training reads history.
"""

import json
import random
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import polars as pl
import pytest

import headwater as hw
from tests.laws.test_roads import free_port

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENTS = pl.DataFrame({"user": ["a"], "at": [NOON]})
REQUEST = {"who": str, "n": int, "share": float, "member": bool, "since": datetime}
RESPONSE = {
    "echo": str,
    "count": int,
    "score": ("risk.scores.1", float),
    "good": bool,
    "when": ("dates.0", datetime),
}
SENT = {"who": str}
TEXTS = ["a", "", "ü b", "a/b?c=d&e#f", "100%", "日本", "{who}", "+", "x" * 500, '"quoted"']


class Party:
    """A server on loopback that answers by `say(fields)`: a status and a body. `calls` counts what
    it was asked for.
    """

    def __init__(self):
        self.say, self.calls, self.kind = None, Counter(), "application/json"
        party = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                url = urlsplit(self.path)
                party.answer(
                    self,
                    dict(parse_qsl(url.query, keep_blank_values=True))
                    | {"place": unquote(url.path.rpartition("/")[2])},
                )

            def do_POST(self):
                party.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler, fields):
        self.calls[json.dumps(fields, sort_keys=True)] += 1
        status, body = self.say(fields)
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", self.kind)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:  # who asked has left
            handler.close_connection = True


@pytest.fixture
def party():
    made = Party()
    yield made
    made.server.shutdown()
    made.server.server_close()


def project_of(features):
    """A project that reads these features of third parties, and a view of a table."""
    labels = hw.Labels(
        "l",
        table=EVENTS.with_columns(y=pl.lit(1.0)),
        timestamp_field="at",
        label="y",
        known_after="1d",
    )
    view = hw.FeatureView(
        "user", source=hw.Source("events", history=EVENTS, timestamp_field="at"), keys=["user"], windows=["1d"], features=[hw.count()],
        freshness=hw.batch("1d"),
    )  # fmt: skip
    service = hw.FeatureService("s", [view, *features])
    return hw.Project("p", [hw.Model("m", features=service, labels=labels, task="binary")])


@contextmanager
def served(folder, features):
    """Asks for features of rows, in process: a list of rows by feature, each a value and its
    status.
    """
    project, store = project_of(features), f"lmdb:{folder}/store?size=64MB"
    hw.materialize(project, store=store, at=NOON + timedelta(days=1))
    with hw.operations.Service(project, store, models={}) as running:

        def ask(*rows):
            return running.features("s", [{"user": "a"} | row for row in rows])

        yield ask


@contextmanager
def asked_over_http(folder, features):
    """A client of a server that reads these features."""
    project, store = project_of(features), f"lmdb:{folder}/store?size=64MB"
    hw.materialize(project, store=store, at=NOON + timedelta(days=1))
    listen = f"127.0.0.1:{free_port()}"
    with (
        hw.operations.serve(project, store, listen=listen, models={}) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        yield client


def given(**more):
    return hw.HttpFeatures(
        "ip",
        **(
            {"url": "https://ip.example/{who}", "request": SENT, "response": {"score": float}}
            | more
        ),
    )


def values(found, name="ip"):
    """By column, the value and the status of the one row that was asked for."""
    (row,) = found.rows
    return {
        column.removeprefix(f"{name}__"): (one.value, one.status)
        for column, one in row.items()
        if column.startswith(f"{name}__")
    }


def echo(fields):
    """What was sent, as an answer; in a url everything is text."""
    share, member = fields["share"], fields["member"]
    answer = {
        "echo": fields.get("place", fields.get("who")),
        "count": int(fields["n"]),
        "risk": {"scores": [None, float(share)]},
        "good": member if isinstance(member, bool) else member == "true",
        "dates": [fields["since"]],
    }
    return 200, json.dumps(answer).encode()


def drawn(seed):
    chance = random.Random(seed)
    return {
        "who": chance.choice(TEXTS),
        "n": chance.choice([0, -1, 2**63 - 1, -(2**63), chance.randint(-99, 99)]),
        "share": chance.choice([0.0, 1e-300, -1.5, 1 / 3, 2.0**60, chance.random()]),
        "member": chance.random() < 0.5,
        "since": NOON + timedelta(microseconds=chance.randint(-(10**15), 10**15)),
    }


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_served_is_what_is_answered_for_the_fields_of_the_request(party, tmp_path, method):
    party.say = echo
    url = party.url + ("/of/{who}" if method == "GET" else "/of")
    with served(
        tmp_path,
        [
            hw.HttpFeatures(
                "ip", url=url, request=REQUEST, response=RESPONSE, method=method, timeout="10s"
            )
        ],
    ) as ask:
        for row in map(drawn, range(40)):
            if method == "GET" and not row["who"]:
                continue  # a path without a last part
            expected = {
                "echo": row["who"],
                "count": row["n"],
                "score": row["share"],
                "good": row["member"],
                "when": row["since"],
            }
            assert values(ask(row)) == {
                name: (value, "present") for name, value in expected.items()
            }, row
    assert len(party.calls) > 30


WRONG = {
    "an error of the server": (500, b"{}"),
    "not allowed": (403, b'{"score": 1.0}'),
    "no JSON": (200, b"score: 1.0"),
    "half of it": (200, b'{"score": 1'),
    "no body": (200, b""),
    "a list": (200, b"[1.0]"),
    "a text for a number": (200, b'{"score": "1.0"}'),
    "no number": (200, b'{"score": NaN}'),
    "more than a number holds": (200, b'{"score": 1e999}'),
    "true for a number": (200, b'{"score": true}'),
    "another place": (200, b'{"score": {"score": 1.0}}'),
    "a redirection": (302, b'{"score": 1.0}'),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_costs_its_features_alone(party, tmp_path, answer):
    party.say = lambda fields: answer
    with_default = hw.HttpFeatures(
        "ip",
        url=party.url,
        request=SENT,
        response={"score": float},
        fallback={"score": 0.25},
        retries=0,
        breaker=None,
    )
    without = hw.HttpFeatures(
        "bare",
        url=f"{party.url}/bare",
        request=SENT,
        response={"score": float},
        retries=0,
        breaker=None,
    )
    with served(tmp_path, [with_default, without]) as ask:
        found = ask({"who": "a"})
        assert values(found) == {"score": (0.25, "fallback")}
        assert values(found, "bare") == {"score": (None, "fallback")}
        assert found.rows[0]["user__count_1d"].value == 1
        party.say = lambda fields: (200, b'{"score": 3, "more": [1]}')
        assert values(ask({"who": "b"})) == {"score": (3.0, "present")}


@pytest.mark.parametrize(
    "answer",
    [(200, b'{"score": null}'), (200, b'{"scores": 1.0}'), (404, b"{}"), (204, b"")],
    ids=["null", "not there", "not found", "no content"],
)
def test_nothing_known_is_an_answer(party, tmp_path, answer):
    """The value is missing, and no fallback stands for it."""
    party.say = lambda fields: answer
    with served(tmp_path, [given(url=party.url, fallback={"score": 0.25})]) as ask:
        assert values(ask({"who": "a"})) == {"score": (None, "missing")}


def test_an_answer_is_kept_for_as_long_as_it_says_and_by_the_fields_that_were_sent(party, tmp_path):
    party.say = lambda fields: (200, json.dumps({"score": len(party.calls)}).encode())
    kept = hw.HttpFeatures(
        "ip", url=f"{party.url}/{{who}}", request=SENT, response={"score": int}, cache="1h"
    )
    with served(tmp_path, [kept]) as ask:
        first = [values(ask({"who": who})) for who in ("a", "b", "a", "b", "c")]
    assert [one["score"][0] for one in first] == [1, 2, 1, 2, 3]
    assert set(party.calls.values()) == {1}


def test_a_call_is_repeated_where_it_may_be(party, tmp_path):
    def twice(fields):
        return (503, b"") if sum(party.calls.values()) % 2 else (200, b'{"score": 1.0}')

    party.say = twice
    answers = {}
    for name, more in {
        "get": {},
        "post": {"method": "POST"},
        "told": {"method": "POST", "idempotent": True},
    }.items():
        party.calls.clear()
        features = hw.HttpFeatures(
            "ip",
            url=party.url,
            request=SENT,
            response={"score": float},
            timeout="10s",
            breaker=None,
            **more,
        )
        (tmp_path / name).mkdir()
        with served(tmp_path / name, [features]) as ask:
            answers[name] = values(ask({"who": "a"}))["score"], sum(party.calls.values())
    assert answers == {
        "get": ((1.0, "present"), 2),
        "post": ((None, "fallback"), 1),
        "told": ((1.0, "present"), 2),
    }


def test_training_reads_the_latest_earlier_answer_to_the_same_fields():
    """Against a loop over the answers."""
    chance = random.Random(5)
    answers = [
        {
            "who": chance.choice("abc"),
            "n": chance.randint(0, 1),
            "fetched_at": NOON + timedelta(seconds=at),
            "score": chance.random(),
        }
        for at in chance.sample(range(1000), 60)
    ]
    history = hw.Source("answers", history=pl.DataFrame(answers), timestamp_field="fetched_at")
    features = hw.HttpFeatures(
        "ip",
        url="https://ip.example",
        request={"who": str, "n": int},
        response={"score": float},
        history=history,
    )
    assert features.trains
    asked = [
        {
            "who": chance.choice("abcd"),
            "n": chance.randint(0, 1),
            "timestamp": NOON + timedelta(seconds=chance.randint(0, 1000)),
        }
        for _ in range(200)
    ]
    asked += [
        {"who": one["who"], "n": one["n"], "timestamp": one["fetched_at"]} for one in answers[:20]
    ]
    expected = []
    for row in asked:
        earlier = [
            one
            for one in answers
            if (one["who"], one["n"]) == (row["who"], row["n"])
            and one["fetched_at"] < row["timestamp"]
        ]
        expected.append(
            max(earlier, key=lambda one: one["fetched_at"])["score"] if earlier else None
        )
    found = hw.get_historical_features(features, pl.DataFrame(asked))
    assert found["ip__score"].to_list() == expected
    assert None in expected


def test_one_row_is_answered_over_http_as_in_process(party, tmp_path):
    """Alone or among others: the third party is asked for each."""
    party.say = lambda fields: (200, json.dumps({"score": len(fields["place"])}).encode())
    features = [
        hw.HttpFeatures(
            "ip",
            url=party.url + "/of/{who}",
            request=SENT,
            response={"score": float},
            timeout="10s",
        )
    ]
    with asked_over_http(tmp_path, features) as client:
        rows = [{"user": "a", "who": who} for who in ("ab", "abc")]

        def asked(**body):
            answer = client.post("/v1/features/s", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def scores(found):
            return [(row["ip__score"]["value"], row["ip__score"]["status"]) for row in found]

        wanted = [(2.0, "present"), (3.0, "present")]
        assert scores([asked(row=row)["features"] for row in rows]) == wanted
        assert scores(asked(rows=rows)["rows"]) == wanted
        assert scores(asked(rows=rows[:1])["rows"]) == wanted[:1]
