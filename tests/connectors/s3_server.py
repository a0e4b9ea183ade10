"""An S3 server on loopback: that of moto, which keeps objects in memory, and refuses keys other
than KEY. Prints its port.
"""

import logging
import sys

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEY = "AKIATEST"
WRONG = (
    "<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id "
    "you provided does not exist in our "
    "records.</Message><AWSAccessKeyId>{}</AWSAccessKeyId></Error>"
)


def checked(app):
    """The application, behind what S3 says to a key that it does not know."""

    def call(environ, start_response):
        given = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        if given == KEY:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [WRONG.format(given).encode()]

    return call


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        "127.0.0.1",
        0,
        checked(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=Handler,
    )
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
