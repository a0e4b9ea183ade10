"""Run every verb of the command line on a project of a CSV and a parquet file, from init to a
served prediction.

python scripts/every_verb.py FOLDER      # an empty folder; headwater is what this python has
                                         installed
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

HEADWATER = [sys.executable, "-m", "headwater"]
WAIT = 120  # seconds in which a service must be ready


def data(folder):
    """A month of purchases up to now as CSV, and whether each request was followed by a claim as
    parquet.
    """
    import numpy as np
    import polars as pl

    random = np.random.default_rng(0)
    n, users, end = 6000, 30, datetime.now(UTC).replace(microsecond=0)
    ago = np.sort(random.uniform(0, 30 * 86400, n))[::-1]
    who = random.integers(0, users, n)
    pl.DataFrame(
        {
            "purchase_id": [f"p{i}" for i in range(n)],
            "user_id": [f"u{w:02}" for w in who],
            "amount": random.exponential(10, n).round(2),
            "bought_at": [(end - timedelta(seconds=s)).isoformat() for s in ago],
        }
    ).write_csv(folder / "purchases.csv")
    asked = np.sort(random.uniform(2 * 86400, 28 * 86400, n // 2))[::-1]
    asker = random.integers(0, users, n // 2)
    recent = np.array(
        [
            ((who == w) & (ago > a) & (ago < a + 86400)).sum()
            for w, a in zip(asker, asked, strict=True)
        ]
    )
    at = [end - timedelta(seconds=s) for s in asked]
    pl.DataFrame(
        {
            "user_id": [f"u{w:02}" for w in asker],
            "asked": at,
            "settled": [t + timedelta(hours=2) for t in at],
            "claimed": (random.uniform(0, 1, n // 2) < 0.1 + 0.06 * recent).astype(int),
        },
        schema_overrides={"asked": pl.Datetime("us", "UTC"), "settled": pl.Datetime("us", "UTC")},
    ).write_parquet(folder / "claims.parquet")


def run(folder, *arguments, code=0, says=""):
    """Run a command, and give its standard output; it must end with `code` and say something."""
    started = time.monotonic()
    done = subprocess.run(
        [*HEADWATER, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    print(f"{time.monotonic() - started:5.1f} s  headwater {' '.join(arguments)}", flush=True)
    if (
        done.returncode != code
        or says not in done.stdout + done.stderr
        or "Traceback" in done.stderr
    ):
        sys.exit(
            f"ended with {done.returncode}, not {code} and "
            f"{says!r}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    return done.stdout


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def post(url, body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def get(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read()


class Running:
    """A command that stays: it is ready when a request to it succeeds, and a signal ends it with
    0.
    """

    def __init__(self, folder, *arguments):
        print(f"         headwater {' '.join(arguments)}", flush=True)
        self.log = (folder / f"{arguments[0]}.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [*HEADWATER, *arguments],
            cwd=folder,
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
        )

    def answer(self, url, body=None):
        """What a POST of the body says, or a GET without one, once it succeeds."""
        end = time.monotonic() + WAIT
        while True:
            try:
                return get(url) if body is None else post(url, body)
            except (urllib.error.URLError, ConnectionError) as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    what = (
                        error.read().decode()
                        if isinstance(error, urllib.error.HTTPError)
                        else error
                    )
                    self.stop(check=False)
                    sys.exit(f"no answer from {url}: {what}\n{self.read()}")
                time.sleep(0.2)

    def read(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self, *, check=True):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(WAIT)
        if check and code:
            sys.exit(f"ended with {code}:\n{self.read()}")


def every_verb(folder):
    data(folder)
    run(
        folder,
        "init",
        "purchases.csv",
        "claims.parquet",
        "--request-time",
        "asked",
        "--known-at",
        "settled",
    )
    run(
        folder,
        "backtest",
        "--levels",
        "daily,instant",
        "--output",
        "report.html",
        says="report.html",
    )
    run(folder, "dataset", "--output", "rows.parquet")
    run(folder, "train", says="next: headwater")
    run(folder, "models", says="claimed")
    run(folder, "plan", says="next: headwater apply")
    run(folder, "apply", says="applied: version 1")
    made = json.loads(run(folder, "materialize", "--json"))
    assert sum(view["keys_written"] for view in made["views"]) > 0, made
    port = free_port()
    ingesting = Running(folder, "ingest", "--listen", f"127.0.0.1:{port}")
    event = {
        "purchase_id": "new",
        "user_id": "u01",
        "amount": 5.0,
        "bought_at": datetime.now(UTC).isoformat(),
    }
    print(
        "         event:",
        ingesting.answer(f"http://127.0.0.1:{port}/v1/events/events", [event]),
        flush=True,
    )
    ingesting.stop()
    run(folder, "status")
    run(folder, "parity")
    run(folder, "explain", "user_id__count_1d", "user_id=u01")
    run(folder, "assess", "readiness")
    run(folder, "assess", "cost")
    run(folder, "assess", "interview", "--write-questions", "interview.toml")
    run(folder, "assess", "--no-attribution", "--refits", "0", says="assess.html")
    run(folder, "store", "compact", "--yes")
    run(folder, "store", "backup", "backup")
    run(folder, "token", "list")
    run(folder, "runs", says="backtest")
    run(folder, "doctor", says="claimed")
    run(folder, "demo", "--no-live", code=1, says="headwater[demo]")
    port = free_port()
    serving = Running(folder, "serve", "--listen", f"127.0.0.1:{port}")
    answer = serving.answer(
        f"http://127.0.0.1:{port}/v1/predict/claimed_model",
        {"row": {"user_id": "u01", "asked": datetime.now(UTC).isoformat()}},
    )
    print("         prediction:", json.dumps(answer)[:200], flush=True)
    serving.stop()
    port = free_port()
    console = Running(folder, "console", "--listen", f"127.0.0.1:{port}")
    for page in (
        "",
        "/decide",
        "/features",
        "/lineage",
        "/freshness",
        "/serving",
        "/models",
        "/experiments",
    ):
        console.answer(f"http://127.0.0.1:{port}/console{page}")
    console.stop()

    path = folder / "features.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("stream=hw.push()", 'stream=hw.appended("new/*.jsonl")', 1), encoding="utf-8"
    )
    run(folder, "apply", "--allow-breaking", says="stream")
    (folder / "new").mkdir()
    (folder / "new" / "one.jsonl").write_text(
        json.dumps(event | {"purchase_id": "newer"}) + "\n", encoding="utf-8"
    )
    run(folder, "ingest", "--once", says="1 accepted")


if __name__ == "__main__":
    os.environ["PYTHONUTF8"] = "1"
    every_verb(Path(sys.argv[1]).resolve())
    print("every verb runs")
