"""Print a script that completes commands, options and files in a shell.

\b
bash   eval "$(headwater completion bash)"              in ~/.bashrc
zsh    eval "$(headwater completion zsh)"               in ~/.zshrc, after compinit
fish   headwater completion fish > ~/.config/fish/completions/headwater.fish
"""  # noqa: D301 (the mark keeps click from joining these lines)

from __future__ import annotations

import click

from headwater.cli.command import Arguments, Positional, Verb
from headwater.cli.screen import Screen


def run(args: Arguments, screen: Screen) -> None:
    """Print it."""
    from click.shell_completion import get_completion_class

    from headwater.cli.parser import root
    from headwater.settings import COMPLETE

    shell = get_completion_class(args.shell)
    assert shell is not None
    completion = shell(root(), {}, "headwater", COMPLETE)
    # source() of bash starts a bash to see its version
    screen.write(completion.source_template % completion.source_vars() + "\n")


COMMAND = Verb(
    run,
    [
        Positional(
            "shell",
            metavar="SHELL",
            type=click.Choice(["bash", "zsh", "fish"]),
            help="bash (4.4 or newer), zsh or fish",
        )
    ],
    help=__doc__,
    at_once=True,
    examples=[
        "headwater completion bash >> ~/.bashrc",
        "headwater completion fish > ~/.config/fish/completions/headwater.fish",
    ],
)
