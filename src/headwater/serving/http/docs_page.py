"""The page at /docs: it lists the routes of /openapi.json and sends requests. It loads no external
resources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse, Response
from starlette.routing import request_response

from headwater.pages.rendering import part, render, sha256

if TYPE_CHECKING:
    from starlette.requests import Request

_STYLE: Final = part("docs.css")
_SCRIPT: Final = part("docs.js")

POLICY: Final = (
    f"default-src 'none'; connect-src 'self'; script-src 'sha256-{sha256(_SCRIPT)}'; style-src "
    f"'sha256-{sha256(_STYLE)}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the page: its own script and style, and requests to its own origin."""

PAGE: Final = render("docs.html.j2", style=_STYLE, script=_SCRIPT)


async def _docs(request: Request) -> Response:  # noqa: ARG001 (as Starlette calls it)
    return HTMLResponse(PAGE, headers={"content-security-policy": POLICY})


docs: Final = request_response(_docs)
"""The page as an ASGI app."""
