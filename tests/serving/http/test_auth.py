"""Who may ask what: every route of the table, the hot ones included, refuses whom it should."""

import os
import pwd
import re
import socket
import stat
import tempfile
from pathlib import Path

import httpx
import pytest

import headwater as hw
from headwater.errors import UsageError
from headwater.serving.http.admin_handlers import PageResponse
from headwater.serving.http.app import App
from headwater.serving.http.auth import SCOPES, Access, Denied, TokenFile, check_bind
from headwater.serving.http.body import BodyTimeouts
from headwater.serving.http.route import Route
from headwater.serving.http.routes import ROUTES
from headwater.serving.process.uvicorn_server import serving
from tests.serving.world import MODELS, PROJECT, asking, free_port
from tests.waiting import until

PUBLIC = {"/healthz", "/readyz", "/docs"}
LARGE = b'{"row": "' + b"x" * 10_000_001 + b'"}'


async def secret(request):
    return PageResponse(b'{"secret": true}')


ADDED = Route("secret", "GET", "/v1/secret", "admin", "A route that was added", page=secret)
TABLE = (*ROUTES, ADDED)


@pytest.fixture(scope="module")
def guarded(store, tmp_path_factory):
    """The shop with tokens, one for each scope, and a route more."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.json"
    tokens = {scope: TokenFile(file).add(scope, [scope]) for scope in SCOPES}
    with hw.operations.Service(PROJECT, store, models=MODELS) as service:
        app = App(service, tokens=file, routes=TABLE)
        with (
            serving(app, "127.0.0.1", free_port(), closing=app.close) as url,
            httpx.Client(base_url=url, timeout=30, trust_env=False) as client,
        ):
            client.tokens, client.service, client.file = tokens, service, file
            yield client


def paths(service, route):
    return (
        [route.begin + name for name in route.names(service.project)]
        if route.names is not None
        else [route.path]
    )


def ask(client, route, path, token=None, body=b"{}"):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return client.request(
        route.method, path, headers=headers, content=body if route.method == "POST" else None
    )


def refusals(client, routes):
    """What of the table admits a user that it should not: nothing, one hopes."""
    found = []
    good = client.tokens["read"]
    wrong = [
        None,
        "hw_",
        good[:-1],
        good + "x",
        good[:-1] + ("a" if good[-1] != "a" else "b"),
        "hw_" + "0" * 12 + good[15:],
        "x" * 5000,
    ]
    for route in routes:
        for path in paths(client.service, route):
            if route.scope is None:
                continue
            for token in wrong:
                status = ask(client, route, path, token).status_code
                found += [] if status == 401 else [(path, token, status)]
            for scope in SCOPES:
                status = ask(client, route, path, client.tokens[scope]).status_code
                may = scope in (route.scope, "admin")
                found += [(path, scope, status)] if (status in (401, 403)) == may else []
    return found


def test_every_route_refuses_a_missing_a_wrong_and_an_insufficient_token(guarded):
    assert refusals(guarded, TABLE) == []
    assert ADDED in TABLE
    assert ask(guarded, ADDED, ADDED.path, guarded.tokens["admin"]).json() == {"secret": True}


def test_only_health_readiness_and_the_page_are_for_everybody(guarded):
    assert {route.path for route in ROUTES if route.scope is None} == PUBLIC
    assert guarded.get("/metrics", headers={"Authorization": "Basic aHc6aHc="}).status_code == 401
    for path in PUBLIC:
        assert guarded.get(path).status_code == 200


def test_every_route_that_takes_a_body_refuses_a_large_one(guarded):
    for route in TABLE:
        for path in paths(guarded.service, route) if route.method == "POST" else []:
            answer = ask(guarded, route, path, guarded.tokens["admin"], LARGE)
            assert (path, answer.status_code) == (path, 413)
            assert "10 MB" in answer.json()["error"]


def test_unknown_paths_are_not_told_apart_without_a_token(guarded):
    for path in ("/nowhere", "/v1/features/none", "/v1/predict/churn"):
        assert guarded.get(path).status_code == 401
    assert (
        guarded.get(
            "/nowhere", headers={"Authorization": f"Bearer {guarded.tokens['read']}"}
        ).status_code
        == 404
    )
    answer = guarded.get(
        "/v1/predict/churn", headers={"Authorization": f"bearer  {guarded.tokens['read']}"}
    )
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_tokens_are_taken_up_and_revoked_without_a_restart(guarded):
    file = TokenFile(guarded.file)
    new = file.add("new", ["read"])

    def status():
        return guarded.get("/metrics", headers={"Authorization": f"Bearer {new}"}).status_code

    until(lambda: status() == 200, "the new token")
    file.revoke("new")
    until(lambda: status() == 401, "its end")
    text = guarded.file.read_text()
    guarded.file.write_text("{")  # as someone may break it by hand: who was known stays known
    assert (
        guarded.get(
            "/metrics", headers={"Authorization": f"Bearer {guarded.tokens['read']}"}
        ).status_code
        == 200
    )
    guarded.file.write_text(text)


def test_a_file_that_is_gone_lets_nobody_in(store, tmp_path):
    file = tmp_path / "tokens.json"
    token = TokenFile(file).add("", ["read"])
    with asking(store, tokens=file) as client:
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/metrics", headers=headers).status_code == 200
        file.unlink()
        until(lambda: client.get("/metrics", headers=headers).status_code == 401, "its end")


def test_what_is_kept_is_no_token(tmp_path):
    file = TokenFile(tmp_path / "deep" / "tokens.json")
    token = file.add("app", ["predict", "read"])
    assert re.fullmatch(r"hw_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", token)
    text = file.path.read_text()
    assert token.split("_", 2)[2] not in text
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    (kept,) = file.read()
    assert (kept.name, kept.scopes, kept.id) == ("app", ("read", "predict"), token[3:15])
    with pytest.raises(UsageError, match="did you mean 'predict'"):
        file.add("", ["predct"])
    with pytest.raises(UsageError, match="at least one scope"):
        file.add("", [])
    with pytest.raises(UsageError, match="did you mean 'app'"):
        file.revoke("ap")


def bearer(token):
    return f"Bearer {token}".encode()


@pytest.mark.parametrize(
    "spoil",
    [lambda file: file.write_text("{"), lambda file: (file.unlink(), file.mkdir())],
    ids=["no JSON", "a folder"],
)
def test_a_file_that_cannot_be_read_is_logged_and_soon_lets_nobody_in(spoil, tmp_path, caplog):
    file, now = tmp_path / "tokens.json", [0.0]
    token = TokenFile(file).add("", ["read"])
    access, good = Access(file, now=lambda: now[0]), file.read_text()
    spoil(file)
    for now[0] in (1.0, 2.0, 30.9):
        assert access.scopes(bearer(token)) == {"read"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(file) in caplog.text
    now[0] = 31.5
    with pytest.raises(Denied, match="unknown or was revoked"):
        access.scopes(bearer(token))
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    if file.is_dir():
        file.rmdir()
    file.write_text(good)
    now[0] = 32.5
    assert access.scopes(bearer(token)) == {"read"}


@pytest.fixture
def shared_folder():
    """A folder that other users may enter."""
    with tempfile.TemporaryDirectory(prefix="headwater-tokens-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes a file that is another user's")
def test_a_token_that_root_revokes_is_refused_by_a_service_of_another_user(shared_folder):
    nobody = pwd.getpwnam("nobody")
    file = shared_folder / "tokens.json"
    tokens = {name: TokenFile(file).add(name, ["read"]) for name in ("kept", "revoked")}
    os.chown(file, nobody.pw_uid, nobody.pw_gid)
    file.chmod(0o640)
    begun, seen = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(watch_as(nobody, file, tokens, seen))
    assert os.read(begun, 1) == b"1"
    TokenFile(file).revoke("revoked")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (
        nobody.pw_uid,
        nobody.pw_gid,
        0o640,
    )
    assert [path.name for path in shared_folder.iterdir()] == ["tokens.json"]


def watch_as(user, file, tokens, seen):
    """As another user: 0 once the one token is refused and the other is not."""
    try:
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        access = Access(file)
        assert access.scopes(bearer(tokens["revoked"])) == {"read"}
        os.write(seen, b"1")

        def denied():
            assert access.scopes(bearer(tokens["kept"])) == {"read"}
            try:
                access.scopes(bearer(tokens["revoked"]))
            except Denied:
                return True

        until(denied)
    except BaseException:  # noqa: BLE001 (said by the exit code)
        os.write(seen, b"1")
        return 2
    return 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_others_are_served_with_tokens_alone(host, store, tmp_path):
    with pytest.raises(UsageError, match="without tokens only loopback addresses are allowed"):
        check_bind(host, None)
    check_bind(host, tmp_path)
    with pytest.raises(UsageError, match="has no token"):
        Access(tmp_path / "none.json")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_this_machine_is_served_without(host):
    check_bind(host, None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:80"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        # a link on another page
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Content-Type": "text/plain"}, 200),
    ],
)
def test_without_tokens_pages_of_other_sites_get_nothing(client, headers, status):
    assert client.get("/healthz", headers=headers).status_code == status
    assert client.get("/v1/features/churn_v1", headers=headers).status_code == (
        405 if status == 200 else 403
    )


def test_a_slow_body_is_ended(store):
    with hw.operations.Service(PROJECT, store, models=MODELS) as service:
        app = App(service)
        app._reading = BodyTimeouts(0.3)
        with (
            serving(app, "127.0.0.1", port := free_port(), closing=app.close),
            socket.create_connection(("127.0.0.1", port)) as slow,
        ):
            slow.settimeout(10)
            slow.sendall(
                b'POST /v1/features/churn_v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"row"'
            )
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
            quick = httpx.post(
                f"http://127.0.0.1:{port}/v1/features/feed_v1",
                json={"row": {"user": 1, "item": "i0"}},
                trust_env=False,
            )
            assert quick.status_code == 200
