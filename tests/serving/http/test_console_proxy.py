"""The console under /console of a service: its own access, each visitor's own cookie, live updates that end with the client."""

import contextlib
import socket
import time

import httpx
import pytest

import headwater as hw
from headwater.console.console_app import console_app
from headwater.console.console_context import ConsoleContext
from headwater.serving.http.auth import TokenFile
from headwater.serving.process.uvicorn_server import serving
from headwater.serving.serve import ServeOptions
from headwater.testing.examples import temporary_store, visiting


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service with tokens and its console; the tokens by scope, and the app of the console."""
    folder = tmp_path_factory.mktemp("service")
    tokens, project = TokenFile(folder / "tokens.json"), visiting(hw.batch("1h"))
    known = {scope: tokens.add(scope, [scope]) for scope in ("read", "admin", "predict")}
    context = ConsoleContext(project, folder / "data", store=f"lmdb:{folder}/none", models=folder / "models")
    app, port = console_app(context, tokens.path, proxied=True), _free_port()
    with contextlib.closing(context), serving(app, "127.0.0.1", port), temporary_store() as store:
        options = ServeOptions(console=f"127.0.0.1:{port}")
        with hw.serve(
            project, store, listen=f"127.0.0.1:{_free_port()}", models={}, tokens=tokens.path, data_dir=folder, options=options
        ) as url:
            yield url, known


def test_the_console_checks_access_by_itself(service):
    url, known = service
    assert httpx.get(f"{url}/console").headers["location"] == "/console/login?next=%2Fconsole"
    assert httpx.get(f"{url}/console", headers={"authorization": f"Bearer {known['predict']}"}).status_code == 403
    assert "Overview" in httpx.get(f"{url}/console", headers={"authorization": f"Bearer {known['read']}"}).text
    assert httpx.get(f"{url}/consoles").status_code == 401


def test_no_visitor_gets_the_session_of_another(service):
    url, known = service
    with httpx.Client(base_url=url) as ann:
        response = ann.post("/console/login", data={"token": known["admin"]})
        assert (response.status_code, "headwater_console" in response.cookies) == (303, True)
        assert ann.get("/console").status_code == 200
        for _ in range(3):
            assert httpx.get(f"{url}/console").status_code == 303
        with httpx.Client(base_url=url) as bob:
            bob.post("/console/login", data={"token": known["read"]})
            assert bob.cookies["headwater_console"] != ann.cookies["headwater_console"]


def test_files_and_redirects_pass_as_they_are(service):
    url, _ = service
    response = httpx.get(f"{url}/console/static/console.css")
    assert (response.headers["content-encoding"], "--accent" in response.text) == ("gzip", True)
    assert "immutable" in response.headers["cache-control"]
    assert len(response.headers.get_list("date")) == 1


def test_failed_logins_count_by_the_address_of_the_client(service):
    url, _ = service
    spoofed = [
        httpx.post(f"{url}/console/login", data={"token": "hw_1_1"}, headers={"x-headwater-client": f"10.0.0.{n}"}) for n in range(11)
    ]
    assert [response.status_code for response in spoofed] == [401] * 10 + [429]


def test_live_updates_stream_through_and_end_with_the_client(service):
    url, known = service
    headers = {"authorization": f"Bearer {known['read']}"}
    for _ in range(70):  # more than may be open at once
        with httpx.stream("GET", f"{url}/console/events", headers=headers, timeout=5) as response:
            assert response.status_code == 200
            assert next(response.iter_raw()) == b"retry: 5000\n\n"
    time.sleep(0.2)
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_console_that_does_not_respond_is_said(tmp_path):
    with temporary_store() as store:
        options = ServeOptions(console=f"127.0.0.1:{_free_port()}")
        with hw.serve(
            visiting(hw.batch("1h")), store, listen=f"127.0.0.1:{_free_port()}", models={}, data_dir=tmp_path, options=options
        ) as url:
            response = httpx.get(f"{url}/console")
            assert (response.status_code, response.json()["error"]) == (503, "the console does not respond; it may have just been started")
            assert httpx.post(f"{url}/console/login", content=b"x" * 70_000).status_code == 413
