"""The console under /console of a service: its own access, each visitor's own cookie, live updates
that end with the client.
"""

import contextlib
import socket

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
    context = ConsoleContext(
        project, folder / "data", store=f"lmdb:{folder}/none", models=folder / "models"
    )
    app, port = console_app(context, tokens.path, proxied=True), _free_port()
    with contextlib.closing(context), serving(app, "127.0.0.1", port), temporary_store() as store:
        options = ServeOptions(console=f"127.0.0.1:{port}")
        with hw.operations.serve(
            project,
            store,
            listen=f"127.0.0.1:{_free_port()}",
            models={},
            tokens=tokens.path,
            data_dir=folder,
            options=options,
        ) as url:
            yield url, known


def test_the_console_checks_access_by_itself(service):
    url, known = service
    assert httpx.get(f"{url}/console").headers["location"] == "/console/login?next=%2Fconsole"
    assert (
        httpx.get(
            f"{url}/console", headers={"authorization": f"Bearer {known['predict']}"}
        ).status_code
        == 403
    )
    assert (
        "Overview"
        in httpx.get(f"{url}/console", headers={"authorization": f"Bearer {known['read']}"}).text
    )
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


def test_failed_logins_count_by_the_address_of_the_client(service):
    url, _ = service
    spoofed = [
        httpx.post(
            f"{url}/console/login",
            data={"token": "hw_1_1"},
            headers={"x-headwater-client": f"10.0.0.{n}"},
        )
        for n in range(11)
    ]
    assert [response.status_code for response in spoofed] == [401] * 10 + [429]
