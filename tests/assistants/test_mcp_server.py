"""The MCP server through the SDK's own client: tools, hidden values, errors, tokens."""

import asyncio
import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress

import httpx
import pytest

import headwater as hw
from headwater.assistants.project_reader import HIDDEN, MARK, ProjectReader
from headwater.serving.http.auth import TokenFile
from headwater.testing.examples import temporary_store, visiting
from tests.waiting import until

pytest.importorskip("mcp", reason="needs the extra mcp")

AT = "2024-05-01T12:00Z"


@pytest.fixture
def reader(tmp_path):
    project = visiting(hw.batch("1h"))
    with temporary_store() as store:
        hw.materialize(project, store=store, at=AT)
        yield ProjectReader(project, store, tmp_path, tmp_path / "models")


def _call(reader, tool, **arguments):
    from mcp.shared.memory import create_connected_server_and_client_session

    from headwater.assistants.mcp_server import mcp_server

    async def call():
        async with create_connected_server_and_client_session(
            mcp_server(reader)._mcp_server
        ) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(call())


def test_every_tool_is_read_only_and_described(reader):
    from headwater.assistants.mcp_server import mcp_server

    tools = asyncio.run(mcp_server(reader).list_tools())
    assert [tool.name for tool in tools] == [
        "features",
        "status",
        "explain",
        "runs",
        "run",
        "recommendation",
    ]
    assert all(tool.annotations.readOnlyHint and tool.description for tool in tools)


def test_features_and_their_state(reader):
    found = _call(reader, "features", contains="count_1d").structuredContent
    assert found["note"] == MARK
    assert [feature["feature"] for feature in found["data"]["features"]] == ["user__count_1d"]
    assert found["data"]["features"][0]["models"] == ["churn"]
    stored = _call(reader, "status").structuredContent["data"]["views"]
    assert stored[0]["view"] == "user"


def test_values_are_hidden_unless_allowed(reader):
    hidden = _call(reader, "explain", feature="user__count_1d", keys={"user": 1}, at=AT)
    data = hidden.structuredContent["data"]
    assert (data["online"], data["offline"], data["keys"]) == (HIDDEN, HIDDEN, {"user": HIDDEN})
    assert data["events"]
    assert set(data["events"][0]) == {"timestamp", "known_at", "why", "counts"}
    shown = ProjectReader(reader.project, reader.store, reader.data_dir, values=True)
    assert shown.explain("user__count_1d", {"user": 1}, AT)["data"]["offline"] != HIDDEN


def test_an_error_is_said_and_ends_nothing(reader):
    refused = _call(reader, "explain", feature="user__cuont_1d", keys={"user": 1})
    assert refused.isError
    assert "did you mean" in refused.content[0].text
    assert _call(reader, "recommendation", model="churn").isError


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        (
            "explain",
            {"feature": "user__count_1d", "keys": {"user": 10**30}},
            "the key 'user' is Int64, and '1000000000",
        ),
        (
            "explain",
            {"feature": "user__count_1d", "keys": {"user": [1]}},
            "the key 'user' is an array or an object; give a string",
        ),
        ("run", {"run": "../../etc/passwd"}, ""),
        ("explian", {}, "no tool is named 'explian'; did you mean 'explain'?"),
    ],
)
def test_an_error_is_a_sentence_without_the_text_of_a_library(reader, tool, arguments, says):
    refused = _call(reader, tool, **arguments)
    (text,) = (part.text for part in refused.content)
    assert refused.isError
    assert says in text
    assert not re.search(
        "(?i)pydantic|polars|error executing|traceback|Error:|validation error|object has no", text
    ), text


def test_an_unexpected_error_is_logged_and_not_shown(reader, caplog):
    broken = dataclasses.replace(reader, store=object())
    (text,) = (part.text for part in _call(broken, "status").content)
    assert text == "status failed with an unexpected error; the server's log has the reason"
    assert "Traceback" in caplog.text


PROJECT = """
from headwater.testing.examples import visiting
import headwater as hw
project = visiting(hw.batch("1h"))
"""


@pytest.mark.slow
def test_over_http_a_token_with_the_scope_read_is_needed(tmp_path):
    (tmp_path / "features.py").write_text(PROJECT, encoding="utf-8")
    tokens = TokenFile(tmp_path / "tokens.json")
    read, predict = tokens.add("reader", ["read"]), tokens.add("caller", ["predict"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "headwater.cli",
        "mcp",
        "--listen",
        f"127.0.0.1:{port}",
        "--tokens",
        "tokens.json",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"HEADWATER_HOME": str(tmp_path)}
    )
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }

    def ask(token):
        headers = {"accept": "application/json, text/event-stream"} | (
            {"authorization": f"Bearer {token}"} if token else {}
        )
        return httpx.post(f"http://127.0.0.1:{port}/mcp", json=hello, headers=headers)

    try:

        def answered():
            with suppress(httpx.ConnectError):
                return ask(None).status_code

        assert until(answered) == 401
        assert ask(predict).status_code == 403
        answer = ask(read)
        assert answer.status_code == 200
        assert (
            json.loads(answer.text.split("data: ")[1])["result"]["serverInfo"]["name"]
            == "headwater"
        )
    finally:
        process.terminate()
        process.wait(20)
