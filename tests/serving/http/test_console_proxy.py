"""The console under /console of a service: its own access, each visitor's own cookie, live updates
that end with the client.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

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


def test_files_and_redirects_pass_as_they_are(service):
    url, _ = service
    response = httpx.get(f"{url}/console/static/console.css")
    assert (response.headers["content-encoding"], "--accent" in response.text) == ("gzip", True)
    assert "immutable" in response.headers["cache-control"]
    assert len(response.headers.get_list("date")) == 1


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


@pytest.mark.slow
def test_live_updates_stream_through_and_end_with_the_client(service):
    url, known = service
    headers = {"authorization": f"Bearer {known['read']}"}
    for _ in range(70):  # more than may be open together
        with httpx.stream("GET", f"{url}/console/events", headers=headers, timeout=5) as response:
            assert response.status_code == 200
            assert response.headers["x-accel-buffering"] == "no"  # nginx passes them on immediately
            assert next(response.iter_raw()) == b"retry: 5000\n\n"
    time.sleep(0.2)
    assert httpx.get(f"{url}/healthz").status_code == 200


@contextlib.contextmanager
def behind_nginx(folder, url):
    """deploy/nginx.conf before a service, with a certificate and ports of this test; the base
    URL.
    """
    if (
        binary := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    ) is None or shutil.which("openssl") is None:
        pytest.skip("needs nginx and openssl")
    port, plain = _free_port(), _free_port()
    subprocess.run(
        [*("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=features.example.org", "-days", "2"),
         *("-keyout", folder / "key.pem", "-out", folder / "cert.pem")], check=True, capture_output=True,
    )  # fmt: skip
    text = (Path(__file__).resolve().parents[3] / "deploy" / "nginx.conf").read_text(
        encoding="utf-8"
    )
    for before, after in (
        ("server 127.0.0.1:8320", f"server {url.removeprefix('http://')}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("listen [::]:443 ssl;", ""),
        ("listen 80", f"listen 127.0.0.1:{plain}"),
        ("/etc/letsencrypt/live/features.example.org/fullchain.pem", str(folder / "cert.pem")),
        ("/etc/letsencrypt/live/features.example.org/privkey.pem", str(folder / "key.pem")),
    ):
        assert before in text
        text = text.replace(before, after)
    paths = "".join(
        f"{name}_temp_path {folder}/{name}; "
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    head = (
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{ "
        "worker_connections 256; }"
    )
    (folder / "nginx.conf").write_text(
        f"{head} http {{ access_log off; {paths} {text} }}", encoding="utf-8"
    )
    process = subprocess.Popen(
        [binary, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")],
        stdin=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 30
        while not (folder / "nginx.pid").exists():
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def test_behind_nginx_the_cookie_is_secure_and_live_updates_arrive(service, tmp_path):
    url, known = service
    with (
        behind_nginx(tmp_path, url) as outside,
        httpx.Client(base_url=outside, verify=False, timeout=30) as ann,
    ):
        response = ann.post(
            "/console/login",
            data={"token": known["read"]},
            headers={"origin": outside.rpartition(":")[0]},
        )
        assert response.status_code == 303, response.text
        assert "Secure" in response.headers["set-cookie"]
        assert ann.get("/console").status_code == 200
        with ann.stream("GET", "/console/events") as live:
            # buffered, it would come with the next 4 KB
            assert next(live.iter_raw()) == b"retry: 5000\n\n"


def test_a_console_that_does_not_respond_is_said(tmp_path):
    with temporary_store() as store:
        options = ServeOptions(console=f"127.0.0.1:{_free_port()}")
        with hw.operations.serve(
            visiting(hw.batch("1h")),
            store,
            listen=f"127.0.0.1:{_free_port()}",
            models={},
            data_dir=tmp_path,
            options=options,
        ) as url:
            response = httpx.get(f"{url}/console")
            assert (response.status_code, response.json()["error"].partition(";")[0]) == (
                503,
                "the console does not respond",
            )
            page = httpx.get(f"{url}/console", headers={"accept": "text/html,*/*"})
            assert (
                page.status_code,
                page.headers["content-type"],
                page.headers["retry-after"],
            ) == (503, "text/html; charset=utf-8", "2")
            assert "<p>the console does not respond" in page.text
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert httpx.post(f"{url}/console/login", content=b"x" * 70_000).status_code == 413
