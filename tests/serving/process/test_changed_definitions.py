"""A view changes under a running `headwater serve`: every command says what it serves, and what
each proposes leads on, and back.
"""

import json
import os
import shlex
import signal
import subprocess
import sys

import httpx
import pytest

from tests.laws.operated import Operated
from tests.serving.world import free_port
from tests.warm_commands import run_command

BEFORE, AFTER = "features=[hw.count()])", 'features=[hw.count(), hw.sum("n")])'


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop that was applied, trained, and is served with ingestion and jobs."""
    made = Operated(tmp_path_factory.mktemp("changed"))
    (made.folder / "headwater.toml").write_text(f'store = "{made.store}"\n', encoding="utf-8")
    for verb in ("apply", "train"):
        done = run(made, verb)
        assert done.returncode == 0, done.stderr
    made.start("--workers=1", f"--ingest=--listen 127.0.0.1:{made.ingest_port}", "--materialize")
    try:
        made.ready()
        yield made
    finally:
        made.stop(signal.SIGKILL if made.process.poll() is None else signal.SIGTERM)


def run(shop, *arguments):
    """`headwater ARGUMENTS` in the shop's folder."""
    return run_command(arguments, shop.folder)


def define(shop, text):
    path = shop.folder / "features.py"
    other = AFTER if text == BEFORE else BEFORE
    written = path.read_text(encoding="utf-8")
    assert f'hw.streaming("60s"), {other}' in written
    path.write_text(
        written.replace(f'hw.streaming("60s"), {other}', f'hw.streaming("60s"), {text}'),
        encoding="utf-8",
    )


def version(shop):
    """Of the model that a request is answered with."""
    done = httpx.post(
        f"{shop.url}/v1/predict/churn", json={"row": {"user": 1}}, timeout=20, trust_env=False
    )
    return done.json().get("version")


def loaded(shop):
    """The versions that workers have loaded, as `models` lists them."""
    listed = json.loads(run(shop, "models", "--json").stdout)
    return {of["version"] for service in listed["services"] for of in service["loaded"]}


def restarted(shop):
    """End ingestion, which the supervisor starts again, and replace the worker."""
    (ingestion,) = shop.children(" ingest ")
    os.kill(ingestion, signal.SIGTERM)
    shop.until(lambda: shop.children(" ingest ").keys() - {ingestion}, "another ingestion")
    os.kill(shop.process.pid, signal.SIGHUP)


@pytest.mark.slow
def test_a_view_is_changed_and_changed_back(shop):
    define(shop, AFTER)
    planned = run(shop, "plan")
    assert (
        "model churn as defined cannot be served with these definitions: version 1: "
        "'live__sum_n_1h' is served"
    ) in words(planned.stdout)
    assert "docs/howto_versions.md" in planned.stdout
    applied = run(shop, *following(planned))
    assert applied.returncode == 0, applied.stderr
    assert (
        "view live: ingestion runs and does not fill it: it was started with other definitions. "
        "Restart it"
    ) in applied.stderr
    assert following(applied)[:3] == ["train", "--model", "churn"]
    shop.until(
        lambda: "does not fill view live. Restart it" in shop.said(),
        "a line in the log of ingestion",
    )
    status = run(shop, "status", "--json")
    assert (
        "was started with other definitions"
        in {view["view"]: view["note"] for view in json.loads(status.stdout)["views"]}["live"]
    )
    assert "warning: view live is absent: ingestion runs and does not fill it" in status.stderr

    trained = run(shop, *following(applied))
    assert "version 2, which is current" in trained.stderr
    assert (
        f"warning: the service at {shop.url} goes on with version 1: it reads 'live__sum_n_1h'"
        in trained.stderr
    )
    assert "it lacks none" not in trained.stderr + shop.said()
    listed = json.loads(run(shop, "models", "--json").stdout)
    assert [
        (of["version"], bool(of["refused"]))
        for service in listed["services"]
        for of in service["loaded"]
    ] == [("1", True)]
    assert version(shop) == "1"
    restarted(shop)
    shop.until(
        lambda: version(shop) == "2" and loaded(shop) == {"2"},
        "the version that fits the new definitions",
    )

    refused = run(shop, "models", "rollback")
    assert refused.returncode == 2
    assert (
        "churn as defined, version 1, cannot be served with the definitions of features.py"
        in refused.stderr
    )
    assert (
        f"Nothing was changed; the service at {shop.url} answers with version 2" in refused.stderr
    )
    assert [
        each["version"]
        for each in json.loads(run(shop, "models", "--json").stdout)["versions"]
        if each["current"]
    ] == [2]

    define(shop, BEFORE)
    planned = run(shop, "plan")
    assert "--allow-breaking" in following(planned)
    assert "models read what changes: model churn reads live__sum_n_1h" in planned.stderr
    applied = run(shop, *following(planned))
    assert applied.returncode == 0, applied.stderr
    assert "does not fill it" in applied.stderr
    back = run(shop, "models", "rollback")
    assert back.returncode == 0, back.stderr
    assert "churn as defined, version 1, is current from now on" in back.stderr
    assert f"warning: the service at {shop.url} goes on with version 2" in back.stderr
    restarted(shop)
    shop.until(lambda: version(shop) == "1" and loaded(shop) == {"1"}, "the version before")
    assert (
        f"churn as defined: the service at {shop.url} answers with version 1"
        in run(shop, "models").stderr
    )


@pytest.mark.slow
def test_a_second_ingestion_says_that_it_waits_and_can_be_stopped(shop):
    log = shop.folder / "second.log"
    command = [sys.executable, "-m", "headwater.cli", "ingest", f"--listen=127.0.0.1:{free_port()}"]
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, cwd=shop.folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        ) as second,
    ):
        shop.until(
            lambda: "Waiting up to 60 s for it to end" in log.read_text(encoding="utf-8"),
            "a line that it waits",
        )
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
    assert "another process holds the lease 'ingest'" in log.read_text(encoding="utf-8")


def words(text):
    return " ".join(text.split())


def following(done):
    """The first command that is proposed."""
    line = next(line for line in done.stderr.splitlines() if line.startswith("next: headwater "))
    return shlex.split(line.removeprefix("next: headwater "))
