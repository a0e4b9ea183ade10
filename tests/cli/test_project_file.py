"""headwater.toml next to the project's file: its contents, its precedence, and how an error names
it.
"""

import json
import subprocess
import sys
from pathlib import Path

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


def test_without_the_file_all_is_as_it_was(tmp_path):
    before = vars(given("serve"))
    write(tmp_path, "")
    assert vars(given("serve")) == before


def test_paths_lie_beside_the_project(tmp_path):
    (tmp_path / "shop").mkdir()
    write(tmp_path / "shop", FILE)
    serve = given("serve", "--project", "shop/features.py")
    assert (serve.store, serve.data_dir) == ("lmdb:shop/kept/online", "shop/kept")
    assert (serve.tokens, serve.models) == ("shop/tokens.json", "/srv/models")
    assert given("plan", "--project=shop/features.py").catalog == "shop/catalog.sqlite"
    assert given("serve").store is None  # the file of another project


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache:6379/0",
        "rediss://cache/1?prefix=a",
        "redis://a:1,b:2?cluster=true",
        "lmdb:/srv/online?size=1GB",
    ],
)
def test_urls_and_full_paths_stay(tmp_path, url):
    (tmp_path / "shop").mkdir()
    write(tmp_path / "shop", f'store = "{url}"\ncatalog = "postgresql://me@host/name"')
    assert given("status", "--project", "shop/features.py").store == url
    assert given("apply", "--project", "shop/features.py").catalog == "postgresql://me@host/name"


@pytest.mark.parametrize(
    ("command", "flag", "variable", "name", "of_file"),
    [
        ("status", "--store", "HEADWATER_STORE", "store", "lmdb:kept/online"),
        ("status", "--data-dir", "HEADWATER_DATA_DIR", "data_dir", "kept"),
        ("plan", "--catalog", "HEADWATER_CATALOG", "catalog", "catalog.sqlite"),
        ("serve", "--listen", "HEADWATER_SERVE_LISTEN", "listen", "127.0.0.1:9001"),
        (
            "ingest",
            "--max-future-skew",
            "HEADWATER_INGEST_MAX_FUTURE_SKEW",
            "max_future_skew",
            "2d",
        ),
        ("materialize", "--memory", "HEADWATER_MATERIALIZE_MEMORY", "memory", "2GB"),
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


def test_headwater_home_goes_before_the_data_directory_of_the_file(tmp_path, monkeypatch):
    from headwater.cli.options import data_dir

    write(tmp_path, FILE)
    assert data_dir(given("status")) == Path("kept")
    # a command without the option: its serving log lies there
    assert data_dir(given("train")) == Path("kept")
    monkeypatch.setenv("HEADWATER_HOME", "home")
    assert data_dir(given("status")) == Path("home")
    monkeypatch.setenv("HEADWATER_DATA_DIR", "data")
    assert data_dir(given("status")) == data_dir(given("train")) == Path("data")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('stroe = "x"', "headwater.toml has no key 'stroe'; did you mean 'store'?"),
        ('data_dir = "x"', "did you mean 'data-dir'?"),
        ('engin = "local"', "has no key 'engin'; did you mean 'engine'"),
        ("[sever]\nworkers = 2", "has no key 'sever'; did you mean 'serve'?"),
        (
            "[serve]\nworker = 2",
            "headwater.toml: [serve] has no key 'worker'; did you mean 'workers'?",
        ),
        ('[serve]\nhttp = "x"', "[serve] has no key 'http'"),
        ("[ingest]\nallow_unapplied = true", "did you mean 'allow-unapplied'?"),
        ('[serve]\nstore = "lmdb:x"', "store is for every command; write it above the sections"),
        ("serve = 3", "write a section: [serve]"),
        ("archive-url = 5", "archive-url is 5; give a string in quotes"),
        ("store = 3", "store is 3; give a string in quotes"),
        ('store = ""', "store is ''; give a string in quotes"),
        ('[serve]\nworkers = "2"', "[serve] workers is '2'; give an integer"),
        ("[serve]\nworkers = 2.0", "[serve] workers is 2.0; give an integer"),
        ("[serve]\nworkers = true", "[serve] workers is True; give an integer"),
        ("[ingest]\nlinger = '1'", "[ingest] linger is '1'; give a number"),
        ("[ingest]\nmax-future-skew = 2", "[ingest] max-future-skew is 2; give a string in quotes"),
        ('[serve]\nlog-third-party = "yes"', "give true or false"),
        ('[serve]\nlevel = "daily"', "[serve] level is 'daily'; give a list of strings"),
        ("[serve]\nlevel = [1]", "give a list of strings"),
        ("store = lmdb", "headwater.toml cannot be read as TOML"),
        ('[serve]\nproject = "x"', "[serve] has no key 'project'"),
        ("[materialize]\nnames = ['a']", "[materialize] has no key 'names'"),
    ],
)
@pytest.mark.parametrize("command", ["status", "serve"])
def test_a_wrong_file_is_told_whatever_the_command(tmp_path, text, said, command):
    write(tmp_path, text)
    with pytest.raises(UsageError) as error:
        given(command)
    assert said in str(error.value)


def test_help_and_commands_without_a_project_do_not_read_it(tmp_path, capsys):
    write(tmp_path, "nonsense")
    assert main(["serve", "--help"]) == 0
    assert main(["token", "list", "--tokens", "tokens.json"]) == 0
    assert main(["help"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ('store = "postgres:x"', ["status"], "store comes from headwater.toml"),
        ('catalog = "oracle://host/name"', ["plan"], "catalog comes from headwater.toml"),
        ("[serve]\nlog-sample = 3", ["serve"], "log-sample comes from headwater.toml"),
        ("[ingest]\nbatch = 0", ["ingest"], "batch comes from headwater.toml"),
    ],
)
def test_an_error_says_where_the_value_comes_from(folder, capsys, text, arguments, said):
    write(folder, text)
    assert main(arguments) != 0
    assert said in capsys.readouterr().err


def test_an_error_names_the_variable_of_a_value(folder, capsys, monkeypatch):
    monkeypatch.setenv("HEADWATER_SERVE_WORKERS", "many")
    assert main(["serve"]) == 2
    assert (
        "'many' is not a valid integer. It comes from HEADWATER_SERVE_WORKERS"
        in capsys.readouterr().err
    )
    monkeypatch.setenv("HEADWATER_SERVE_WORKERS", "")
    monkeypatch.setenv("HEADWATER_SERVE_LOG_SAMPLE", "3")
    assert main(["serve"]) == 2
    assert "log-sample comes from HEADWATER_SERVE_LOG_SAMPLE" in capsys.readouterr().err
    assert main(["serve", "--log-sample", "2"]) == 2
    assert "comes from" not in capsys.readouterr().err


@pytest.mark.slow
def test_commands_work_on_the_store_of_the_file_and_do_not_repeat_it(folder, run):
    write(
        folder, 'store = "lmdb:kept/online"\ndata-dir = "kept"\ncatalog = "kept/catalog.sqlite"\n'
    )
    assert run("apply").returncode == 0
    assert (folder / "kept/catalog.sqlite").is_file()
    done = run("materialize")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("next: headwater parity --project features.py\n")
    assert (folder / "kept/online").is_dir()
    assert not (folder / ".headwater/online").exists()
    assert json.loads(run("status", "--json").stdout)["views"]


def test_a_child_of_a_supervisor_does_not_supervise(tmp_path):
    """A child reads the same file, and its own options come from the supervisor."""
    write(tmp_path, FILE)
    code = """
import sys
from headwater.cli import serve
from headwater.cli.parser import parse
called = []
serve._supervise = lambda *_: called.append("supervise")
serve.load = lambda *_: sys.exit("loads")
given = parse(["serve"]).options
given.supervised = object() if {} else None
serve.run(given, None)
"""
    for child, said in (("True", "loads"), ("False", "")):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("{}", child)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr.strip() == said


@pytest.mark.parametrize(
    ("line", "value", "variable", "other", "setting"),
    [
        (
            'archive-url = "s3://bucket/prefix/"',
            "s3://bucket/prefix",
            "HEADWATER_ARCHIVE_URL",
            "gs://other/place",
            settings.archive_url,
        ),
        (
            'engine = "spark:sc://host:15002"',
            "spark:sc://host:15002",
            "HEADWATER_ENGINE",
            "local",
            settings.engine,
        ),
    ],
    ids=["archive-url", "engine"],
)
def test_what_every_command_reads_is_that_of_the_variable_or_else_of_the_file(
    tmp_path, monkeypatch, line, value, variable, other, setting
):
    write(tmp_path, line)
    given("materialize")
    assert setting() == value
    monkeypatch.setenv(variable, other)
    given("status")
    assert setting() == other


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
