"""Write the pages that are made from the code: reference, command line, configuration, errors,
changelog. Run by `make docs`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import click

import headwater
import headwater_aws
import headwater_spark
from headwater import client, errors, evaluation, experiments, operations, settings
from headwater.cli.command import SECTIONS, Actions, Flag, Positional, Verb
from headwater.cli.parser import VERBS, root
from headwater.cli.project_file import section_options

ROOT = Path(__file__).resolve().parents[1]

REFERENCE = """# Python reference

`import headwater as hw` has what a project file and a notebook need. The rest is in modules: `hw.evaluation` (parts of an evaluation), `hw.experiments`,
`hw.operations` (for operators; and the classes of results), `hw.client`, `headwater_spark` and `headwater_aws`. A name that is not in `hw` says where it is.
"""

PACKAGES = (headwater, evaluation, experiments, operations, client, headwater_spark, headwater_aws)

COMMANDS = """# Command line

Every command of `headwater`, with its options, as `--help` shows them. `headwater completion bash` (or `zsh`, `fish`) prints a script that
completes them. Options that several commands share may be written once, in [headwater.toml](configuration.md). Exit codes are in
[Tables](tables.md#exit-codes).
"""

CONFIGURATION = """# Configuration

Two places hold settings besides the command line: a file, `headwater.toml`, in the folder of the project file, and environment variables. A flag
has precedence over a variable, a variable over the file, the file over the default. Relative paths in the file start at its folder; those of flags
and variables start at the working folder. An unknown key is an error that offers the nearest one.

## headwater.toml

```toml
store = "redis://cache:6379/0"    # for every command
data-dir = "data"
catalog = "catalog.sqlite"

[serve]                           # options of `headwater serve`, without the dashes
listen = "0.0.0.0:8320"
workers = 4
ingest = true
level = ["live"]
```

| key | meaning | variable |
|---|---|---|
| `store` | URL of the online store | `HEADWATER_STORE` |
| `data-dir` | the folder of archive, logs, refused records and runs | `HEADWATER_DATA_DIR` |
| `catalog` | a file, or the URL of a PostgreSQL database | `HEADWATER_CATALOG` |
| `reads` | of a development environment: URL of the production store, which is only read | `HEADWATER_READS` |
"""

ERRORS = """# Errors

Every error that headwater raises on purpose, its cause and its remedy. All are subclasses of `headwater.errors.HeadwaterError`. A message has
the invalid value, the allowed ones, and what to do. On the command line an error is one line and an [exit code](tables.md#exit-codes); `--debug`
shows where it came from. Over HTTP it is JSON: `{"error", "request_id", "kind"}`, and `kind` is the name of the class.

```text
"""


def reference() -> str:
    """Every public name of headwater, grouped by the module that holds it, in the markup of
    mkdocstrings.
    """
    homes = defaultdict(list)
    for package in PACKAGES:
        for name in package.__all__:
            homes[getattr(package, name).__module__].append((package, name))
    homes["headwater.errors"] = [
        (errors, name)
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    sections = [REFERENCE]
    for home, names in sorted(homes.items()):
        title = (importlib.import_module(home).__doc__ or home).strip().splitlines()[0].rstrip(".")
        entries = [_entry(home, package, name) for package, name in names]
        sections.append("\n".join([f"## {title}\n", *entries]))
    return "\n".join(sections)


def _entry(home: str, package: ModuleType, name: str) -> str:
    """The markup of a name, headed by what users write: `count`, `hw.operations.serve`."""
    value = getattr(importlib.import_module(home), name)
    identifier = value.__name__ if inspect.isclass(value) else name
    written = (
        name if package is headwater else f"{package.__name__.replace('headwater.', 'hw.')}.{name}"
    )
    entry = f"::: {home}.{identifier}\n"
    if identifier != written:
        entry += f"    options:\n      heading: {written}\n      toc_label: {name}\n"
    return entry


# ---------------------------------------------------------------- the command line


def command_line() -> str:
    """Every command, with its actions below it."""
    ctx = click.Context(root(), info_name="headwater")
    parts = [
        COMMANDS.rstrip(),
        _table(
            ["command", "purpose"],
            [[f"[`{name}`](#headwater-{name})", purpose] for name, purpose in VERBS.items()],
        ),
    ]
    for name in VERBS:
        command = root().get_command(ctx, name)
        assert command is not None
        parts += _command(command, click.Context(command, parent=ctx, info_name=name), "##")
        for action, verb in command.commands.items() if isinstance(command, Actions) else ():
            parts += _command(
                verb,
                click.Context(
                    verb,
                    parent=click.Context(command, parent=ctx, info_name=name),
                    info_name=action,
                ),
                "###",
            )
    return "\n\n".join(parts) + "\n"


def _command(command: click.Command, ctx: click.Context, heading: str) -> Iterator[str]:
    """The heading, the help, examples, and tables of arguments and options."""
    yield f"{heading} {ctx.command_path}"
    yield inspect.cleandoc(command.help or "")
    shown = (
        command.default if isinstance(command, Actions) and command.default is not None else command
    )
    if isinstance(shown, Verb):
        yield "```sh\n" + "\n".join(shown.examples) + "\n```"
    arguments = [
        [_code(param.make_metavar(ctx)), _cell(param.own_help)]
        for param in shown.params
        if isinstance(param, Positional)
    ]
    if arguments:
        yield _table(["argument", "meaning"], arguments)
    sections: dict[str, list[list[str]]] = {"option": []}
    for param in shown.get_params(ctx):
        record = None if isinstance(param, Positional) else param.get_help_record(ctx)
        if record is not None and param.name not in ("help", "debug"):
            sections.setdefault(getattr(param, "section", None) or "option", []).append(
                [_code(record[0]), _cell(record[1])]
            )
    for title, rows in sections.items():
        if rows:
            yield _table([title, "meaning"], rows)


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`"


def _cell(text: str) -> str:
    """Text in a cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


# ---------------------------------------------------------------- configuration and errors


def configuration() -> str:
    """Keys of headwater.toml and environment variables."""
    parts = [CONFIGURATION.rstrip()]
    for name in SECTIONS:
        rows = [
            [f"`{key}`", _cell(flag.help or ""), f"`{flag.envvar or _variable(name, flag)}`"]
            for key, flag in section_options(name).items()
        ]
        parts += [
            f"### [{name}]",
            f"Options of [`headwater {name}`](cli.md#headwater-{name}).",
            _table(["key", "meaning", "variable"], rows),
        ]
    variables = [[f"`{name}`", _cell(meaning)] for name, meaning in _variables()]
    parts += ["## Environment variables", _table(["variable", "meaning"], variables)]
    parts.append(
        "Secrets of definitions, `hw.env(NAME)`, are read from variables of any name when a "
        "connection is opened. They are in no fingerprint, log or error message; examples keep "
        "the token of a service in `HEADWATER_TOKEN`. Variables of object stores are in "
        "[Tables](tables.md#object-stores)."
    )
    return "\n\n".join(parts) + "\n"


def _variable(section: str, flag: Flag) -> str:
    """The variable of an option of a section."""
    return f"HEADWATER_{section.upper()}_{(flag.name or '').upper()}"


def _variables() -> Iterator[tuple[str, str]]:
    """The variables that settings.py reads, each with the sentence of its function."""
    tree = ast.parse(Path(settings.__file__).read_text(encoding="utf-8"))
    for node in tree.body:
        doc = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        first = (doc or "").splitlines()[0] if doc else ""
        if match := re.search(r": .*?(HEADWATER_[A-Z_]+)", first):
            yield match[1], first.replace("; None where it is not set", "")


def error_classes() -> list[type]:
    """The errors and warnings of headwater, in the order of their module."""
    return [
        value
        for value in vars(errors).values()
        if inspect.isclass(value)
        and value.__module__ == errors.__name__
        and issubclass(value, Exception)
    ]


def error_page() -> str:
    """Every error class with its cause and its remedy."""
    tree = inspect.cleandoc(errors.__doc__ or "")
    drawn = tree[tree.index("HeadwaterError") : tree.index("\n\nA message")]
    rows = [
        [f"`{value.__name__}`", _cell(cause), _cell(remedy)]
        for value in error_classes()
        for cause, remedy in [_cause_and_remedy(value)]
    ]
    return (
        ERRORS
        + inspect.cleandoc(drawn)
        + "\n```\n\n"
        + _table(["class", "cause", "remedy"], rows)
        + "\n"
    )


def _cause_and_remedy(value: type) -> tuple[str, str]:
    doc = inspect.cleandoc(value.__doc__ or "")
    match = re.search(r"^Remedy: (.*?)(?:\n\n|\Z)", doc, re.MULTILINE | re.DOTALL)
    return doc.split("\n\n")[0], match[1] if match else ""


def changelog() -> str:
    """The changelog, as a page."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")


PAGES = {
    "reference.md": reference,
    "cli.md": command_line,
    "configuration.md": configuration,
    "errors.md": error_page,
    "changelog.md": changelog,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")
