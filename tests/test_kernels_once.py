"""Workers that need one kernel at the same time compile it once, and a later checkout of the same
sources takes it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest

from tests.kernels_once import keep_compiled, take_compiled

ROOT = Path(__file__).resolve().parents[1]

LOOPS = """
import numba as nb

@nb.njit(cache=True)
def inner(n):
    total = 0.0
    for i in range(n):
        total += i * 0.5
    return total

@nb.njit(cache=True)
def outer(n):
    return inner(n) + inner(n + 1)
"""

WORKER = """
import sys, threading
from pathlib import Path
sys.path[:0] = [{root!r}, {folder!r}]
from tests.kernels_once import share_compilation
share_compilation(Path({folder!r}) / "locks")
import loops
input()
threads = [threading.Thread(target=loop, args=(3,)) for loop in (loops.outer, loops.inner, loops.outer)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
print(loops.outer(3), sum(loops.outer.stats.cache_misses.values()), sum(loops.inner.stats.cache_misses.values()))
"""


@pytest.mark.slow
def test_two_workers_compile_a_kernel_once(tmp_path):
    (tmp_path / "loops.py").write_text(LOOPS, encoding="utf-8")
    code = dedent(WORKER.format(root=str(ROOT), folder=str(tmp_path)))
    command = [sys.executable, "-c", code]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=120)[0].split() for worker in workers]
    assert [value for value, *_ in answers] == ["4.5", "4.5"]
    assert [
        sum(int(missed) for missed in column) for column in list(zip(*answers, strict=True))[1:]
    ] == [1, 1]


def missed(root):
    """How often the kernels of a checkout were compiled by a process that calls one."""
    code = "import loops; loops.outer(3); print(sum(loops.outer.stats.cache_misses.values()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root / "src", capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
def test_another_checkout_takes_what_was_compiled_of_the_same_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    compiled = []
    for name, text in (("first", LOOPS), ("second", LOOPS), ("changed", LOOPS + "# more\n")):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src" / "loops.py").write_text(text, encoding="utf-8")
        began = take_compiled(tmp_path / name)
        compiled.append(missed(tmp_path / name))
        keep_compiled(tmp_path / name, began)
    assert compiled == [1, 0, 1]


@pytest.mark.slow
def test_what_was_compiled_while_sources_were_edited_is_not_kept(tmp_path, monkeypatch):
    """Also where they are in the end what they were."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = tmp_path / "here" / "src" / "loops.py"
    source.parent.mkdir(parents=True)
    source.write_text(LOOPS, encoding="utf-8")
    began = take_compiled(tmp_path / "here")
    missed(tmp_path / "here")
    source.write_text(LOOPS, encoding="utf-8")
    keep_compiled(tmp_path / "here", began)
    assert not list(tmp_path.glob("headwater-kernels-*"))


@pytest.mark.slow
def test_a_folder_that_others_can_write_to_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("first", "second"):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src" / "loops.py").write_text(LOOPS, encoding="utf-8")
    began = take_compiled(tmp_path / "first")
    missed(tmp_path / "first")
    keep_compiled(tmp_path / "first", began)
    (folder,) = tmp_path.glob("headwater-kernels-*")
    folder.chmod(0o777)
    take_compiled(tmp_path / "second")
    assert missed(tmp_path / "second") == 1
