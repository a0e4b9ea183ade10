"""The command line as a whole: help, completion, the nearest names, and one meaning for each
option.
"""

import shutil
import subprocess
import sys

import click
import pytest

from headwater.cli import main
from headwater.cli.command import Actions, Flag
from headwater.cli.parser import VERBS, root

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


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_help_names_a_command_by_its_words(capsys, words):
    assert main(["help", *words.split()]) == 0
    by_name = capsys.readouterr().out
    assert by_name.startswith(f"Usage: headwater {words} ")
    assert main([*words.split(), "--help"]) == 0
    assert capsys.readouterr().out == by_name


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
        (
            ["models", "rollback", "--dryrun"],
            "headwater models rollback has no option --dryrun; did you mean '--dry-run'?",
        ),
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


# ---------------------------------------------------------------- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_can_be_read_by_its_shell(shell, tmp_path, capsys):
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    assert f"HEADWATER_COMPLETE={shell}_complete" in script.read_text(encoding="utf-8")
    if shutil.which(shell) is not None:  # not every machine has every shell
        assert subprocess.run([shell, "-n", script], check=False).returncode == 0


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
            "rich",
            "scipy",
            "pandas",
            "msgspec",
        }
