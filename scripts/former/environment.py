"""An environment with the wheel of a commit, below build/former, and the libraries of this one.

The libraries are shared on purpose: what differs is headwater's doing, and nothing is downloaded
but what builds the wheel.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMIT = Path(__file__).with_name("commit")


def default_commit() -> str:
    """The commit that the file `commit` names."""
    return COMMIT.read_text(encoding="utf-8").strip()


def built(commit: str, folder: Path = ROOT / "build" / "former") -> Path:
    """The interpreter of an environment in which the wheel of a commit is installed; made once."""
    found = _git("rev-parse", "--verify", f"{commit}^{{commit}}").decode().strip()
    place = folder / found[:12]
    python = place / "venv" / "bin" / "python"
    if not (place / "done").exists():
        print(f"  building the wheel of {found[:12]}", file=sys.stderr, flush=True)
        _build(found, place)
        (place / "done").touch()
    return python


def _build(commit: str, place: Path) -> None:
    source, environment = place / "source", place / "venv"
    source.mkdir(parents=True, exist_ok=True)
    archive = _git("archive", commit, "src", "pyproject.toml", "README.md", "LICENSE")
    subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", place / "wheels", source], check=True)
    (wheel,) = (place / "wheels").glob("headwater-*.whl")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--force-reinstall", wheel], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout
