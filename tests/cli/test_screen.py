"""What a terminal is shown: strings of events and files never reach it as something that it
obeys.
"""

import io

import pytest

from headwater.cli.screen import Screen
from headwater.terminal.text import visible

HOSTILE = [
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "a\rb",
    "\x7f",
    "\u200e",
    "\x00",
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("write", ["say", "error", "show", "cell", "warning", "next"])
def test_control_characters_are_written_out(monkeypatch, text, write):
    from headwater.terminal.layout import ShownTable

    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(as_json=False)
    if write == "show":
        screen.show(f"key {text}", {})
    elif write == "cell":
        screen.show(ShownTable(f"of {text}", [f"key {text}"], [[f"key {text}"]]), {})
    elif write == "warning":
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            screen.take_warnings(every=True)
            warnings.warn(text, UserWarning, stacklevel=1)
    elif write == "next":
        screen.next("headwater", text)
    else:
        getattr(screen, write)(f"key {text}")
    # bold, of the table's own head
    shown = out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert not [
        character for character in text if not character.isprintable() and character in shown
    ]


def test_other_characters_stay():
    text = "ø 数 😀\tx\nעברית é"
    assert visible(text) == text


def test_styles_of_a_table_stay(monkeypatch):
    from headwater.terminal.layout import Shown, ShownTable

    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Screen(as_json=False).show(ShownTable("", ["name"], [[Shown("x", "green")]]), {})
    assert "\x1b[32mx" in out.getvalue()
