"""The console as a Starlette app under /console. Pages, actions and data routes are the rows of
`page_table`.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote, urlencode

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from headwater import settings
from headwater.console.console_context import ConsoleContext
from headwater.console.live_updates import EventsResponse, LiveUpdates
from headwater.console.page_table import ACTIONS, DATA_ROUTES, PAGES
from headwater.console.page_types import (
    ConsoleAction,
    ConsolePage,
    ConsoleRequest,
    DataRoute,
    NotShown,
)
from headwater.console.rendering import render_console
from headwater.console.sessions import COOKIE, Session, Sessions, cookies
from headwater.console.static_files import static_file
from headwater.errors import HeadwaterError, StoreError
from headwater.serving.http.asgi import App as Asgi
from headwater.serving.http.asgi import Message, Read, Scope, Send
from headwater.serving.http.auth import Access, Denied, TokenFile
from headwater.serving.http.console_proxy import BASE, CLIENT, LARGEST_FORM

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of every page: own files only, nothing inline."""
_HEADERS: Final = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}
"""For every response, no matter which handler makes it."""
_NO_STORE: Final = {"cache-control": "no-store"}
_YEAR: Final = {"cache-control": "public, max-age=31536000, immutable"}
_LOG: Final = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class _Visitor:
    """The sender of a request. cookie: a session that has just begun, to be set."""

    session: Session
    may_act: bool
    cookie: str | None = None


def console_app(
    context: ConsoleContext,
    tokens: Path | None,
    *,
    proxied: bool = False,
    pages: Sequence[ConsolePage] = PAGES,
    actions: Sequence[ConsoleAction] = ACTIONS,
    data_routes: Sequence[DataRoute] = DATA_ROUTES,
) -> Asgi:
    """The app.

    Args:
        context: what the pages show.
        tokens: the file of tokens; None serves this machine only, without login.
        proxied: whether `headwater serve` forwards the requests, and says whose they are.
        pages, actions, data_routes: the tables.

    Raises:
        UsageError: the file has no token.
    """
    console = _Console(context, tokens, pages, proxied=proxied)
    routes = [
        Route("/", console.to_overview),
        Route(f"{BASE}/static/{{name}}", console.static),
        Route(f"{BASE}/login", console.login_page, methods=["GET"]),
        Route(f"{BASE}/login", console.log_in, methods=["POST"]),
        Route(f"{BASE}/logout", console.log_out, methods=["POST"]),
        Route(f"{BASE}/events", console.events),
        *(Route(BASE + row.path, partial(console.data, row)) for row in data_routes),
        *(
            Route(BASE + row.path, partial(console.action, row), methods=["POST"])
            for row in actions
        ),
        *(Route(BASE + page.path, partial(console.page, page)) for page in pages),
    ]
    return _with_headers(Starlette(routes=routes, exception_handlers={404: console.lost}))


class _Console:
    """The handlers of the routes."""

    def __init__(
        self,
        context: ConsoleContext,
        tokens: Path | None,
        pages: Sequence[ConsolePage],
        *,
        proxied: bool,
    ) -> None:
        self.context, self.access, self.proxied = context, Access(tokens), proxied
        self.tokens = None if tokens is None else TokenFile(tokens)
        self.sessions, self.live = Sessions(self.access), LiveUpdates(context)
        self.navigation = [page for page in pages if page.in_navigation]

    async def to_overview(self, request: Request) -> Response:  # noqa: ARG002 (as Starlette calls it)
        return RedirectResponse(BASE, 303)

    async def static(self, request: Request) -> Response:
        """A style sheet or a script; it needs no session."""
        file = static_file(request.path_params["name"])
        if file is None:
            return Response("no such file", 404, media_type="text/plain")
        headers = {**_YEAR, "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                file.packed, headers={**headers, "content-encoding": "gzip"}, media_type=file.media
            )
        return Response(gzip.decompress(file.packed), headers=headers, media_type=file.media)

    async def login_page(self, request: Request) -> Response:
        try:
            self._visitor(request)
        except Denied as denied:
            if denied.status != 401:
                return self._refused(denied)
            return self._login_form(request.query_params.get("next", BASE), "")
        return RedirectResponse(BASE, 303)

    async def log_in(self, request: Request) -> Response:
        """Exchange a token for a cookie. The form has no CSRF token: a session that another site
        begins is refused by its Origin.
        """
        target = BASE
        try:
            self._check_origin(request)
            form = await _form(request)
            target = _inside(next(iter(form.get("next", ())), BASE))
            token = next(iter(form.get("token", ())), "")
            cookie = self.sessions.begin(token, self._address(request))
        except Denied as denied:
            return self._login_form(target, str(denied), status=denied.status)
        return self._with_cookie(RedirectResponse(target, 303, headers=_NO_STORE), request, cookie)

    async def log_out(self, request: Request) -> Response:
        try:
            visitor = self._visitor(request)
            await self._own_form(request, visitor)
        except Denied as denied:
            return self._refused(denied)
        self.sessions.end(cookies(_raw(request)).get(COOKIE))
        response = RedirectResponse(f"{BASE}/login", 303)
        response.delete_cookie(COOKIE, path=BASE)
        return response

    async def events(self, request: Request) -> Response:
        """Server-sent events: the names of changed parts."""
        try:
            self._visitor(request)
        except Denied as denied:
            return Response(str(denied), denied.status, media_type="text/plain")
        if self.live.full:
            return Response(
                "too many open pages; this one is not updated", 503, headers={"retry-after": "60"}
            )
        return EventsResponse(self.live.events(), _NO_STORE)

    async def data(self, row: DataRoute, request: Request) -> Response:
        """JSON data; errors are JSON too."""
        try:
            visitor = self._visitor(request)
            value = await run_in_threadpool(
                row.view, self.context, _console_request(request, visitor)
            )
            status, body = 200, value
        except Denied as denied:
            status, body = denied.status, {"error": str(denied)}
        except HeadwaterError as error:
            status, body = _status(error), {"error": str(error)}
        return Response(
            msgspec.json.encode(body), status, headers=_NO_STORE, media_type="application/json"
        )

    async def action(self, row: ConsoleAction, request: Request) -> Response:
        """Do what a form asks for, then show the page that says so."""
        try:
            visitor = self._visitor(request)
            form = await self._own_form(request, visitor)
            self.access.check(self.sessions.scopes(visitor.session), "admin")
        except Denied as denied:
            return self._to_login(request) if denied.status == 401 else self._refused(denied)
        console_request = ConsoleRequest(
            dict(request.path_params), form, visitor.may_act, self._who(visitor.session)
        )
        try:
            done = await run_in_threadpool(row.run, self.context, console_request)
        except HeadwaterError as error:
            return self._error(error, visitor, title="Nothing was done")
        except Exception:  # noqa: BLE001 (logged, and shown as a page)
            return self._failed(request, visitor, "this action failed")
        self.context.forget()
        visitor.session.message = done.sentence
        return RedirectResponse(BASE + _encoded(done.back), 303, headers=_NO_STORE)

    async def page(self, page: ConsolePage, request: Request) -> Response:
        """A page, computed in a thread."""
        try:
            visitor = self._visitor(request)
        except Denied as denied:
            return self._to_login(request) if denied.status == 401 else self._refused(denied)
        try:
            html = await run_in_threadpool(
                self._rendered, page, _console_request(request, visitor), visitor
            )
        except HeadwaterError as error:
            response = self._error(error, visitor)
        except Exception:  # noqa: BLE001 (logged, and shown as a page)
            response = self._failed(request, visitor, "this page failed")
        else:
            response = _html(html)
        return (
            response
            if visitor.cookie is None
            else self._with_cookie(response, request, visitor.cookie)
        )

    async def lost(self, request: Request, _error: Exception) -> Response:
        """404, for visitors who may read."""
        return await self.page(_LOST, request)

    def _rendered(self, page: ConsolePage, request: ConsoleRequest, visitor: _Visitor) -> str:
        values = page.view(self.context, request)
        return self._in_frame(page.template, visitor, title=page.title, path=page.path, **values)

    def _in_frame(self, template: str, visitor: _Visitor, **values: object) -> str:
        """A template with the variables of base.html.j2."""
        frame: dict[str, object] = {
            "base": BASE,
            "navigation": self.navigation,
            "project": self.context.project.name,
            "csrf": visitor.session.csrf,
            "may_act": visitor.may_act,
            "message": visitor.session.take_message(),
            "logged_in": not self.access.open,
        }
        return render_console(template, **(frame | values))

    def _visitor(self, request: Request) -> _Visitor:
        """The sender of a request, who may read.

        Raises:
            Denied: 401, no session; 403, no right to read, or a page of another site.
        """
        headers = _raw(request)
        if self.access.open:
            self.access.check_page(headers)
        elif (authorization := headers.get(b"authorization")) is not None:
            # programs; they get no cookie, and no right to act
            self.access.check(self.access.scopes(authorization), "read")
            return _Visitor(Session(authorization, 0.0), may_act=False)
        cookie = cookies(headers).get(COOKIE)
        session = self.sessions.find(cookie)
        if session is None:
            if not self.access.open:
                raise Denied(401, "log in with a token")
            cookie = self.sessions.open()
            session = self.sessions.find(cookie)
            assert session is not None
            return _Visitor(session, may_act=True, cookie=cookie)
        scopes = self.sessions.scopes(session)
        self.access.check(scopes, "read")
        return _Visitor(session, may_act="admin" in scopes)

    async def _own_form(self, request: Request, visitor: _Visitor) -> Mapping[str, Sequence[str]]:
        """The fields of a form of this session.

        Raises:
            Denied: 403, it is of another site or session; 413, it is too large.
        """
        self._check_origin(request)
        form = await _form(request)
        if visitor.cookie is not None or not visitor.session.is_own(
            next(iter(form.get("csrf", ())), "")
        ):
            raise Denied(
                403, "the form is of an earlier session; go back, load the page again, and repeat"
            )
        return form

    def _check_origin(self, request: Request) -> None:
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        if origin is not None and origin.partition("://")[2] != host:
            raise Denied(403, "the form is of another site")
        if self.access.open:
            self.access.check_page(_raw(request))

    def _address(self, request: Request) -> str:
        """The client's address, the key for counting failed logins."""
        if self.proxied:
            return request.headers.get(CLIENT.decode(), "")
        return request.client.host if request.client else ""

    def _who(self, session: Session) -> str:
        """The name of a session's token; without tokens, the user of this process."""
        if session.authorization is None or self.tokens is None:
            return settings.who()
        token = self.tokens.find(session.authorization.decode().split("_")[1])
        return token.name or token.id

    def _to_login(self, request: Request) -> Response:
        """The login form. A link on another site comes without the cookie, which is
        SameSite=Strict: the page is then loaded once more.
        """
        after = (
            quote(request.scope["path"]) + (f"?{request.url.query}" if request.url.query else "")
            if request.method == "GET"
            else BASE
        )
        if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
            return Response(
                headers={**_NO_STORE, "refresh": f"0; url={after}"}, media_type="text/html"
            )
        return RedirectResponse(
            f"{BASE}/login?{urlencode({'next': after})}", 303, headers=_NO_STORE
        )

    def _login_form(self, target: str, problem: str, *, status: int = 200) -> Response:
        html = render_console(
            "login.html.j2",
            base=BASE,
            next=_inside(target),
            problem=problem,
            project=self.context.project.name,
        )
        return _html(html, status, {"retry-after": "60"} if status == 429 else {})

    def _refused(self, denied: Denied) -> Response:
        """A page without the navigation: the visitor may not read."""
        return _html(render_console("refused.html.j2", problem=str(denied)), denied.status)

    def _error(
        self,
        error: HeadwaterError,
        visitor: _Visitor,
        *,
        title: str = "This page cannot be shown",
        status: int | None = None,
    ) -> Response:
        status = _status(error) if status is None else status
        title = "Not found" if status == 404 else title
        return _html(
            self._in_frame("error.html.j2", visitor, title=title, path=None, problem=str(error)),
            status,
        )

    def _failed(self, request: Request, visitor: _Visitor, problem: str) -> Response:
        """The page for the exception that is being handled."""
        _LOG.exception("%s of the console failed", request.url.path)
        return self._error(
            HeadwaterError(f"{problem}; the log of the console has the reason"), visitor, status=500
        )

    def _with_cookie(self, response: Response, request: Request, cookie: str) -> Response:
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        response.set_cookie(
            COOKIE, cookie, path=BASE, secure=secure, httponly=True, samesite="strict"
        )
        return response


def _lost(_context: ConsoleContext, _request: ConsoleRequest) -> Mapping[str, object]:
    raise NotShown("the console has no such page; the navigation has those that it has")


_LOST: Final = ConsolePage("", "Not found", "error.html.j2", _lost)


def _with_headers(app: Asgi) -> Asgi:
    """An app with `_HEADERS` in each response."""

    async def wrapped(scope: Scope, receive: Read, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS.items()]
            await send(message)

        await app(scope, receive, sent)

    return wrapped


def _html(html: str, status: int = 200, more: Mapping[str, str] = {}) -> Response:
    return Response(html, status, headers={**_NO_STORE, **more}, media_type="text/html")


def _status(error: HeadwaterError) -> int:
    return 404 if isinstance(error, NotShown) else 503 if isinstance(error, StoreError) else 400


def _raw(request: Request) -> Mapping[bytes, bytes]:
    return dict(request.scope["headers"])


def _console_request(request: Request, visitor: _Visitor) -> ConsoleRequest:
    query: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        query.setdefault(name, []).append(value)
    return ConsoleRequest(dict(request.path_params), query, visitor.may_act)


async def _form(request: Request) -> Mapping[str, Sequence[str]]:
    """The fields of a form.

    Raises:
        Denied: 413, more than `LARGEST_FORM` bytes; 415, no form.
    """
    if (
        request.headers.get("content-type", "").partition(";")[0].strip()
        != "application/x-www-form-urlencoded"
    ):
        raise Denied(415, "send a form: application/x-www-form-urlencoded")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_FORM:
            raise Denied(413, f"the form has more than {LARGEST_FORM:,} bytes")
    return parse_qs(data.decode("utf-8", "replace"), keep_blank_values=True)


def _inside(target: str) -> str:
    """A path of the console; any other path becomes the overview's.

    >>> _inside("/console/runs?a=1"), _inside("//evil.example"), _inside("/console.evil.example")
    ('/console/runs?a=1', '/console', '/console')
    """
    inside = target == BASE or target.startswith((f"{BASE}/", f"{BASE}?"))
    return target if inside and "\\" not in target and target.isprintable() else BASE


def _encoded(path: str) -> str:
    return quote(path, safe="/?&=%#+")
