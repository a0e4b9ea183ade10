"""A schema registry over TLS that wants a client certificate and a bearer token, and the OAuth
endpoint that issues such tokens.

Called with a folder and a schema, it prints its addresses as JSON, and writes into the folder:
ca.pem; client.pem and client.key, encrypted with "hunter2"; stranger.pem, of another authority,
with its key. A token lives for four seconds. The schema has the id 1.
"""

import datetime as dt
import ipaddress
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECONDS = 4
tokens = {}  # token -> when it expires


def certificate(name, issuer=None, authority=False):
    """A certificate and its key, signed by `issuer` (certificate and key), else by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def pem(made, password=None, *, both=False):
    """The certificate and the key as PEM; `both` in one."""
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    cert = made[0].public_bytes(serialization.Encoding.PEM)
    key = made[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return (cert + key,) if both else (cert, key)


class Quiet(BaseHTTPRequestHandler):
    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Tokens(Quiet):
    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        basic = self.headers.get("Authorization", "")
        if (
            form.get("grant_type") != ["client_credentials"]
            or form.get("scope") != ["registry"]
            or basic != "Basic YXBwOmh1bnRlcjI="
        ):
            return self.answer(401, {"error": "invalid_client"})
        token = f"token-{len(tokens)}"
        tokens[token] = time.monotonic() + SECONDS
        return self.answer(
            200, {"access_token": token, "token_type": "Bearer", "expires_in": SECONDS}
        )


class Registry(Quiet):
    def do_GET(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if tokens.get(token, 0) < time.monotonic():
            return self.answer(401, {"error_code": 401, "message": "no valid token"})
        if self.path.partition("?")[0] != "/schemas/ids/1":
            return self.answer(404, {"error_code": 40403, "message": "no such schema"})
        return self.answer(200, {"schema": sys.argv[2]})


def serve(handler, context=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server.server_port


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    authority = certificate("authority", authority=True)
    for name, files in {
        ("ca.pem",): pem(authority)[:1],
        ("client.pem", "client.key"): pem(certificate("client", authority), b"hunter2"),
        ("server.pem",): pem(certificate("server", authority), both=True),
        ("stranger.pem",): pem(certificate("stranger"), both=True),
    }.items():
        for path, content in zip(name, files, strict=True):
            (folder / path).write_bytes(content)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    tls.load_verify_locations(folder / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    sys.stdout.write(
        json.dumps(
            {
                "url": f"https://127.0.0.1:{serve(Registry, tls)}",
                "tokens": f"http://127.0.0.1:{serve(Tokens)}",
            }
        )
        + "\n"
    )
    sys.stdout.flush()
    threading.Event().wait()
