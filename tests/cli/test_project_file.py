"""headwater.toml next to the project's file: its contents, its precedence, and how an error names
it.
"""

import pytest

from headwater import settings
from headwater.cli import main, serve
from headwater.cli.parser import parse
from headwater.errors import UsageError

FILE = """
store = "lmdb:kept/online"
data-dir = "kept"
catalog = "catalog.sqlite"

[serve]
listen = "127.0.0.1:9001"
workers = 2
ingest = true
graceful-timeout = 3
level = ["daily"]
tokens = "tokens.json"
models = "/srv/models"
log-third-party = true

[ingest]
listen = "none"
batch = 500
max-future-skew = "2d"

[materialize]
memory = "2GB"
allow-pickle = true
"""
VARIABLES = (
    *("HEADWATER_STORE", "HEADWATER_DATA_DIR", "HEADWATER_HOME", "HEADWATER_CATALOG"),
    *("HEADWATER_ARCHIVE_URL", "HEADWATER_ENGINE"),
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch, tmp_path):
    for name in VARIABLES:
        # so that a command which sets it leaves nothing after the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(folder, text):
    (folder / "headwater.toml").write_text(text, encoding="utf-8")


def given(*arguments):
    return parse(arguments).options


def test_values_are_those_of_the_file(tmp_path):
    write(tmp_path, FILE)
    serve, ingest, made, status = (
        given("serve"),
        given("ingest"),
        given("materialize"),
        given("status"),
    )
    assert {one.store for one in (serve, ingest, made, status)} == {"lmdb:kept/online"}
    assert {one.data_dir for one in (serve, ingest, made, status)} == {"kept"}
    assert (given("plan").catalog, ingest.catalog) == ("catalog.sqlite", "catalog.sqlite")
    assert (serve.listen, serve.workers, serve.ingest, serve.graceful_timeout) == (
        "127.0.0.1:9001",
        2,
        "",
        3.0,
    )
    assert (serve.level, serve.tokens, serve.models, serve.log_third_party) == (
        ["daily"],
        "tokens.json",
        "/srv/models",
        True,
    )
    assert (ingest.listen, ingest.batch, ingest.max_future_skew) == ("none", 500, "2d")
    assert (made.memory, made.allow_pickle) == ("2GB", True)
    assert (serve.materialize, ingest.linger) == (None, 0.02)  # defaults


def test_paths_lie_beside_the_project(tmp_path):
    (tmp_path / "shop").mkdir()
    write(tmp_path / "shop", FILE)
    serve = given("serve", "--project", "shop/features.py")
    assert (serve.store, serve.data_dir) == ("lmdb:shop/kept/online", "shop/kept")
    assert (serve.tokens, serve.models) == ("shop/tokens.json", "/srv/models")
    assert given("plan", "--project=shop/features.py").catalog == "shop/catalog.sqlite"
    assert given("serve").store is None  # the file of another project


@pytest.mark.parametrize(
    ("command", "flag", "variable", "name", "of_file"),
    [
        ("status", "--store", "HEADWATER_STORE", "store", "lmdb:kept/online"),
        ("status", "--data-dir", "HEADWATER_DATA_DIR", "data_dir", "kept"),
        ("serve", "--listen", "HEADWATER_SERVE_LISTEN", "listen", "127.0.0.1:9001"),
    ],
)
def test_a_flag_goes_before_a_variable_and_that_before_the_file(
    tmp_path, monkeypatch, command, flag, variable, name, of_file
):
    write(tmp_path, FILE)
    assert getattr(given(command), name) == of_file
    monkeypatch.setenv(variable, "lmdb:of-variable")
    found = getattr(given(command), name)
    # the library reads two of them itself, also where it is called from Python
    assert found == (
        None if variable in {"HEADWATER_STORE", "HEADWATER_CATALOG"} else "lmdb:of-variable"
    )
    assert getattr(given(command, flag, "lmdb:of-flag"), name) == "lmdb:of-flag"
    monkeypatch.setenv(variable, "")
    assert getattr(given(command), name) == of_file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('stroe = "x"', "headwater.toml has no key 'stroe'; did you mean 'store'?"),
        (
            "[serve]\nworker = 2",
            "headwater.toml: [serve] has no key 'worker'; did you mean 'workers'?",
        ),
        ('[serve]\nstore = "lmdb:x"', "store is for every command; write it above the sections"),
        ("serve = 3", "write a section: [serve]"),
        ("store = 3", "store is 3; give a string in quotes"),
        ("[serve]\nworkers = true", "[serve] workers is True; give an integer"),
        ("[serve]\nlevel = [1]", "give a list of strings"),
        ("store = lmdb", "headwater.toml cannot be read as TOML"),
    ],
)
@pytest.mark.parametrize("command", ["status", "serve"])
def test_a_wrong_file_is_told_whatever_the_command(tmp_path, text, said, command):
    write(tmp_path, text)
    with pytest.raises(UsageError) as error:
        given(command)
    assert said in str(error.value)


def test_a_development_environment_has_no_archive_on_an_object_store(monkeypatch):
    """Nothing is written to what production has."""
    monkeypatch.setenv("HEADWATER_ARCHIVE_URL", "gs://other/place")
    monkeypatch.setenv("HEADWATER_READS", "redis://production:6379/0")
    assert settings.archive_url() is None


def test_a_development_environment_ships_no_logs(tmp_path, monkeypatch, capsys):
    write(tmp_path, '[serve]\nworkers = 2\nship-logs = "s3://production/logs"')
    shipped = []
    monkeypatch.setattr(serve, "_supervise", lambda args, _screen: shipped.append(args.ship_logs))
    for reads in ("", "redis://production:6379/0"):
        monkeypatch.setenv("HEADWATER_READS", reads)
        assert main(["serve"]) == 0
    assert shipped == ["s3://production/logs", None]
    assert capsys.readouterr().err == (
        "logs are not shipped: this is a development environment, and production's logs may "
        "be there\n"
    )
