"""`headwater init` from the definitions of another tool."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from headwater.cli import options
from headwater.cli.command import Arguments
from headwater.cli.screen import Screen
from headwater.errors import UsageError
from headwater.terminal.text import number_of


def output(args: Arguments) -> Path:
    """The file to write.

    Raises:
        UsageError: it exists and --force is not given, or cannot be written.
    """
    path = Path(args.output)
    if path.exists() and not args.force:
        raise UsageError(f"{path} exists; give another --output, or --force to overwrite it")
    options.output(path, "--output")
    return path


def write(path: Path, text: str) -> None:
    """Write it, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def feast(args: Arguments, screen: Screen) -> None:
    """A project file from a Feast repository, and a report of what differs or could not be carried
    over.

    Raises:
        UsageError: options that do not go together, no such repository, or no Feast.
    """
    from headwater.init.feast_repo import read_feast_repo
    from headwater.init.feast_write import FeastProject

    options_given = [
        name
        for name in ("events", "labels", "request_time", "known_at", "known_after", "label", "keys")
        if getattr(args, name)
    ]
    if options_given:
        raise UsageError(
            f"--feast reads definitions, and {options_given[0].replace('_', '-')} is for tables of "
            "your "
            "own; give one of them"
        )
    path = output(args)
    folder = Path(args.feast)
    repo = read_feast_repo(folder, args.feast_python or sys.executable)
    project = FeastProject(repo, folder.resolve(), path.resolve().parent)
    text = project.written(shlex.join(["headwater", "init", "--feast", args.feast]))
    write(path, text)
    for note in project.notes:
        screen.say(f"- {note}")
    screen.say(
        "- Feast counts a row of exactly the request's time; headwater counts rows before it\n"
        f"wrote {path}: {number_of(text.count(' = hw.Source('), 'source')}, "
        f"{number_of(text.count(' = hw.FeatureView('), 'feature view')}, "
        f"{number_of(text.count('@hw.request_feature'), 'request feature')} and "
        f"{number_of(text.count(' = hw.FeatureService('), 'feature service')} of "
        f"{repo.project or folder.resolve().name!r}. hw.get_historical_features(SERVICE, rows) "
        "reads them; a backtest also needs hw.Labels and a hw.Model, since Feast has neither"
    )
