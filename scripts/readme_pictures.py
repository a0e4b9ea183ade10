"""Take the picture of the README's report: .venv/bin/python scripts/readme_pictures.py

Runs the README's Python example and photographs the report that it writes, with the Chromium that is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "report.png"
MOST = 150_000  # bytes


def photograph(page: str, picture: Path, width: int = 1000, height: int = 900) -> None:
    """Write what a browser shows of a page.

    Raises:
        SystemExit: there is no Chromium, or the picture is too large.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is not installed; install it with: apt install chromium")
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=5000", f"--window-size={width},{height}"]
    subprocess.run([browser, *flags, f"--screenshot={picture}", page], check=True, capture_output=True)
    if picture.stat().st_size > MOST:
        sys.exit(f"{picture} has {picture.stat().st_size:,} bytes; allowed: {MOST:,}. Use a smaller window")


if __name__ == "__main__":
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", example], cwd=folder, check=True)
        photograph(f"file://{folder}/report.html", PICTURE)
