"""The console over HTTP: sessions, rights, errors. The pages in a browser are in
test_browser.py.
"""

import itertools
import re
from urllib.parse import parse_qs

import pytest
from starlette.testclient import TestClient

from headwater.console.console_app import LARGEST_FORM, POLICY, console_app
from headwater.console.console_context import ConsoleContext
from headwater.console.page_table import ACTIONS, DATA_ROUTES, PAGES
from headwater.console.page_types import ConsoleAction, ConsolePage, DataRoute, Done, NotShown
from headwater.definitions.freshness import batch
from headwater.errors import DataError, StoreError
from headwater.serving.http.auth import TokenFile
from headwater.testing.examples import visiting

HOST = "http://127.0.0.1:8330"


def _shows(_context, request):
    return {"problem": f"<b>{request.one('text')}</b>"}


def _fails(error):
    def view(_context, _request):
        raise error

    return view


DONE = []


def _breaks(_context, _request):
    raise ZeroDivisionError


def _act(_context, request):
    DONE.append(request.one("what"))
    return Done("promoted <b>2</b>", "/text?text=done")


PAGES_HERE = (
    *PAGES,
    ConsolePage("/text", "Text", "error.html.j2", _shows),
    ConsolePage("/lost", "Lost", "error.html.j2", _fails(NotShown("no model 'x'"))),
    ConsolePage("/down", "Down", "error.html.j2", _fails(StoreError("the store is down"))),
    ConsolePage("/wrong", "Wrong", "error.html.j2", _fails(DataError("wrong data"))),
    ConsolePage("/broken", "Broken", "error.html.j2", _fails(ZeroDivisionError())),
)
ACTIONS_HERE = (*ACTIONS, ConsoleAction("/act", _act), ConsoleAction("/breaks", _breaks))
DATA_HERE = (
    *DATA_ROUTES,
    DataRoute("/api/test", "A test", lambda _context, _request: {"models": ["a"]}),
)


@pytest.fixture
def context(tmp_path):
    context = ConsoleContext(
        visiting(batch("1h")),
        tmp_path / "data",
        store=f"lmdb:{tmp_path}/online",
        models=tmp_path / "models",
    )
    yield context
    context.close()


@pytest.fixture
def tokens(tmp_path):
    file = TokenFile(tmp_path / "tokens.json")
    return file.path, {scope: file.add(scope, [scope]) for scope in ("read", "predict", "admin")}


def _client(context, tokens=None):
    app = console_app(
        context, tokens, pages=PAGES_HERE, actions=ACTIONS_HERE, data_routes=DATA_HERE
    )
    return TestClient(app, base_url=HOST, follow_redirects=False, raise_server_exceptions=False)


def _logged_in(context, tokens, scope):
    path, known = tokens
    client = _client(context, path)
    response = client.post(
        "/console/login",
        data={"token": known[scope], "next": "/console/text?text=x"},
        headers={"origin": HOST},
    )
    assert (response.status_code, response.headers["location"]) == (303, "/console/text?text=x")
    return client


def _csrf(client):
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/console").text)
    return found[1]


EVERY_PATH = (
    [page.path for page in PAGES_HERE] + [row.path for row in DATA_HERE] + ["/events", "/nothing"]
)


@pytest.mark.parametrize("path", EVERY_PATH)
def test_no_page_without_a_token(context, tokens, path):
    response = _client(context, tokens[0]).get(f"/console{path}".replace("{", "").replace("}", ""))
    assert response.status_code in (303, 401)
    assert "churn" not in response.text
    if response.status_code == 303:
        assert response.headers["location"].startswith("/console/login?next=%2Fconsole")


@pytest.mark.parametrize("row", ACTIONS_HERE, ids=lambda row: row.path)
def test_no_action_without_a_session_its_csrf_token_and_admin(context, tokens, row):
    DONE.clear()
    path = f"/console{row.path}".replace("{", "").replace("}", "")
    assert _client(context, tokens[0]).post(path, data={"csrf": "x"}).status_code == 303
    bearer = {"authorization": f"Bearer {tokens[1]['admin']}"}
    assert (
        _client(context, tokens[0]).post(path, data={"csrf": "x"}, headers=bearer).status_code
        == 403
    )
    admin = _logged_in(context, tokens, "admin")
    assert admin.post(path, data={"csrf": "x"}).status_code == 403
    assert (
        admin.post(
            path, data={"csrf": _csrf(admin)}, headers={"origin": "http://evil.example"}
        ).status_code
        == 403
    )
    reader = _logged_in(context, tokens, "read")
    assert reader.post(path, data={"csrf": _csrf(reader)}).status_code == 403
    assert DONE == []


def test_an_action_is_done_and_said_once(context, tokens):
    DONE.clear()
    admin = _logged_in(context, tokens, "admin")
    response = admin.post(
        "/console/act", data={"csrf": _csrf(admin), "what": "2"}, headers={"origin": HOST}
    )
    assert (response.status_code, response.headers["location"], DONE) == (
        303,
        "/console/text?text=done",
        ["2"],
    )
    assert "promoted &lt;b&gt;2&lt;/b&gt;" in admin.get("/console/text").text
    assert "promoted" not in admin.get("/console/text").text


def test_the_cookie_is_kept_from_scripts_and_other_sites(context, tokens):
    client = _client(context, tokens[0])
    response = client.post("/console/login", data={"token": tokens[1]["read"]})
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/console" in cookie
    assert tokens[1]["read"] not in cookie
    secure = client.post(
        "/console/login", data={"token": tokens[1]["read"]}, headers={"x-forwarded-proto": "https"}
    )
    assert "Secure" in secure.headers["set-cookie"]


@pytest.mark.parametrize("scope", ["predict", None])
def test_a_login_needs_a_known_token_that_may_read(context, tokens, scope):
    response = _client(context, tokens[0]).post(
        "/console/login", data={"token": tokens[1].get(scope, "hw_0_0<script>")}
    )
    assert response.status_code == (403 if scope else 401)
    assert 'role="alert"' in response.text
    assert "<script>" not in response.text


def test_failed_logins_are_limited(context, tokens):
    client = _client(context, tokens[0])
    statuses = [
        client.post("/console/login", data={"token": "hw_1_1"}).status_code for _ in range(11)
    ]
    assert statuses == [401] * 10 + [429]
    assert client.post("/console/login", data={"token": tokens[1]["predict"]}).status_code == 429
    # a token that may read is enough
    assert client.post("/console/login", data={"token": tokens[1]["read"]}).status_code == 303


ODD_PATHS = (
    *(
        "/",
        "/nothing",
        "/console",
        "/console/nothing",
        "/console/a%0d%0ab",
        "/console/%00",
        "/console/%E2%82%AC",
        "/console/%25?a=%0d",
    ),
    *(
        "/console/static/nothing",
        "/console/static/console.css",
        "/console/login",
        "/console/logout",
        "/console/act",
        "/console/broken",
    ),
)


@pytest.mark.parametrize("logged_in", [True, False])
def test_every_response_has_the_security_headers_and_none_fails(context, tokens, logged_in):
    for path, method in itertools.product(ODD_PATHS, ("GET", "POST", "DELETE", "OPTIONS")):
        client = _logged_in(context, tokens, "read") if logged_in else _client(context, tokens[0])
        for headers in ({}, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}):
            response = client.request(method, path, headers=headers)
            assert response.status_code != 500 or path == "/console/broken", (method, path)
            assert response.headers.get_list("content-security-policy") == [POLICY], (method, path)
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "\n" not in response.headers.get("location", "") + response.headers.get(
                "refresh", ""
            )


@pytest.mark.parametrize(
    ("path", "status", "shown"),
    [
        ("/console/text?text=%3Cscript%3E", 200, "&lt;b&gt;&lt;script&gt;&lt;/b&gt;"),
        ("/console/lost", 404, "no model &#39;x&#39;"),
        ("/console/nothing", 404, "no such page"),
        ("/console/down", 503, "the store is down"),
        ("/console/wrong", 400, "wrong data"),
        ("/console/broken", 500, "the log of the console has the reason"),
    ],
)
def test_errors_are_pages(context, path, status, shown):
    response = _client(context).get(path)
    assert (response.status_code, shown in response.text) == (status, True)
    assert response.headers["content-security-policy"] == POLICY
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example", "sec-fetch-site": "same-origin"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"origin": "http://evil.example"}, 403),
    ],
)
def test_without_tokens_only_this_machine_reads(context, headers, status):
    client = _client(context)
    assert client.get("/console", headers=headers).status_code == status
    assert client.get("/console/api/test", headers=headers).status_code == status


def test_without_tokens_a_form_needs_the_csrf_token_of_its_session(context):
    DONE.clear()
    client = _client(context)
    assert client.post("/console/act", data={"what": "1"}).status_code == 403
    client.get("/console")
    assert client.post("/console/act", data={"what": "1", "csrf": "x"}).status_code == 403
    assert DONE == []


def test_forms_are_bounded(context, tokens):
    response = _client(context, tokens[0]).post(
        "/console/login", data={"token": "x" * LARGEST_FORM}
    )
    assert response.status_code == 413
    assert (
        _client(context, tokens[0]).post("/console/login", json={"token": "x"}).status_code == 415
    )


def test_data_routes_take_a_bearer_token_and_answer_in_json(context, tokens):
    client = _client(context, tokens[0])
    assert client.get("/console/api/test").json() == {"error": "log in with a token"}
    response = client.get(
        "/console/api/test", headers={"authorization": f"Bearer {tokens[1]['read']}"}
    )
    assert (response.status_code, response.json()) == (200, {"models": ["a"]})
    assert "set-cookie" not in response.headers
    assert (
        client.get(
            "/console/api/test", headers={"authorization": f"Bearer {tokens[1]['predict']}"}
        ).status_code
        == 403
    )


@pytest.mark.parametrize(
    "path",
    ["/console/text?text=a", "/console/%E2%82%AC", "/console/a%3Fb?c=%0A", "/console/a%0D%0Ab"],
)
def test_a_link_on_another_site_is_loaded_again_with_the_cookie(context, tokens, path):
    client = _client(context, tokens[0])
    response = client.get(
        path, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    )
    assert (response.status_code, response.headers["refresh"]) == (200, f"0; url={path}")
    after = client.get(path)
    assert (after.status_code, parse_qs(after.headers["location"].partition("?")[2])["next"]) == (
        303,
        [path],
    )


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/console\\@evil.example",
        "/consolexyz",
        "/console/\r\nx: y",
    ],
)
def test_a_login_returns_to_the_console_only(context, tokens, target):
    response = _client(context, tokens[0]).post(
        "/console/login", data={"token": tokens[1]["read"], "next": target}
    )
    assert response.headers["location"] == "/console"
