"""Code blocks of the documentation, found in Markdown and run in order, each page in a folder of
its own.

    ```python                                  runs in one namespace for the page
    ```sh                                      runs in bash, with the headwater of this environment
    ```python title="features.py"              any language: is written to this file
    <!-- background: http://127.0.0.1:8320 --> the block after it runs until the page ends; the next one starts once the address responds
    <!-- output -->                            the text block after it is what the block before printed, up to numbers; `...` is anything
    <!-- not run: REASON -->                   the block after it does not run

`python -m tests.docs.pages PAGE` runs a page and writes what its blocks printed into it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
PRELUDES = Path(__file__).with_name("preludes")
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"<!-- (?P<word>not run|background|output)(?:: (?P<value>[^>]*?))? -->\n+ *\Z")
# of `serve`, `ingest` and `mcp`: in tests any free port
_PORTS = ("127.0.0.1:8320", "127.0.0.1:8321", "127.0.0.1:8340")
_NUMBER = re.compile(r"[-+−]?\.?\d[\d,.:]*|[─━]+")
SECONDS = 600  # longest time of a command, and of a service until it responds


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its first line of text. start, end: of its text in the page."""

    line: int
    language: str
    title: str | None
    text: str
    mark: str | None
    value: str
    start: int
    end: int

    @property
    def runs(self) -> bool:
        """Whether it is a program or a file."""
        return self.title is not None or self.language in ("python", "sh")


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page.

    >>> [
    ...     (block.language, block.mark, block.value)
    ...     for block in blocks("<!-- not run: pays -->\\n```sh\\nbuy\\n```\\n")
    ... ]
    [('sh', 'not run', 'pays')]
    """
    found = []
    for match in _FENCE.finditer(text):
        mark = _MARK.search(text[: match.start()])
        code = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text[: match.start("text")].count("\n") + 1
        word, value = (mark["word"], mark["value"] or "") if mark else (None, "")
        found.append(
            Block(
                line,
                match["language"],
                match["title"],
                code,
                word,
                value,
                match.start("text"),
                match.end("text"),
            )
        )
    return found


def same(expected: str, printed: str) -> bool:
    """Whether this was printed, up to numbers and spaces; `...` is anything.

    >>> same("took 3 s ... done", "took  41.5 s\\nand was done"), same("took 3 s", "took 3 h")
    (True, False)
    >>> same("the end.\\n...\\nnext", "the end.\\nfoo\\nnext")
    True
    """
    wanted, got = (
        [_plain(part) for part in re.split(r"(?<!\.)\.\.\.(?!\.)", expected)],
        _plain(printed),
    )
    return re.fullmatch(".*?".join(map(re.escape, wanted)), got, re.DOTALL) is not None


def _plain(text: str) -> str:
    """Text without spaces, and with # for each number and line of a table."""
    return "".join(_NUMBER.sub("#", text).split())


def wait_for(address: str, lives: Callable[[], bool] = lambda: True) -> None:
    """Return once the address responds, and not that it is not ready."""

    def responds() -> bool:
        if not lives():
            raise AssertionError(f"the process of {address} has ended")
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except urllib.error.HTTPError as error:
            return error.code != HTTPStatus.SERVICE_UNAVAILABLE
        except OSError:
            return False
        return True

    until(responds, address, seconds=SECONDS)


def prelude(page: Path) -> Path:
    """The program before the first block of a page, if it has one."""
    return PRELUDES / f"{page.stem.lower()}.py"


class Runner:
    """Runs the blocks of a page in a folder."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.services: list[subprocess.Popen[bytes]] = []
        self.ports = {}
        for place in _PORTS:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.ports[place] = f"127.0.0.1:{free.getsockname()[1]}"
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")
        }
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HEADWATER_SERVE_LISTEN": self.ports[_PORTS[0]],
            "HEADWATER_INGEST_LISTEN": self.ports[_PORTS[1]],
            "COLUMNS": "100",
            "NO_COLOR": "1",
        }

    def run(self) -> Iterator[tuple[Block, str]]:
        """Each output block with what was printed before it.

        Raises:
            AssertionError: a block failed; the message has its output.
        """
        before = prelude(self.page)
        try:
            if before.exists():
                self._python(before.read_text(encoding="utf-8"), str(before), 1)
            printed = ""
            for block in blocks(self.page.read_text(encoding="utf-8")):
                if block.mark == "output":
                    yield block, printed
                elif block.mark != "not run" and block.runs:
                    printed = self._block(block)
        finally:
            for service in self.services:
                os.killpg(service.pid, signal.SIGTERM)
            for service in self.services:
                service.wait(SECONDS)

    def _block(self, block: Block) -> str:
        text = block.text
        if block.title is not None:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return ""
        for place, free in self.ports.items():
            text = text.replace(place, free)
        if block.language == "python":
            return self._python(text, self.page.name, block.line)
        if block.mark == "background":
            return self._service(text, block)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{self.page.name}:{block.line}\n{done.stdout}"
        return self._shown(done.stdout)

    def _python(self, text: str, name: str, line: int) -> str:
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * (line - 1) + text, name, "exec"), self.names)
        return self._shown(printed.getvalue())

    def _service(self, text: str, block: Block) -> str:
        log = self.folder / f"service-{block.line}.log"
        with log.open("wb") as out:
            command = ["bash", "-c", f"exec {text.strip()}"]
            started = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.services.append(started)
        address = block.value
        for place, free in self.ports.items():
            address = address.replace(place, free)
        try:
            wait_for(address, lambda: started.poll() is None)
        except TimeoutError as error:
            raise AssertionError(
                f"{self.page.name}:{block.line}: {error}\n{log.read_text(encoding='utf-8')}"
            ) from error
        return self._shown(log.read_text(encoding="utf-8"))

    def _shown(self, text: str) -> str:
        """What a reader sees: with the usual addresses, and without this folder."""
        for place, free in self.ports.items():
            text = text.replace(free, place)
        return text.replace(f"{self.folder}/", "").replace(str(self.folder), ".")


def rewrite(page: Path) -> None:
    """Run a page, and write what its blocks printed into it."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for block, printed in reversed(list(Runner(page, Path(folder).resolve()).run())):
            if not same(block.text, printed):
                text = text[: block.start] + printed.rstrip("\n") + "\n" + text[block.end :]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        rewrite(Path(argument).resolve())
