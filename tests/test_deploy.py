"""What deploy/ starts are commands that there are, with times that fit together."""

import configparser
import ipaddress
import json
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from headwater.cli.parser import parse
from headwater.serving.metrics.ingest_metrics import _TOTALS

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = re.sub(r"\\\n#? *", " ", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))


class _Unit(configparser.RawConfigParser):
    def optionxform(self, optionstr):
        return optionstr


UNIT = _Unit(strict=False)
UNIT.read_string((DEPLOY / "headwater.service").read_text(encoding="utf-8"))


def commands():
    for name, service in COMPOSE["services"].items():
        if service.get("image") == "headwater":
            yield pytest.param(service["command"], id=f"compose {name}")
    yield pytest.param(
        yaml.safe_load(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1]), id="image"
    )
    yield pytest.param(shlex.split(UNIT["Service"]["ExecStart"])[1:], id="unit")
    for line in re.findall(
        r"^(?:#|HEADWATER|\$|    )*\s*headwater ((?:serve|ingest|token|materialize) .*)$",
        (ROOT / "docs/operations.md").read_text("utf-8"),
        re.MULTILINE,
    ):
        yield pytest.param(shlex.split(line, comments=True), id=f"docs: {line[:40]}")


@pytest.mark.parametrize("argv", list(commands()))
def test_a_command_is_one(argv):
    assert parse(argv) is not None


def test_there_is_time_to_stop():
    for argv, seconds in (
        (shlex.split(UNIT["Service"]["ExecStart"])[1:], int(UNIT["Service"]["TimeoutStopSec"])),
        (
            COMPOSE["services"]["serve"]["command"],
            int(COMPOSE["services"]["serve"]["stop_grace_period"].removesuffix("s")),
        ),
    ):
        # workers, and then the others
        assert 2 * (parse(argv).options.graceful_timeout + 2) < seconds


def test_what_hangs_or_grows_is_ended():
    assert int(UNIT["Service"]["WatchdogSec"]) >= 10
    assert UNIT["Service"]["NotifyAccess"] == "main"
    assert {"MemoryMax", "TasksMax"} <= set(UNIT["Service"])
    assert all({"mem_limit", "pids_limit"} <= one.keys() for one in COMPOSE["services"].values())
    assert "127.0.0.1:8320/healthz" in DOCKERFILE  # /readyz does not ask for a restart


def _unknown(expressions):
    """The metrics that these read and no code has."""
    named = {
        name for expression in expressions for name in re.findall(r"headwater_[a-z_]+", expression)
    }
    code = "".join(
        path.read_text("utf-8") for path in (ROOT / "src/headwater/serving").rglob("*.py")
    )
    plain = {name: re.sub(r"_(total|bucket|sum|count)$", "", name) for name in named}
    assert named
    return {
        name
        for name, short in plain.items()
        if f'"{short}"' not in code and short not in {f"headwater_{total}" for total in _TOTALS}
    }


def test_alerts_are_on_metrics_that_there_are():
    groups = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert _unknown(rule["expr"] for rule in rules) == set()


def test_the_dashboard_is_that_of_its_script_and_on_metrics_that_there_are():
    script = runpy.run_path(str(ROOT / "scripts/grafana_dashboard.py"))
    assert (DEPLOY / "grafana.json").read_text(encoding="utf-8") == script["text"]()
    panels = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))["panels"]
    assert (
        _unknown(target["expr"] for panel in panels for target in panel.get("targets", [])) == set()
    )
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_processes_find_each_other():
    services = {
        name: one for name, one in COMPOSE["services"].items() if one.get("image") == "headwater"
    }
    listens = parse(services["ingest"]["command"]).options.listen
    host, _, port = listens.partition(":")
    # which the store tells workers
    assert services["ingest"]["networks"]["events"]["ipv4_address"] == host
    assert parse(services["serve"]["command"]).options.forward_to == [host]
    assert ipaddress.ip_address(host) in ipaddress.ip_network(
        COMPOSE["networks"]["events"]["ipam"]["config"][0]["subnet"]
    )
    assert port == "8321"
    for one in services.values():
        hosts = re.findall(r"@([a-z]+)", " ".join(one["environment"].values()))
        assert {"valkey", "postgres"} <= set(hosts) <= COMPOSE["services"].keys()
        assert set(one["depends_on"]) <= COMPOSE["services"].keys()
    assert (
        "INSIDE://kafka:19092"
        in COMPOSE["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    )


def test_the_image_is_made_of_what_is_there():
    kept = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert [name for name in kept if not (ROOT / name).exists()] == []
    assert [
        name for name in re.findall(r"deploy/[a-z.-]+txt", DOCKERFILE) if name not in kept
    ] == []
    assert "USER headwater" in DOCKERFILE


# ------------------------------------------------------------ hardening


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_can_do_no_more_than_it_needs(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 1024
    assert re.fullmatch(r"[1-8]g", service["mem_limit"])
    assert "/tmp" in service["tmpfs"]
    assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & service.keys()


def test_the_ingest_address_is_in_a_network_of_its_own():
    members = {name for name, one in COMPOSE["services"].items() if "events" in one["networks"]}
    assert members == {"serve", "ingest"}
    assert COMPOSE["networks"]["events"]["internal"] is True
    assert "ports" not in COMPOSE["services"]["ingest"]


def test_no_password_and_no_token_stands_in_a_file_of_the_repository():
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert "chmod" not in text
    assert {one["environment"] for one in COMPOSE["secrets"].values()} == {
        "VALKEY_PASSWORD",
        "POSTGRES_PASSWORD",
    }
    assert (
        COMPOSE["services"]["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"]
        == "/run/secrets/postgres_password"
    )
    assert "requirepass" in COMPOSE["services"]["valkey"]["command"][2]
    for one in COMPOSE["services"].values():
        for value in one.get("environment", {}).values():
            # a password in a URL is a variable
            assert re.search(r"://[^@$]*:[^@$]+@", str(value)) is None, value
    assert "deploy/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_images_have_a_digest():
    images = [one["image"] for one in COMPOSE["services"].values() if one["image"] != "headwater"]
    assert [
        image
        for image in images
        if not re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z/]+:[\d.]+@sha256:[0-9a-f]{64}\}", image)
    ] == []
    (python,) = re.findall(
        r"^ARG PYTHON_IMAGE=(python:3\.13-slim@sha256:[0-9a-f]{64})$", DOCKERFILE, re.MULTILINE
    )
    assert COMPOSE["services"]["serve"]["build"]["args"] == {
        "PYTHON_IMAGE": f"${{PYTHON_IMAGE:-{python}}}"
    }
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == [
        "${PYTHON_IMAGE}",
        "${PYTHON_IMAGE}",
    ]


def test_the_line_that_runs_the_image_is_as_hard():
    line = re.search(r"^#     docker run (.*--read-only.*)$", DOCKERFILE, re.MULTILINE)[1]
    for part in (
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--memory 4g",
        "--pids-limit 512",
        "--tmpfs /tmp",
        ":ro",
        "127.0.0.1:",
    ):
        assert part in line


# ------------------------------------------------------------ hashes


def pins(path):
    """By library, its version and its hashes, in a requirements file."""
    found = re.findall(
        r"^([a-z0-9-]+)==([^\s;]+)[^\n]*?((?:\\\n\s+--hash=sha256:[0-9a-f]{64}\s*)*)$",
        path.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return {
        name: (version, set(re.findall(r"sha256:([0-9a-f]{64})", hashes)))
        for name, version, hashes in found
    }


CONSTRAINTS = {name: version for name, (version, _) in pins(ROOT / "constraints.txt").items()}


@pytest.mark.parametrize(
    "name", ["requirements.txt", "deploy/requirements.txt", "deploy/requirements-build.txt"]
)
def test_every_library_is_pinned_by_its_hash(name):
    found = pins(ROOT / name)
    assert found
    assert [library for library, (_, hashes) in found.items() if not hashes] == []
    other = {
        library: version
        for library, (version, _) in found.items()
        if CONSTRAINTS.get(library, version) != version
    }
    assert other == {}, "run `sh scripts/pin.sh hashes`"


def test_the_hashes_are_of_every_pin():
    assert len(CONSTRAINTS) > 100
    assert "islp" in CONSTRAINTS  # installed without its dependencies, for its data
    assert sorted(CONSTRAINTS.keys() - pins(ROOT / "requirements.txt").keys()) == [], (
        "run `sh scripts/pin.sh hashes`"
    )


def test_the_image_installs_by_hash_alone():
    installs = re.findall(r"pip install ([^&\n]*)", DOCKERFILE)
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)
    assert "--no-build-isolation" in DOCKERFILE  # what builds is pinned too
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = ("avro", "kafka", "postgres", "protobuf", "redis")
    wanted = [
        *project["dependencies"],
        *(library for extra in extras for library in project["optional-dependencies"][extra]),
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", one)[0].lower().replace("_", "-") for one in wanted}
    assert names <= pins(DEPLOY / "requirements.txt").keys(), "run `sh scripts/pin.sh hashes`"
    assert "hatchling" in pins(DEPLOY / "requirements-build.txt")
