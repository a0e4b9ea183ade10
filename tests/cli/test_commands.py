"""The command line as a whole: help, completion, the nearest names, and one meaning for each
option.
"""

import os
import shutil
import subprocess
import sys

import click
import pytest

from headwater.cli import main
from headwater.cli.command import Actions, Flag
from headwater.cli.parser import VERBS, parse, root

VARIED = {  # options that differ in form, not in meaning
    "--level": "serve takes several",
    "--output": "a file, or a folder",
}


def commands():
    """Every command that can be called, by its words."""
    ctx = click.Context(root())
    for name in VERBS:
        command = root().get_command(ctx, name)
        if isinstance(command, Actions):
            yield from ((f"{name} {action}", one) for action, one in command.commands.items())
            if command.default is not None:
                yield name, command.default
        else:
            yield name, command


def options():
    return [
        (words, param)
        for words, command in commands()
        for param in command.params
        if isinstance(param, Flag)
    ]


def test_an_option_is_the_same_in_every_command():
    """The same value: a switch or not, of the same type, once or more than once."""
    kinds = {}
    for _, param in options():
        kind = (param.is_flag, param.multiple, type(param.type).__name__, param.metavar)
        for name in param.opts:
            kinds.setdefault(name, set()).add(kind)
    assert sorted(name for name, found in kinds.items() if len(found) > 1) == sorted(VARIED)


def test_every_option_has_a_help_text():
    assert [(words, param.flag) for words, param in options() if not param.help] == []


# ---------------------------------------------------------------- help


def _help(words):
    ctx = root().make_context("headwater", [*words.split(), "--help"], resilient_parsing=True)
    with ctx:
        name, command, _ = root().resolve_command(ctx, words.split())
        sub = command.make_context(name, words.split()[1:], parent=ctx, resilient_parsing=True)
        if isinstance(command, Actions):
            action = words.split()[1]
            sub = command.commands[action].make_context(
                action, [], parent=sub, resilient_parsing=True
            )
        return sub.get_help()


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_help_names_a_command_by_its_words(capsys, words):
    assert main(["help", *words.split()]) == 0
    by_name = capsys.readouterr().out
    assert by_name.startswith(f"Usage: headwater {words} ")
    assert main([*words.split(), "--help"]) == 0
    assert capsys.readouterr().out == by_name


def test_help_alone_is_that_of_all(capsys):
    assert main(["help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in VERBS if f"\n  {name} " not in shown] == []
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == shown


def test_help_lists_the_actions_of_a_command_that_has_a_default(capsys):
    assert main(["models", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--level NAME" in shown
    assert "rollback" in shown


def test_python_m_headwater_is_the_command_line():
    for module in ("headwater", "headwater.cli"):
        done = subprocess.run(
            [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("headwater ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["help", "backtst"], "did you mean 'backtest'?"),
        (["help", "store", "compct"], "did you mean 'compact'?"),
        (["store", "compct"], "headwater store has no action 'compct'; did you mean 'compact'?"),
        (["store"], "headwater store needs an action: create, compact, backup"),
        (["store", "--store", "lmdb:x"], "headwater store needs an action"),
        (
            ["models", "rolback"],
            "headwater models does not take 'rolback' here; did you mean 'rollback'?",
        ),
        (
            ["models", "rollback", "--dryrun"],
            "headwater models rollback has no option --dryrun; did you mean '--dry-run'?",
        ),
        (["train", "--no-promot"], "did you mean '--no-promote'?"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (["token", "revok"], "did you mean 'revoke'?"),
        (
            ["init", "a.csv", "b.csv", "--known-at", "x", "--known-after", "1d"],
            "--known-at or --known-after",
        ),
    ],
)
def test_the_nearest_name_is_offered(capsys, arguments, said):
    assert main(arguments) == 2
    found = capsys.readouterr()
    assert (found.out, said in found.err) == ("", True), found.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["deadletters", "--rows", "3", "list", "clicks"],
        ["deadletters", "list", "clicks", "--rows", "3"],
    ],
)
def test_options_may_stand_before_the_action(arguments):
    assert parse(arguments).options.rows == 3


def test_what_may_be_left_out():
    assert parse(["serve"]).options.ingest is None
    assert parse(["serve", "--ingest", "--materialize"]).options.ingest == ""
    assert parse(["serve", "--ingest=", "--materialize"]).options.ingest == ""
    for call in (["--ingest=--batch 5 --once"], ["--ingest", "--batch 5 --once"]):
        assert parse(["serve", *call, "--workers", "2"]).options.ingest == "--batch 5 --once"
    assert parse(["serve", "--materialize=--watch"]).options.materialize == "--watch"
    assert parse(["train", "--from-log", "kept"]).options.from_log == "kept"
    assert parse(["train", "--from-log", "--seed", "1"]).options.from_log == ""
    assert parse(["train"]).options.promote is True
    assert parse(["train", "--no-promote"]).options.promote is False
    assert parse(["models", "--json"]).run is parse(["models", "list"]).run
    assert parse(["serve", "--level", "a", "--level", "b"]).options.level == ["a", "b"]


# ---------------------------------------------------------------- completion


def complete(words):
    """What bash is answered for a command line that ends where the cursor is."""
    env = {
        "HEADWATER_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "headwater"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | env,
    )
    assert done.stderr == ""
    return done.stdout.split("\n")


@pytest.mark.parametrize(
    ("words", "offered", "not_offered"),
    [
        ("headwater mat", "plain,materialize", "plain,serve"),
        ("headwater store ", "plain,compact", "plain,serve"),
        ("headwater models ro", "plain,rollback", "plain,promote"),
        ("headwater serve --li", "plain,--listen", "plain,--http"),
        ("headwater store restore --y", "plain,--yes", "plain,--json"),
        ("headwater completion z", "plain,zsh", "plain,bash"),
        ("headwater backtest --project f", "file,f", "plain,--project"),
    ],
)
def test_a_shell_is_answered(words, offered, not_offered):
    found = complete(words)
    assert offered in found
    assert not_offered not in found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_can_be_read_by_its_shell(shell, tmp_path, capsys):
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    assert f"HEADWATER_COMPLETE={shell}_complete" in script.read_text(encoding="utf-8")
    if shutil.which(shell) is not None:  # not every machine has every shell
        assert subprocess.run([shell, "-n", script], check=False).returncode == 0


def test_bash_completes_a_command(tmp_path):
    binary = tmp_path / "headwater"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} -m headwater "$@"\n', encoding="utf-8")
    binary.chmod(0o755)
    typed = (
        'eval "$(headwater completion bash)"; COMP_WORDS=(headwater mater); COMP_CWORD=1; '
        '_headwater_completion headwater; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", typed],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": path},
    )
    assert done.stdout == "materialize\n"


def test_help_and_completion_load_no_heavy_library():
    code = (
        "import sys, headwater.cli as c; c.main([sys.argv[1], sys.argv[2]]); print('LOADED', "
        "*{n.partition('.')[0] for n in sys.modules})"
    )
    for arguments in (["help", "serve"], ["completion", "bash"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        loaded = set(done.stdout.rpartition("LOADED")[2].split())
        assert not loaded & {
            "polars",
            "numpy",
            "numba",
            "lightgbm",
            "sklearn",
            "plotly",
            "rich",
            "scipy",
            "pandas",
            "msgspec",
        }
