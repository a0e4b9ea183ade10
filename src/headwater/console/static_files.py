"""Style sheets and scripts. The console loads no others."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from headwater.pages.rendering import part

_FOLDER: Final = Path(__file__).with_name("static")
_CSS, _JS = "text/css; charset=utf-8", "text/javascript; charset=utf-8"


@dataclass(frozen=True)
class StaticFile:
    """A file in the form in which it is sent.

    packed: its bytes, by gzip. digest: of its content, in its URL, so that browsers keep it for a
    year.
    """

    media: str
    packed: bytes
    digest: str


_SOURCES: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "page.css": (_CSS, lambda: part("page.css")),
    "console.css": (_CSS, lambda: (_FOLDER / "console.css").read_text(encoding="utf-8")),
    "console.js": (_JS, lambda: (_FOLDER / "console.js").read_text(encoding="utf-8")),
}
"""By name, the media type and the content. page.css is that of the reports."""


@cache
def static_file(name: str) -> StaticFile | None:
    """A file by its name; None where there is none."""
    if name not in _SOURCES:
        return None
    media, read = _SOURCES[name]
    content = read().encode()
    return StaticFile(
        media, gzip.compress(content, 6, mtime=0), hashlib.sha256(content).hexdigest()[:16]
    )


def static_url(name: str) -> str:
    """The URL of a file, for templates."""
    file = static_file(name)
    assert file is not None, f"no static file {name}"
    return f"/console/static/{name}?{file.digest}"
