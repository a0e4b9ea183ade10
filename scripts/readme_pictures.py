"""Take the pictures of the README, of its report and of the console, with the Chromium that is
installed.

    .venv/bin/headwater demo 2>&1 | tee build/demo.log
    .venv/bin/python -m scripts.readme_pictures build/demo.log

Runs the README's Python example, and the console as the demo's last line says.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.docs.pages import wait_for

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
ADDRESS = "127.0.0.1:8340"
MOST = 150_000  # bytes


def photograph(page: str, picture: Path, width: int = 1000, height: int = 900) -> None:
    """Write what a browser shows of a page.

    Raises:
        SystemExit: no Chromium, or the picture is too large.
    """
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        sys.exit("Chromium is not installed; install it with: apt install chromium")
    # Virtual time never ends for a page with live updates.
    wait = "--virtual-time-budget=5000" if page.startswith("file:") else "--timeout=5000"
    flags = [
        "--headless",
        "--no-sandbox",
        "--hide-scrollbars",
        wait,
        f"--window-size={width},{height}",
    ]
    subprocess.run(
        [browser, *flags, f"--screenshot={picture}", page], check=True, capture_output=True
    )
    if picture.stat().st_size > MOST:
        sys.exit(
            f"{picture} has {picture.stat().st_size:,} bytes; allowed: {MOST:,}. Use a smaller "
            "window"
        )


def report(folder: Path) -> None:
    """The report of the README's example."""
    (example,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    subprocess.run([sys.executable, "-c", example], cwd=folder, check=True)
    photograph(f"file://{folder}/report.html", PICTURES / "report.png", width=1440, height=900)


def console(log: Path) -> None:
    """The console over a run of the demo, once it knows how fresh the views are. log: what the demo
    printed.
    """
    (arguments,) = re.findall(
        r"^next: headwater (console .*)$", log.read_text(encoding="utf-8"), re.MULTILINE
    )
    command = [sys.executable, "-m", "headwater.cli", *shlex.split(arguments), "--listen", ADDRESS]
    with subprocess.Popen(command) as served:
        try:
            wait_for(f"http://{ADDRESS}/console")
            while any(
                word in httpx.get(f"http://{ADDRESS}/console").text
                for word in ("being read", "not summarised yet")
            ):
                time.sleep(1)
            photograph(
                f"http://{ADDRESS}/console", PICTURES / "console.png", width=1200, height=780
            )
        finally:
            served.terminate()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        report(Path(made).resolve())
    console(Path(sys.argv[1]))
