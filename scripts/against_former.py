"""The answers of this checkout and those of a former version, equal to the bit or named.

    python -m scripts.against_former [--commit REVISION] [--seed 1] [--events 2000] [--kills 3]

The wheel of the former commit (scripts/former/commit names one) is built into build/former. Both
versions read the same log of events by the same definitions (scripts/former/features.py), each in
processes of its own: features of a table at five levels, `headwater ingest` with kill -9 and copies
sent again, materialize, train, parity, and requests over HTTP. A difference is an error, unless
scripts/former/meant.toml names it with a reason. Which events a commit has depends on the time, so
that file also names what is rounded where the states of commits are merged.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from scripts.former import environment
from scripts.former.differences import MEANT, differences, judged, meant, rounding
from scripts.former.log import Log, now
from scripts.former.roads import Side, all_roads, offline

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 3  # differences of each file of answers


def compare(former: Path, present: Path, meant_by: Path = MEANT) -> int:
    """Print what differs between two folders of answers; 1 if any of it is not meant."""
    found = list(differences(former, present, rounding(meant_by)))
    reasons = meant(meant_by)
    rest, counts, unused = judged(found, reasons)
    for pattern, count in counts.items():
        print(f"  meant, {count} answers: {pattern}: {reasons[pattern]}")
    for pattern in unused:
        print(f"  nothing differs that {meant_by.name} names {pattern}; take it out")
    for name, several in groupby(rest, key=lambda difference: difference.answer.split("/")[0]):
        first, *others = several
        for difference in (first, *others[: SHOWN - 1]):
            print(f"  {difference.answer}: {difference.text}")
        if len(others) >= SHOWN:
            print(f"  {name}: {len(others) + 1 - SHOWN} more differences")
    answers = sum(1 for _ in present.iterdir())
    print(f"{answers} files of answers, {len(rest)} differences that are not meant")
    return int(bool(rest or unused))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both versions and compare; 1 if an answer differs."""
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.against_former", description=about)
    option = parser.add_argument
    option("--commit", default=environment.default_commit(), help="the former version")
    option("--python", type=Path, help="an interpreter that has the former version already")
    option("--path", default=str(ROOT / "src"), help="the sources of this version")
    option("--offline", action="store_true", help="features of a table alone, which is quick")
    option("--seed", type=int, default=1)
    option("--events", type=int, default=2000)
    option("--kills", type=int, default=3)
    option("--folder", type=Path, default=ROOT / "build" / "former" / "run")
    options = parser.parse_args(arguments)
    python = options.python or environment.built(options.commit)
    folder = options.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    log = Log(folder / "data", options.seed, options.events, now())
    sides = [
        Side("former", python, folder / "former"),
        Side("this", Path(sys.executable), folder / "this", options.path),
    ]
    for side in sides:
        if options.offline:
            offline(side)
        else:
            all_roads(side, log, options.seed, options.kills)
    return compare(*(side.answers for side in sides))


if __name__ == "__main__":
    sys.exit(main())
