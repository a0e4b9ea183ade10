"""Redis with TLS, a password, and certificates of clients: one server, a cluster, and behind
Sentinel, which has a password of its own.
"""

import contextlib
import shutil
import subprocess

import pytest

import headwater as hw
from headwater.errors import StoreError, UsageError
from headwater.testing.stores import OFFSET, RECORD, number, record
from tests.stores.servers import BINARIES, SentinelServer, TlsServer, free_port

KEY = OFFSET + b"p"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with an authority, and keys and certificates of a server and of a client."""
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def run(*arguments):
        subprocess.run([openssl, *arguments], check=True, capture_output=True, cwd=folder)

    new = ["-newkey", "rsa:2048", "-nodes"]
    run(
        "req",
        "-x509",
        *new,
        "-days",
        "2",
        "-subj",
        "/CN=authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        run("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = [
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
        ]
        run("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def secure(certificates):
    """A kind of server with these certificates."""
    if "redis-server" not in BINARIES:
        pytest.skip("needs redis-server")
    asked = subprocess.run(
        [BINARIES["redis-server"], "--tls-port", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Bad directive" in asked.stdout + asked.stderr:
        pytest.skip("needs a redis-server that was built with TLS")
    names = {"cert-file": "server.pem", "key-file": "server.key", "ca-cert-file": "ca.pem"}
    options = [
        part for name, file in names.items() for part in (f"--tls-{name}", str(certificates / file))
    ]
    return type("SecureServer", (TlsServer,), {"files": tuple(options)})


@pytest.fixture(scope="module")
def shop(secure, tmp_path_factory):
    """The ports of a primary with a password, and of a Sentinel with another one, that knows it as
    `shop`.
    """
    folder, port = tmp_path_factory.mktemp("shop"), free_port()
    files = [
        f"{name.removeprefix('--')} {value}"
        for name, value in zip(secure.files[::2], secure.files[1::2], strict=True)
    ]
    lines = [
        f"tls-port {port}",
        *files,
        "tls-replication yes",
        "sentinel auth-pass shop open",
        "requirepass watch",
    ]
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(
            contextlib.closing(
                secure(folder / "primary", "--requirepass", "open", "--masterauth", "open")
            )
        )
        stack.enter_context(
            contextlib.closing(SentinelServer(folder / "sentinel", "shop", primary, *lines))
        )
        yield primary, port


def url_of(
    kind,
    shop,
    certificates,
    *,
    password="open",
    sentinel="watch",
    name="shop",
    files=("ca", "cert", "key"),
    scheme="rediss",
):
    primary, port = shop
    all_files = {
        "ca": "ssl_ca_certs={}/ca.pem",
        "cert": "ssl_certfile={}/client.pem",
        "key": "ssl_keyfile={}/client.key",
    }
    options = [all_files[each].format(certificates) for each in files] + ["timeout=1s"]
    if kind == "sentinel":
        options += [f"sentinel_password={sentinel}"] if sentinel else []
        return f"{scheme}+sentinel://:{password}@127.0.0.1:{port}/{name}/0?{'&'.join(options)}"
    return f"{scheme}://:{password}@127.0.0.1:{primary.tls_port}/0?{'&'.join(options)}"


@pytest.mark.services
@pytest.mark.parametrize("kind", ["server", "sentinel"])
@pytest.mark.parametrize("for_requests", [False, True])
def test_passwords_and_certificates_of_clients(kind, for_requests, shop, certificates):
    url = f"{url_of(kind, shop, certificates)}&prefix={kind}{for_requests}".replace(
        "timeout=1s", "timeout=20s&read_timeout=20s"
    )
    with contextlib.closing(hw.operations.open_store(url, for_requests=for_requests)) as store:
        store.commit({KEY: number(1), RECORD + b"k\0p": record(1)}, {KEY: None})
        shop[0].kill()
        shop[0].start("--appendonly", "no")
        # a new connection asks Sentinel again, and is secure again
        assert store.get([KEY]) == [None]


@pytest.mark.services
@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        ("server", {"files": ()}, "certificate verify failed.*give.*ssl_ca_certs="),
        (
            "server",
            {"files": ("ca",)},
            "It may want a certificate of its clients: give ssl_certfile= and ssl_keyfile=",
        ),
        (
            "server",
            {"password": "wrong"},
            "refuses the user or the password: invalid username-password pair",
        ),
        (
            "sentinel",
            {"sentinel": "wrong"},
            (
                "none of these Sentinels .*invalid username-password pair.*password of its own: "
                "give sentinel_password="
            ),
        ),
    ],
)
def test_what_is_missing_is_named(kind, wrong, told, shop, certificates):
    with pytest.raises(StoreError, match=f"(?i){told}") as error:
        hw.operations.open_store(url_of(kind, shop, certificates, **wrong))
    for secret in (":open@", "watch", ":wrong@"):
        assert secret not in str(error.value)


def test_options_of_tls_without_tls_and_files_that_are_not_there_are_refused_at_once(tmp_path):
    with pytest.raises(
        UsageError,
        match=r"ssl_ca_certs= of redis\+cluster://h needs TLS, .* give rediss\+cluster://",
    ):
        hw.operations.open_store(f"redis+cluster://h?ssl_ca_certs={tmp_path}")
    with pytest.raises(
        UsageError, match=r"ssl_keyfile=no.key of rediss://h/0: there is no such file"
    ):
        hw.operations.open_store("rediss://h/0?ssl_keyfile=no.key")
