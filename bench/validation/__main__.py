"""Run the validation, print its figures, and with --write make docs/validation.md of them.

python -m bench.validation [--only coverage leaks] [--part experiments] [--runs N] [--seeds
held-out] [--write] [--kept]
"""

from __future__ import annotations

import argparse
import json
import sys

from bench.measure import ROOT
from bench.validation.page import page, with_sections
from bench.validation.questions import GROUPS, PARTS, RUNS, SEEDS, Answer, Question, questions
from bench.validation.runner import PROCESSES, answered, code, kept_file, run

PAGE = ROOT / "docs" / "validation.md"


def main(arguments: list[str] | None = None) -> int:
    """Answer what has no answer yet; the page then has every group that was asked."""
    parser = argparse.ArgumentParser(
        "python -m bench.validation", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="groups of questions")
    parser.add_argument(
        "--part",
        choices=list(PARTS),
        help="the groups of one part; --write then leaves the other part's sections as they are",
    )
    parser.add_argument(
        "--runs",
        type=int,
        help=f"of each world (default: {', '.join(f'{name} {n}' for name, n in RUNS.items())})",
    )
    parser.add_argument(
        "--seeds",
        choices=list(SEEDS),
        default="held-out",
        help="tuning seeds are for choosing thresholds",
    )
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"write {PAGE.relative_to(ROOT)}; needs every group or a part, and held-out seeds",
    )
    parser.add_argument(
        "--kept",
        action="store_true",
        help="no new runs: the answers so far, each figure with its number of runs",
    )
    options = parser.parse_args(arguments)
    groups = options.only or (PARTS[options.part] if options.part else GROUPS)
    if options.write and (options.only or options.seeds != "held-out"):
        parser.error("--write needs every group, or a whole part, and held-out seeds")
    asked = [question for question in questions() if question.group in groups]
    runs = {group: options.runs or n for group, n in RUNS.items()}
    if not options.kept:
        run(asked, runs, options.seeds, options.processes)
    answers = {
        question.name: answered(question, options.seeds, runs[question.group]) for question in asked
    }
    earlier = {}
    for question in asked:
        if not answers[question.name]:
            answers[question.name], digest = answered_earlier(
                question, options.seeds, runs[question.group]
            )
            earlier |= {question.name: digest} if digest else {}
    text = page(asked, answers, options.seeds, earlier)
    if options.write:
        whole = (
            with_sections(PAGE.read_text(encoding="utf-8"), text, groups) if options.part else text
        )
        PAGE.write_text(whole, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)
    else:
        print(text)
    return 0


def answered_earlier(question: Question, seeds: str, runs: int) -> tuple[list[Answer], str]:
    """The kept answers of another version of the code, the last that answered this question, and
    its digest; none and "" without.
    """
    path, first = kept_file(question, seeds), SEEDS[seeds]
    records = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )
    others = [record["code"] for record in records if record["code"] != code(question.group)]
    if not others:
        return [], ""
    kept = {record["seed"]: record["answer"] for record in records if record["code"] == others[-1]}
    return [kept[seed] for seed in range(first, first + runs) if seed in kept], others[-1]


if __name__ == "__main__":
    sys.exit(main())
