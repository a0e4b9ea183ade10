"""Many runs of many questions, by two processes. Answers are kept, a line each, so that an
interrupted validation goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.measure import ROOT
from bench.validation.questions import PARTS, SEEDS, Answer, Question, questions

PROCESSES = 2
KEPT = ROOT / "build" / "validation"


def answered(question: Question, seeds: str, runs: int) -> list[Answer]:
    """The kept answers of a question's first runs, by seed."""
    path, first = kept_file(question, seeds), SEEDS[seeds]
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = {}
    for line in lines:
        record = json.loads(line)
        if record["code"] == code(question.group):
            kept[record["seed"]] = record["answer"]
    return [kept[seed] for seed in range(first, first + runs) if seed in kept]


def run(
    asked: Sequence[Question],
    runs: dict[str, int],
    seeds: str = "held-out",
    processes: int = PROCESSES,
) -> None:
    """Answer what has no answer yet. `runs` is by group."""
    KEPT.mkdir(parents=True, exist_ok=True)
    first, names = SEEDS[seeds], {question.name: question for question in asked}
    pending = []
    for question in asked:
        have = _seeds(question, seeds)
        pending += [
            (question.name, seed)
            for seed in range(first, first + runs[question.group])
            if seed not in have
        ]
    # an interrupted validation has about as many runs of each world
    pending.sort(key=lambda asked: asked[1])
    began = time.perf_counter()
    for number, (name, seed, answer) in enumerate(_answers(pending, processes), 1):
        record = {"seed": seed, "code": code(names[name].group), "answer": answer}
        with kept_file(names[name], seeds).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if number % 500 == 0 or number == len(pending):
            print(
                f"{number:,} of {len(pending):,} runs, {time.perf_counter() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )


def _answers(
    pending: Sequence[tuple[str, int]], processes: int
) -> Iterable[tuple[str, int, Answer]]:
    if processes == 1 or len(pending) < 4:
        yield from map(_answer, pending)
        return
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_one_thread) as pool:
        yield from pool.imap_unordered(_answer, pending, chunksize=8)


def _one_thread() -> None:
    """Before polars is loaded: two processes share the machine."""
    for name in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def _answer(pending: tuple[str, int]) -> tuple[str, int, Answer]:
    name, seed = pending
    question = next(question for question in questions() if question.name == name)
    return name, seed, _plain(question.ask(seed))


def _plain(answer: Answer) -> Answer:
    """JSON has no NaN: None stands for it."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, float):
            return None if math.isnan(value) else round(value, 6)
        return value

    return {key: plain(value) for key, value in answer.items()}


def _seeds(question: Question, seeds: str) -> set[int]:
    path = kept_file(question, seeds)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {
        record["seed"]
        for record in map(json.loads, lines)
        if record["code"] == code(question.group)
    }


def kept_file(question: Question, seeds: str) -> Path:
    """Where the answers of a question are kept."""
    slug = "".join(c if c.isalnum() else "-" for c in question.name)
    return KEPT / f"{seeds}-{slug}.jsonl"


_CODE: dict[str, str] = {}
_JUDGING: Mapping[str, tuple[str, ...]] = {
    "backtests": (
        "aggregations",
        "backtesting",
        "connectors",
        "definitions",
        "engine",
        "events",
        "kernel",
        "metrics",
        "models",
        "reports",
        "results",
        "testing",
        "training",
    ),
    "experiments": (),
}
_STATISTICS = (
    "arm_moments",
    "cluster_analysis",
    "cluster_lift",
    "confidence_sequence",
    "exposed_units",
    "group_sequential",
    "health",
    "history_split",
    "history_sums",
    "outcome_checks",
    "relative_lift",
    "sample_ratio",
    "switchback_analysis",
    "switchback_lift",
    "team_draft",
)
"""Modules of `headwater.experiments` that are validated, besides the worlds."""


def code(group: str) -> str:
    """What a group's answers depend on: a digest of the modules that judge and that make worlds.
    The page uses answers of other code for worlds without any of this one, and names them.
    """
    part = next(name for name, groups in PARTS.items() if group in groups)
    if part not in _CODE:
        folders = ["bench/validation", *(f"src/headwater/{name}" for name in _JUDGING[part])]
        files = [
            file
            for folder in folders
            for file in (ROOT / folder).rglob("*.py")
            if _judges(file, part)
        ]
        statistics = [
            ROOT / "src" / "headwater" / "experiments" / f"{name}.py" for name in _STATISTICS
        ]
        more = [ROOT / "scripts" / "equal_levels.py"] if part == "backtests" else statistics
        _CODE[part] = hashlib.sha256(
            b"".join(file.read_bytes() for file in sorted([*files, *more]))
        ).hexdigest()[:12]
    return _CODE[part]


def _judges(file: Path, part: str) -> bool:
    """Whether answers depend on it: what in bench/validation has a name that begins with
    `experiment` is of experiments alone.
    """
    folder, _, *names = file.relative_to(ROOT).parts
    if folder != "bench":
        return True
    if part == "experiments":
        return names[0].startswith("experiment_") and file.name != "experiment_page.py"
    return not names[0].startswith("experiment_") and file.name not in (
        "page.py",
        "page_text.py",
        "__main__.py",
    )
