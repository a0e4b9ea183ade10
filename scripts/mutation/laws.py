"""Runs of the laws: once unchanged, to learn what each runs, and once for each mutant."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from scripts.mutation.child import CLOCKS, Progress, start
from scripts.mutation.clone import Clone, digest
from scripts.mutation.drawing import Mutant

TOKEN = "LAWS_RUN"  # in the environment of every process of a run
TICK = 1 / os.sysconf("SC_CLK_TCK")
GRACE = 10.0  # seconds of a processor that any test may take beyond what it took
ALLOWANCE = 120.0  # seconds of a test, where programs that it starts compile changed kernels


@dataclass
class Outcome:
    """How a mutant ended: caught, timed out, survived, or not run: no law runs its function."""

    outcome: str
    test: str = ""
    seconds: float = 0.0  # of processors, without compiling
    compiled: float = 0.0
    tests: int = 0


@dataclass
class Law:
    """A test without a mutant: how it ended, its seconds, and the functions that it ran."""

    outcome: str
    busy: float
    clock: float
    functions: set[tuple[str, str]] = field(default_factory=set)

    @cached_property
    def files(self) -> set[str]:
        return {file for file, _ in self.functions}


class Laws:
    """The laws of a clone: files or folders of tests below it."""

    def __init__(self, clone: Clone, paths: Sequence[str]) -> None:
        self.clone, self.paths = clone, paths
        self.home = clone.folder / "home"
        self.laws: dict[str, Law] = {}
        self.without: set[str] = set()

    @property
    def digest(self) -> str:
        """Of the files of the laws, and what else lies next to them."""
        return digest(sorted(set(self._files()) | set(self._beside()))) + _form()

    # ------------------------------------------------------------ learning

    def learn(self) -> None:
        """Run each file of laws, unless neither it nor the code has changed; keep what it runs."""
        kept_at = self.clone.folder / "laws.json"
        kept = json.loads(kept_at.read_text()) if kept_at.exists() else {}
        code = digest([*(self.clone.tree / "src").rglob("*.py"), *self._beside()])
        for path in self._files():
            name = path.relative_to(self.clone.tree).as_posix()
            version = f"{code} {digest([path])}{_form()}"
            if kept.get(name, {}).get("version") != version:
                print(f"  learning what {name} runs", file=sys.stderr, flush=True)
                kept[name] = {"version": version, "tests": dict(self._learnt(name))}
                kept_at.write_text(json.dumps(kept))
            for test, law in kept[name]["tests"].items():
                functions = {tuple(function.split("\t")) for function in law["functions"]}
                self.laws[test] = Law(**law | {"functions": functions})
        self.without = {name for name, law in self.laws.items() if law.outcome == "failed"}

    def _learnt(self, name: str) -> Iterator[tuple[str, dict]]:
        trace = self._fresh() / "trace"
        trace.mkdir()
        progress = Progress(self.home / "progress", {}, (), trace)
        also = {"NUMBA_CACHE_DIR": str(self.clone.kernels), "LAWS_TRACE": str(trace)}
        also |= {"LAWS_SOURCES": str(self.clone.tree / "src")}
        with Run(self.clone.tree, [name], progress, also | self._environment()) as run:
            status = run.wait()
        if status not in {0, 1, 5}:
            raise SystemExit(f"the laws of {name} do not run, see {self.home / 'output.txt'}")
        for record in run.records():
            if "test" in record:
                file = trace / record["trace"]
                functions = set(file.read_text().splitlines()) if file.exists() else set()
                law = {key: record[key] for key in ("outcome", "busy", "clock")}
                yield record["test"], law | {"functions": sorted(functions)}

    # ------------------------------------------------------------ mutants

    def judge(self, mutant: Mutant, budget: float) -> Outcome:
        """Run the laws with a mutant until one fails or the budget is spent."""
        source = mutant.path.removeprefix("src/")
        order = self.order(mutant)
        with self.clone.changed(mutant) as compiles:
            if not compiles and self._never_runs(source, mutant.site.function):
                return Outcome("not run")
            self._fresh()
            progress = Progress(self.home / "progress", order, self.without)
            also = {"NUMBA_CACHE_DIR": str(self.clone.kernels), "PYTHONDONTWRITEBYTECODE": "1"}
            with Run(self.clone.tree, self.paths, progress, also | self._environment()) as run:
                return self._judged(run, budget, ALLOWANCE if compiles else 0.0)

    def order(self, mutant: Mutant) -> dict[str, int]:
        """The laws that run the function, its file, a file that imports it; quick ones first."""
        source, function = mutant.path.removeprefix("src/"), mutant.site.function
        callers = self.clone.callers(mutant.path)  # of a kernel, which nobody sees running
        importers = {name for path in callers for name in self.clone.importers(path)}
        near = {name.removeprefix("src/") for name in callers | importers}

        def distance(name: str) -> tuple[int, float]:
            law = self.laws[name]
            if (source, function) in law.functions and function != "<module>":
                return 0, law.clock
            far = 1 if source in law.files else 2 if law.files & near else 3
            return far, law.clock

        return {name: place for place, name in enumerate(sorted(self.laws, key=distance))}

    def _never_runs(self, source: str, function: str) -> bool:
        """Whether no law runs a function; where it is not a kernel, which cannot be seen
        running.
        """
        ran = any((source, function) in law.functions for law in self.laws.values())
        return not ran and not self._at_import(function)

    def _at_import(self, function: str) -> bool:
        """Whether the name is that of a module or a class, whose code runs when it is imported."""
        last = function.rpartition(".")[2]
        return last == "<module>" or last.lstrip("_")[:1].isupper()

    def _judged(self, run: Run, budget: float, allowance: float) -> Outcome:
        test, begun, result = "", run.spent(), None
        while (status := run.ended()) is None:
            time.sleep(0.2)
            spent = run.spent()
            if (latest := run.test()) != test:
                test, begun = latest, spent
            law = self.laws.get(test, Law("passed", 2.0, 2.0))
            busy, clock = spent[0] - begun[0], spent[1] - begun[1]
            limits = GRACE + 5 * law.busy, 6 * GRACE + 10 * law.clock
            if busy > limits[0] + allowance or clock > limits[1] + allowance:
                result = "timed out"
            elif spent[0] > budget + allowance or spent[1] > 5 * budget + allowance:
                result = "survived"
            if result is not None:
                break
        run.stop()
        seconds, compiled = round(run.spent()[0], 1), round(run.compiled()[0], 1)
        tests = [record for record in run.records() if "test" in record]
        if result is None:
            result = {0: "survived", 5: "survived"}.get(status, "caught")
            failed = [record["test"] for record in tests if record["outcome"] == "failed"]
            test = failed[0] if failed else test or "while tests are loaded"
        return Outcome(result, "" if result == "survived" else test, seconds, compiled, len(tests))

    # ------------------------------------------------------------ folders

    def _files(self) -> list[Path]:
        paths = [self.clone.tree / path for path in self.paths]
        return sorted({f for p in paths for f in (p.rglob("test_*.py") if p.is_dir() else [p])})

    def _beside(self) -> Iterable[Path]:
        folders = {path.parent for path in self._files()} | {self.clone.tree / "tests"}
        return [f for folder in folders for f in folder.glob("*.py") if not f.match("test_*.py")]

    def _fresh(self) -> Path:
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home / "tmp").mkdir(parents=True)
        return self.home

    def _environment(self) -> Mapping[str, str]:
        return {
            "HEADWATER_HOME": str(self.home / "headwater"),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.home / "hypothesis"),
            "TMPDIR": str(self.home / "tmp"),
            TOKEN: str(os.getpid()),
        }


class Run:
    """A process of the laws and all that it started."""

    def __init__(
        self,
        tree: Path,
        paths: Sequence[str],
        progress: Progress,
        also: Mapping[str, str],
    ) -> None:
        self.shared = mmap.mmap(-1, CLOCKS.size)
        self.progress, self.token = progress.path, f"{TOKEN}={also[TOKEN]}\0".encode()
        self.begun = time.monotonic()
        folder = str(progress.path.parent / "pytest")
        arguments = [*paths, "--hypothesis-seed=0", "--basetemp", folder]
        self.pid = start(tree, arguments, progress, self.shared, also)
        self.status: int | None = None
        self.busy = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def ended(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self) -> int:
        while self.ended() is None:
            time.sleep(0.2)
        return self.status

    def compiled(self) -> tuple[float, float]:
        """Seconds that the process has compiled: of a processor, and by the clock."""
        busy, clock, _, begun = CLOCKS.unpack(self.shared[: CLOCKS.size])
        now = time.monotonic() - begun if begun else 0.0
        return busy + now, clock + now

    def spent(self) -> tuple[float, float]:
        """Seconds of the laws alone: of processors, and by the clock."""
        busy, clock = self.compiled()
        self.busy = max(self.busy, sum(_seconds(pid) for pid in self._processes()))
        return self.busy - busy, time.monotonic() - self.begun - clock

    def records(self) -> list[dict]:
        if not self.progress.exists():
            return []
        return [json.loads(line) for line in self.progress.read_text().splitlines()]

    def test(self) -> str:
        """The test that runs."""
        return next((r["begins"] for r in reversed(self.records()) if "begins" in r), "")

    def stop(self) -> None:
        """End the process and what it left behind, each by its number."""
        if self.ended() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self) -> list[int]:
        """The processes of the session, and those whose environment names the run (Linux)."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                session = int((path / "stat").read_text().rpartition(")")[2].split()[3])
                if session == self.pid or self.token in (path / "environ").read_bytes():
                    found.append(int(path.name))
        return found


def _form() -> str:
    """Which tests run."""
    return os.environ.get("PYTEST_ADDOPTS", "")


def _seconds(pid: int) -> float:
    """Processor time of a process and of its children that have ended."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) * TICK
    return 0.0
