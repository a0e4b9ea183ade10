"""Engines on the job of `bench.kafka`, each in an environment of its own under build/engines, made
on demand.

The job in them: of a topic of JSON payments, count, sum and maximum by card in tiles of 10 seconds,
a minute and ten minutes, the hops of windows of ten minutes, an hour and a day. That is what
headwater keeps, without what it keeps it in: each engine's tiles stand in its own state, made
durable its own way, and nothing writes them where a server could read them, nor merges them into
windows. The rate is that of the difference of two sizes, so that no start counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measure import ROOT, Skipped, clean

BUILD = ROOT / "build" / "engines"
LIMIT = 90.0
_SHORT = 0.2  # seconds: a difference below tells nothing
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>headwater</groupId><artifactId>jars</artifactId>
<version>1</version><dependencies><dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency></dependencies></project>"""


@dataclass(frozen=True)
class Engine:
    """An engine as pip installs it, the jars that it reads Kafka with, the sizes that it is
    measured with, and what it does of the job.
    """

    title: str
    packages: tuple[str, ...]
    small: int
    large: int
    does: str
    jars: str = ""


ENGINES = {
    "bytewax": Engine(
        "Bytewax 0.21.1",
        ("bytewax==0.21.1", "confluent-kafka==2.16.1"),
        20_000,
        200_000,
        "state to SQLite each second",
    ),
    "quix": Engine(
        "Quix Streams 3.28.1",
        ("quixstreams==3.28.1",),
        20_000,
        100_000,
        "state in RocksDB, without changelogs",
    ),
    "pathway": Engine(
        "Pathway 0.33.0",
        ("pathway==0.33.0",),
        200_000,
        1_000_000,
        "static mode, one batch; what it read to files",
    ),
    "flink": Engine(
        "Flink 2.3.0",
        ("apache-flink==2.3.0",),
        200_000,
        1_000_000,
        "SQL, tumbling windows, RocksDB, a checkpoint each second",
        "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",
    ),
    "spark": Engine(
        "Spark 4.2.0",
        ("pyspark==4.2.0",),
        200_000,
        1_000_000,
        "Structured Streaming, RocksDB, a checkpoint each 250,000 events",
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
    ),
}


def measured(name: str, servers: str, topics: dict[int, str], shrink: float) -> dict:
    """Thousands of events a second of an engine, the seconds of its start, and the most memory that
    its processes held, in MB.

    Raises:
        Skipped: it cannot be installed, fails, or takes too long.
    """
    engine = ENGINES[name]
    python, jars = _installed(name, engine), _jars(name, engine.jars)
    runs = []
    for size in (engine.small, engine.large):
        events = max(int(size * shrink), 100)
        with tempfile.TemporaryDirectory() as folder:
            command = [
                python,
                str(ROOT / "bench" / "engines" / f"on_{name}.py"),
                servers,
                topics[size],
                str(events),
                folder,
                *jars,
            ]
            runs.append((events, *_watched(command)))
    (few, whole, _, short), (many, _, peak, long) = runs
    if long - short < _SHORT:
        raise Skipped(
            f"{engine.title}: {few:,} events took {short:.1f} s and {many:,} took {long:.1f} s, "
            "which tells nothing"
        )
    rate = (many - few) / (long - short)
    return {
        "rate": rate / 1000,
        "start": max(whole - few / rate, 0.0),
        "peak_mb": peak,
        "seconds": [short, long],
        "events": [few, many],
    }


def _watched(command: list[str]) -> tuple[float, float, float]:
    """Run a command in a session of its own.

    Gives its seconds, the most memory of all its processes in MB, looked at five times a second,
    and the seconds that it says its job took: where the engine tells them, a start that varies by
    seconds does not count; else all.
    """
    with tempfile.TemporaryFile("w+") as output:
        since, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=clean(),
            start_new_session=True,
        )
        while process.poll() is None and time.perf_counter() - since < LIMIT:
            peak = max(peak, _held(process.pid))
            time.sleep(0.2)
        seconds, done = time.perf_counter() - since, process.poll()
        if done is None:
            os.killpg(process.pid, 9)
            process.wait()
            raise Skipped(f"{Path(command[1]).stem}: not done after {LIMIT:.0f} s")
        output.seek(0)
        if done:
            raise Skipped(f"{Path(command[1]).stem} failed: {output.read().strip()[-300:]}")
        output.seek(0)
        last = (output.read().strip().splitlines() or [""])[-1]
    return seconds, peak, json.loads(last)["seconds"] if last.startswith('{"seconds"') else seconds


def _held(session: int) -> float:
    """Memory of the processes of a session, in MB; 0 where there is no /proc."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def _installed(name: str, engine: Engine) -> str:
    """Its interpreter."""
    folder = BUILD / name
    python, mark = folder / "bin" / "python", folder / " ".join((".has", *engine.packages))
    if not mark.exists():
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-q", *engine.packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Skipped(f"{engine.title} cannot be installed: {done.stderr.strip()[-300:]}")
        mark.touch()
    return str(python)


def _jars(name: str, artifact: str) -> list[str]:
    """The folder with what it reads Kafka with, if that is a jar."""
    if not artifact:
        return []
    folder = BUILD / "jars" / name
    if not (folder / ".complete").exists():
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / "pom.xml").write_text(
                _POM.format(*artifact.split(":")), encoding="utf-8"
            )
            command = [
                "mvn",
                "-q",
                "-B",
                "-f",
                f"{scratch}/pom.xml",
                "dependency:copy-dependencies",
                f"-DoutputDirectory={folder}",
            ]
            command += ["-DincludeScope=runtime"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError as error:
                raise Skipped(
                    f"{name}: mvn fetches its Kafka connector, and is not on PATH"
                ) from error
        if done.returncode:
            raise Skipped(f"{name}: mvn could not fetch {artifact}: {done.stdout.strip()[:300]}")
        (folder / ".complete").touch()
    return [str(folder)]
