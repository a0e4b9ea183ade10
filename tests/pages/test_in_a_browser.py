"""A result's page in a browser: no accessibility finding, nothing that scrolls sideways, the first
screen on one screen, and all of it without a script.
"""

import pytest
from msgspec import structs

from headwater.backtesting.backtest import Backtest
from headwater.pages.recommending import with_recommendation
from headwater.results.audit_result import AuditFinding, AuditResult
from tests import services
from tests.backtesting.sample_result import flights
from tests.console.test_browser import CHROMIUM

ASKED = AuditFinding(
    "late fields", "SUSPECT", "x", "It is filled before departure.", "Say when.", brief="x is known"
)
PAGES = {
    "plain": flights(),
    "asked": structs.replace(flights(), audit=AuditResult([ASKED])),
    "leak": structs.replace(
        flights(), audit=AuditResult([structs.replace(ASKED, severity="LEAK")])
    ),
}


@pytest.mark.services
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound_on_every_screen(name, tmp_path):
    services.starts("a browser")
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    file = Backtest(with_recommendation(PAGES[name])).write_html(tmp_path / "page.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(file.as_uri())
        assert (
            page.evaluate("document.querySelector('.screen').getBoundingClientRect().bottom") < 900
        )
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for width in (1440, 1024, 390):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                found = Axe().run(page).response["violations"]
                assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
        page.emulate_media(media="print", color_scheme="light")
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = false)")
        assert page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n") == 1
        browser.close()
