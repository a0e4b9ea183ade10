"""How many small faults of src the laws of tests/laws find, all other tests aside.

    python -m scripts.mutants [--servers] [--count 120] [--seed 1] [--folders kernel state]

Each mutant is one change of one file (scripts/mutation/operators.py), drawn by a seed in such a way
that two versions of the code are measured alike (scripts/mutation/drawing.py). It runs in
build/mutants, a copy of the checkout. The laws run in the order in which they are likely to notice,
until one fails or 90 seconds of a processor are spent; what numba compiles is not counted. A test
that takes far longer than without the mutant has caught it. Outcomes are lines of
build/mutants/outcomes.jsonl: a run that was stopped goes on, and an outcome stands as long as the
file it changed does. With --servers the laws of servers run, too, on servers started once
(scripts/mutation/servers.py), whose processor time is not counted. A mutant that changes no answer
is argued in scripts/equivalent_mutants.toml, and another one is drawn.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from scripts.mutation.clone import Clone, digest
from scripts.mutation.drawing import Mutant, draw, equivalent, folders, mutants
from scripts.mutation.laws import Laws
from scripts.mutation.servers import servers

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = (
    *(
        "numpy",
        "scipy.stats",
        "scipy.special",
        "numba",
        "numba.core.typing",
        "polars",
        "lmdb",
        "msgspec",
    ),
    *("httpx", "jinja2", "click", "rich", "pytest", "hypothesis", "sqlalchemy", "redis", "psycopg"),
    *("starlette", "uvicorn", "uvloop", "asyncio", "concurrent.futures", "http.client", "zoneinfo"),
)
"""Loaded once, by the process that all others are forked from; none starts a thread of Python."""
FOUND = ("caught", "timed out")
COLUMNS = ("caught", "timed out", "survived", "not run")


class Outcomes:
    """The lines of a file: of each mutant the latest counts, if the file it changes is the same."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.latest: dict[tuple[str, str], dict] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            with suppress(json.JSONDecodeError):  # a line that was not written to its end
                record = json.loads(line)
                self.latest[record["mutant"], record["file"]] = record

    def of(self, mutant: Mutant, file: str) -> dict | None:
        return self.latest.get((mutant.key, file))

    def add(self, record: dict) -> None:
        self.latest[record["mutant"], record["file"]] = record
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n")


def run(
    chosen: Sequence[Mutant],
    laws: Laws,
    outcomes: Outcomes,
    budget: float,
    *,
    again: bool,
) -> None:
    """Judge the mutants without an outcome; `again` also those that fewer laws did not find."""
    version = laws.digest
    quick_first = sorted(enumerate(chosen, 1), key=lambda one: bool(laws.clone.outdated(one[1])))
    for number, mutant in quick_first:
        file = digest([laws.clone.tree / mutant.path])
        known = outcomes.of(mutant, file)
        tried = known and known["laws"] == version and known.get("budget", budget) >= budget
        if known and (known["outcome"] in FOUND or not again or tried):
            continue
        print(f"{number}/{len(chosen)} {mutant.text()}", flush=True)
        found = laws.judge(mutant, budget)
        print(
            f"    {found.outcome} {found.test} ({found.seconds:.0f} s, {found.tests} tests)",
            flush=True,
        )
        record = {"mutant": mutant.key, "file": file, "laws": version, "folder": mutant.folder}
        outcomes.add({**record, "budget": budget, "text": mutant.text(), **asdict(found)})


def report(
    chosen: Iterable[Mutant],
    every: Iterable[Mutant],
    tree: Path,
    outcomes: Outcomes,
    equal: Mapping[str, str],
) -> tuple[str, float]:
    """The table by folder with the mutants that no law found, and the share that some law found."""
    counts: dict[str, Counter[str]] = {}
    silent, found, judged = [], 0, 0
    for mutant in chosen:
        count = counts.setdefault(mutant.folder, Counter())
        count["drawn"] += 1
        if (known := outcomes.of(mutant, digest([tree / mutant.path]))) is None:
            continue
        count[known["outcome"]] += 1
        judged += 1
        found += known["outcome"] in FOUND
        if known["outcome"] not in FOUND:
            silent.append(f"  {known['outcome']:9}{mutant.text()}")
    for mutant in every:
        if mutant.key in equal:
            counts.setdefault(mutant.folder, Counter())["equivalent"] += 1
    titles = ("drawn", *COLUMNS, "equivalent")
    lines = [f"{'folder':15}" + "".join(f"{title:>11}" for title in titles)]
    total: Counter[str] = Counter()
    for count in counts.values():
        total.update(count)
    for folder, count in [*counts.items(), ("all", total)]:
        lines.append(f"{folder:15}" + "".join(f"{count[title]:>11}" for title in titles))
    share = found / judged if judged else 0.0
    lines += [f"{found} of {judged} found: {share:.1%}", *sorted(silent)]
    return "\n".join(lines), share


def main(arguments: Sequence[str] | None = None, libraries: Iterable[str] = LIBRARIES) -> int:
    """Run what is to be run and print the report; 1 if too few are found."""
    options = _parsed(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the laws that run, too
    every = mutants(options.checkout, options.folders or folders(options.checkout), options.without)
    equal = equivalent(options.checkout / "scripts" / "equivalent_mutants.toml")
    if options.show:
        return _show(options.checkout, every, options.show)
    chosen = draw(options.checkout, every, options.seed, options.count, equal)
    if options.list:
        print("\n".join(mutant.text() for mutant in chosen))
        return 0
    clone = Clone(options.checkout, options.folder)
    clone.update()
    outcomes = Outcomes(options.folder / "outcomes.jsonl")
    if not options.report:
        for name in libraries:
            with suppress(ImportError):
                importlib.import_module(name)
        with _services(options) as environment:
            os.environ.update(environment)
            laws = Laws(clone, options.laws)
            laws.learn()
            if len(laws.laws) == len(laws.without):
                sys.exit("no law passes without a mutant, so none can tell; see above")
            for name in sorted(laws.without):
                print(f"  left out, fails without a mutant: {name}", file=sys.stderr)
            run(chosen, laws, outcomes, options.seconds, again=options.again)
    text, share = report(chosen, every, clone.tree, outcomes, equal)
    print(text)
    return int(share < options.least / 100)


@contextmanager
def _services(options: argparse.Namespace) -> Iterator[Mapping[str, str]]:
    """What tells the laws to use servers, and where those are."""
    if not options.servers:
        yield {}
        return
    with servers(options.checkout, options.folder / "servers") as addresses:
        yield {"PYTEST_ADDOPTS": "-m 'not slow'", "HEADWATER_SERVICES": addresses}


def _show(checkout: Path, every: Iterable[Mutant], key: str) -> int:
    import difflib

    for mutant in every:
        if mutant.key == key:
            source = (checkout / mutant.path).read_bytes()
            sides = (text.decode().splitlines() for text in (source, mutant.site.applied(source)))
            print("\n".join(difflib.unified_diff(*sides, mutant.path, mutant.key, lineterm="")))
            return 0
    print(f"no mutant of these folders is {key}", file=sys.stderr)
    return 2


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.mutants", description=about)
    option = parser.add_argument
    option("--folders", nargs="+", default=[], help="of src/headwater; by default, all")
    option("--without", nargs="+", default=[], metavar="PATH", help="such as engine/spark")
    option("--count", type=int, default=120, help="shared among the folders by their size")
    option("--seed", type=int, default=1)
    option("--seconds", type=float, default=90, help="of a processor, for each mutant")
    option("--least", type=float, default=90, help="per cent to be found; else it ends with 1")
    option("--servers", action="store_true", help="also the laws of servers, which are started")
    option("--again", action="store_true", help="also survivors, by other laws or more seconds")
    option("--report", action="store_true", help="only the report of what was run")
    option("--list", action="store_true", help="only the mutants that are drawn")
    option("--show", metavar="MUTANT", help="only the change of this one")
    option("--laws", nargs="+", default=["tests/laws"], metavar="PATH", help="other tests instead")
    option("--checkout", type=Path, default=ROOT, help="whose src and tests are copied")
    option("--folder", type=Path, default=ROOT / "build" / "mutants", help="of copy and outcomes")
    options = parser.parse_args(arguments)
    options.checkout, options.folder = options.checkout.resolve(), options.folder.resolve()
    wanted = [*(f"src/headwater/{folder}" for folder in options.folders or ["."]), *options.laws]
    if missing := [path for path in wanted if not (options.checkout / path).exists()]:
        parser.error(f"{options.checkout} has no {', '.join(missing)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
