"""Every page in a real browser: no errors, no requests to elsewhere, accessible, and names shown as
text."""

import shutil
import socket
from contextlib import closing, contextmanager

import pytest

from headwater.console.console_app import console_app
from headwater.console.page_table import PAGES
from headwater.serving.http.auth import TokenFile
from headwater.serving.process.uvicorn_server import serving
from tests import services
from tests.console.seeded import HOSTILE, empty_context, seeded_context

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
NAVIGATION = {page.path for page in PAGES if page.in_navigation}
# whose names the project checks
OF_THE_PROJECT = {"features", "feature", "definition", "lineage", "freshness", "serving"}

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


@pytest.fixture(scope="module")
def browser():
    services.starts("a browser")
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        closing(
            playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        ) as browser,
    ):
        yield browser


@contextmanager
def _served(context, tokens=None):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with closing(context), serving(console_app(context, tokens), "127.0.0.1", port) as url:
        yield url


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    context = seeded_context(tmp_path_factory.mktemp("seeded"))
    with _served(context) as url:
        yield url, context


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    context = seeded_context(tmp_path_factory.mktemp("hostile"), HOSTILE)
    with _served(context) as url:
        yield url, context


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    context = empty_context(tmp_path_factory.mktemp("empty"))
    with _served(context) as url:
        yield url, context


class Watched:
    """A page of the browser with what went wrong in it."""

    def __init__(self, browser, url, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on(
            "console",
            lambda message: (
                self.wrong.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        self.page.on(
            "request",
            lambda r: (
                None if r.url.startswith((url, "data:", "blob:")) else self.wrong.append(r.url)
            ),
        )
        self.page.on(
            "response",
            lambda r: self.wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def open(self, address):
        self.page.goto(address)


def _paths(context):
    ids = [record.id for record in context.runs().records]
    started = [experiment.name for experiment in context.project.experiments] or (
        ["fresher"] if ids else []
    )
    for page in PAGES:
        if page.path == "/runs/{run}":
            kinds = {one.partition("-")[0]: one for one in ids}
            yield from ((f"run-{kind}", f"/runs/{one}") for kind, one in kinds.items())
        elif page.path == "/compare":
            yield from [("compare", "/compare?run=" + "&run=".join(ids[-3:]))] if ids else []
        elif page.path == "/experiments/{name}":
            yield from ((f"experiment-{name}", f"/experiments/{name}") for name in started)
        elif page.path == "/features/{feature}":
            yield "feature", "/features/user__count_1d"
        elif page.path == "/definition":
            yield "definition", "/definition?of=view%20user"
        elif "{" not in page.path:
            yield page.path.strip("/").replace("/", "-") or "overview", page.path


def _axe(page, only=None):
    """The serious and critical findings, of some rules or all."""
    from axe_playwright_python.sync_playwright import Axe

    found = (
        Axe()
        .run(page, options={"resultTypes": ["violations"], **({"runOnly": only} if only else {})})
        .response["violations"]
    )
    return [
        f"{one['id']}: {[node['html'][:160] for node in one['nodes']][:3]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("state", ["seeded", "hostile", "empty"])
def test_every_page_is_sound(browser, state, request):
    """On a desktop, in the dark and on a phone. Names that are markup, or very long, or right to
    left, are shown as text.
    """
    url, context = request.getfixturevalue(state)
    problems = {}
    with Watched(browser, url) as watched:
        page = watched.page
        for name, path in _paths(context):
            if state == "hostile" and name in OF_THE_PROJECT:
                continue
            page.set_viewport_size(SIZES["desktop"])
            watched.open(f"{url}/console{path}")
            found = [] if state == "hostile" else _axe(page)
            found += _too_wide(page, "desktop")
            if state == "seeded" and path in NAVIGATION:
                page.emulate_media(color_scheme="dark")
                found += [f"dark: {one}" for one in _axe(page, only=["color-contrast"])]
                page.emulate_media(color_scheme="light")
            if state == "empty":
                problems[name] = found + watched.wrong
                watched.wrong.clear()
                continue
            page.set_viewport_size(SIZES["phone"])
            found += _too_wide(page, "phone")
            if page.locator("main h1").count() != 1:
                found.append("no heading, or several")
            if state == "hostile" and HOSTILE[:26] not in page.locator("body").inner_text():
                found.append("the names are not shown")
            problems[name] = found + watched.wrong
            watched.wrong.clear()
    assert {name: found for name, found in problems.items() if found} == {}


def _too_wide(page, look):
    """How wide the page is, if it scrolls sideways."""
    width = page.evaluate("document.documentElement.scrollWidth")
    return [f"{look}: {width} pixels wide"] if width > SIZES[look]["width"] else []


def test_logging_in_promoting_rolling_back_and_logging_out(browser, tmp_path):
    tokens = TokenFile(tmp_path / "tokens.json")
    admin = tokens.add("ann", ["admin"])
    with _served(seeded_context(tmp_path), tokens.path) as url, Watched(browser, url) as watched:
        page = watched.page
        page.goto(f"{url}/console/models")
        assert page.url == f"{url}/console/login?next=%2Fconsole%2Fmodels"
        assert _axe(page) == []
        page.get_by_label("Token").fill(admin)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/console/models")
        page.evaluate("window.confirm = () => true")
        page.get_by_role("button", name="Promote version 1 of churn").click()
        page.wait_for_selector("text=churn as defined, version 1, is current from now on")
        assert page.get_by_role("row", name="1 current").count() == 1
        page.evaluate("window.confirm = () => true")
        page.get_by_role("button", name="Roll back churn to version 3").click()
        page.wait_for_selector("text=rolled back")
        assert "ann: rolled back" in page.locator("#actions").inner_text()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{url}/console/login")
        page.goto(f"{url}/console/models")
        assert "/login" in page.url
        assert watched.wrong == []


def test_pages_work_by_keyboard(browser, seeded):
    url, _ = seeded
    with Watched(browser, url) as watched:
        page = watched.page
        page.goto(f"{url}/console")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
