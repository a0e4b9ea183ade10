import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headwater.errors import ConnectError, MissingExtraError, StoreError
from headwater.plugins import UnansweredError
from headwater_aws.aws_client import AwsClient, AwsRefusedError

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def answers():
    """A server whose answers, (status, body), are taken from a list; the last one is repeated. A
    body that is a string is a web page.
    """
    queue = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = queue.pop(0) if len(queue) > 1 else queue[0]
            page = isinstance(body, str)
            data = body.encode() if page else json.dumps(body).encode()
            self.send_response(status)
            self.send_header(
                "Content-Type", "text/html; charset=utf-8" if page else "application/x-amz-json-1.1"
            )
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    queue.append(f"http://127.0.0.1:{server.server_port}")
    yield queue
    server.shutdown()
    server.server_close()


def refused(code, message="no"):
    return 400, {"__type": code, "message": message}


def client(answers, **options):
    address = answers.pop(0)
    return AwsClient("kinesis", region="eu-central-1", endpoint_url=address, **options)


FOUND = 200, {"StreamNames": ["clicks"], "HasMoreStreams": False}


@pytest.mark.parametrize(
    ("first", "throttled"),
    [
        (refused("ProvisionedThroughputExceededException"), 2),
        (refused("com.amazonaws#ThrottlingException"), 2),
        ((500, {"__type": "InternalFailure"}), 0),
    ],
)
def test_what_passes_is_asked_again_after_a_pause(answers, first, throttled, caplog):
    kinesis = client(answers)
    answers += [first, first, FOUND]
    assert kinesis.call("list_streams", {})["StreamNames"] == ["clicks"]
    assert kinesis.throttled == throttled
    assert 0.075 <= kinesis.waited <= 0.15  # two pauses, of 25 to 50 and of 50 to 100 ms
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == bool(throttled)  # one in half a minute
    assert all(
        "requests were throttled so far, and are sent again" in warning for warning in warnings
    )


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            refused("LimitExceededException", "too many"),
            UnansweredError,
            "still throttles requests after the pauses: too many .* Raise its",
        ),
        ((503, {}), UnansweredError, "no message"),
        (
            refused("ExpiredTokenException"),
            StoreError,
            "credentials have expired: no .* Sign in again",
        ),
        (
            refused("UnrecognizedClientException"),
            StoreError,
            "access refused: no .* Check the credentials, the region, and what their policy",
        ),
        (
            refused("ValidationException", "a name is too long"),
            StoreError,
            r"a name is too long \(ValidationException\)",
        ),
    ],
)
def test_what_does_not_pass_is_an_error(answers, answer, error, message):
    kinesis = client(answers, patience=0.1, failure=StoreError, unanswered=UnansweredError)
    answers.append(answer)
    with pytest.raises(StoreError, match=message) as caught:
        kinesis.call("list_streams", {})
    assert type(caught.value) is error


def test_an_expected_code_is_raised_at_once(answers):
    kinesis = client(answers)
    answers.append(refused("ResourceNotFoundException", "no such stream"))
    with pytest.raises(AwsRefusedError, match="no such stream") as caught:
        kinesis.call("list_streams", {}, expected=["ResourceNotFoundException"])
    assert caught.value.code == "ResourceNotFoundException"
    assert kinesis.waited == 0


def test_an_endpoint_without_a_server_is_named():
    kinesis = AwsClient(
        "kinesis", region="eu-central-1", endpoint_url="http://127.0.0.1:9", patience=0
    )
    with pytest.raises(
        ConnectError,
        match=r"http://127.0.0.1:9: no answer: .* Check the region, the endpoint and the network",
    ):
        kinesis.call("list_streams", {})


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        (dict.fromkeys(KEYS), {}, "no credentials were found.*set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, {}, "no credentials were found, or only a part of them"),
        ({}, {"region": None}, "no region is known; give region=, or set AWS_DEFAULT_REGION"),
        ({"AWS_PROFILE": "shop"}, {}, "profile .shop. could not be found; correct AWS_PROFILE"),
        (
            {},
            {"endpoint_url": "localhost:4566"},
            "localhost:4566: the request cannot be sent: Invalid endpoint",
        ),
        ({}, {"region": "Frankfurt am Main"}, "doesn't match a supported format"),
        (
            {},
            {"region": "eu-west1"},
            r"AWS has no region 'eu-west1' \(did you mean 'eu-west-1'\?\); correct region=",
        ),
    ],
)
def test_a_client_that_cannot_be_made(monkeypatch, variables, options, message):
    for name, value in variables.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(ConnectError, match=message):
        AwsClient("kinesis", **{"region": "eu-central-1"} | options)


@pytest.mark.parametrize("region", ["eu-west-1", "eu-isoe-west-1", "mx-central-9", "local"])
def test_a_region_that_boto3_does_not_know_is_taken_where_it_may_be_one(region):
    AwsClient(
        "kinesis",
        region=region,
        **({"endpoint_url": "http://127.0.0.1:9"} if region == "local" else {}),
    )


def test_without_an_answer_a_region_that_boto3_does_not_know_is_doubted(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nothing leaves this machine
    kinesis = AwsClient("kinesis", region="eu-wset-1", patience=0)
    with pytest.raises(
        ConnectError,
        match=r"no answer: .* boto3 knows no region 'eu-wset-1' \(did you mean 'eu-west-1'\?\). Check",
    ):
        kinesis.call("list_streams", {})


@pytest.mark.parametrize("status", [200, 503])
def test_a_web_page_is_no_answer_of_a_service(answers, status):
    dynamodb = client(answers, patience=0.1, failure=StoreError, unanswered=StoreError)
    answers.append((status, "<html>"))
    with pytest.raises(
        StoreError,
        match=r"http://127.0.0.1:\d+: the answer is a web page, and none of a service of AWS. Check the endpoint",
    ):
        dynamodb.call("list_streams", {})


@pytest.mark.parametrize("service", ["kinesis", "dynamodb"])
def test_a_missing_library_names_the_extra(monkeypatch, service):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'headwater\[aws\]'"):
        AwsClient(service)
