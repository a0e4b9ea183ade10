"""Every help page begins with examples, and the parser takes each of them."""

import shlex
from collections.abc import Iterator

import pytest

from headwater.cli.command import Actions, Verb
from headwater.cli.parser import VERBS, parse, root


def _verbs(name: str, command: object) -> Iterator[tuple[str, Verb]]:
    if isinstance(command, Actions):
        for action, verb in command.commands.items():
            yield from _verbs(f"{name} {action}", verb)
        command = command.default
    if isinstance(command, Verb):
        yield name, command


ALL = dict(pair for name in VERBS for pair in _verbs(name, root().get_command(None, name)))


@pytest.mark.parametrize("name", ALL)
def test_examples_are_of_the_command_and_are_parsed(name, capsys):
    verb = ALL[name]
    assert verb.examples
    for line in verb.examples:
        words = shlex.split(line, comments=True)
        words = words[
            : next((n for n, word in enumerate(words) if word.startswith(">")), len(words))
        ]
        assert words[0] == "headwater"
        if verb.at_once:  # it runs when it is parsed
            assert words[1] == name
            continue
        command = parse(words[1:])
        assert command is not None
        assert command.run is verb.run


def test_the_help_page_shows_them(capsys):
    parse(["store", "compact", "--help"])
    assert "Examples:\n  headwater store compact\n" in capsys.readouterr().out
