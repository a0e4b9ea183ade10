"""What deploy/ starts are commands that there are, with times that fit together."""

import configparser
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from headwater.cli.parser import parse

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


class _Unit(configparser.RawConfigParser):
    def optionxform(self, optionstr):
        return optionstr


UNIT = _Unit(strict=False)
UNIT.read_string((DEPLOY / "headwater.service").read_text(encoding="utf-8"))


def commands():
    for name, service in COMPOSE["services"].items():
        if service.get("image") == "headwater":
            yield pytest.param(service["command"], id=f"compose {name}")
    yield pytest.param(yaml.safe_load(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1]), id="image")
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
        (COMPOSE["services"]["serve"]["command"], int(COMPOSE["services"]["serve"]["stop_grace_period"].removesuffix("s"))),
    ):
        assert 2 * (parse(argv).options.grace + 2) < seconds  # workers, and then the others


def test_processes_find_each_other():
    services = {name: one for name, one in COMPOSE["services"].items() if one.get("image") == "headwater"}
    assert services["ingest"]["hostname"] == "ingest"  # which the store tells workers
    for one in services.values():
        hosts = re.findall(r"://(?:[^@/]*@)?([a-z]+)", " ".join(one["environment"].values()))
        assert set(hosts) <= COMPOSE["services"].keys()
        assert set(one["depends_on"]) <= COMPOSE["services"].keys()
    assert "INSIDE://kafka:19092" in COMPOSE["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_the_image_is_made_of_what_is_there():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]
    assert [name for name in kept if not (ROOT / name).exists()] == []
    extras = re.search(r"'\.\[([a-z,]+)\]'", DOCKERFILE)[1].split(",")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras) <= declared.keys()
    assert "USER headwater" in DOCKERFILE
