"""The servers that laws ask for, started once for all mutants: a law's time is spent on the law.

    python -m scripts.mutation.servers FOLDER

prints their addresses as JSON, by fixture of tests/conftest.py, and ends when its input does.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def servers(checkout: Path, folder: Path) -> Iterator[str]:
    """A process with the servers, so that none of headwater is loaded here; their addresses."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "scripts.mutation.servers", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=checkout, **pipes) as process:
        addresses = process.stdout.readline()
        if not addresses:
            sys.exit(f"the servers of the laws do not start, see above and {folder}")
        try:
            yield addresses
        finally:
            process.stdin.close()


def main(folder: Path) -> None:
    """Start every server whose program is installed; a law that needs another one is skipped."""
    import pytest

    from tests.ingestion.kafka.conftest import broker_of
    from tests.stores.emulators import emulating
    from tests.stores.servers import clustered, serving, serving_postgres

    started = {
        "redis_url": (lambda: serving(folder / "redis"), lambda made: made.url),
        "cluster_url": (
            lambda: clustered(folder / "cluster"),
            lambda made: f"redis+cluster://127.0.0.1:{made[0].port}",
        ),
        "postgres_url": (serving_postgres, lambda made: f"{made.address}/postgres"),
        "broker": (lambda: broker_of(folder / "kafka"), lambda made: made.servers),
        "aws_url": (lambda: emulating(folder / "aws"), lambda made: made),
    }
    addresses = {}
    with ExitStack() as stack:
        for name, (start, address) in started.items():
            try:
                addresses[name] = address(stack.enter_context(start()))
            except pytest.skip.Exception as missing:
                print(f"  without {name}: {missing}", file=sys.stderr)
        print(json.dumps(addresses), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
