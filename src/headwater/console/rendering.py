"""Templates of the console to HTML, with autoescape; a name that a page does not give is an
error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headwater import clock
from headwater.console.static_files import static_url
from headwater.pages import wording
from headwater.pages.rendering import new_environment

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES: Final = Path(__file__).with_name("templates")


def render_console(template: str, **values: object) -> str:
    """A template of the folder `templates`."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = new_environment(_TEMPLATES)
    environment.globals["static"] = static_url
    environment.filters |= {
        "duration": wording.duration,
        "count": wording.count,
        "time": time,
        "ago": ago,
    }
    return environment


def time(moment: int | str | None) -> str:
    """Microseconds since 1970 UTC, or ISO 8601, as people read it.

    >>> time("2026-03-12T14:15:02.123456+00:00"), time(0), time(None)
    ('2026-03-12 14:15 UTC', '1970-01-01 00:00 UTC', '')
    """
    if moment is None or moment == "":
        return ""
    text = clock.timestamp(moment).isoformat() if isinstance(moment, int) else moment
    return f"{text[:10]} {text[11:16]} UTC"


def ago(moment: int | None) -> str:
    """How long ago a time was, in words; microseconds since 1970 UTC."""
    if moment is None:
        return ""
    seconds = (clock.now_micros() - moment) / 1e6
    return "just now" if seconds < 2 else f"{wording.duration(seconds)} ago"
