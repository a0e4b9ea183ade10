"""Each page in every form: as approved, and the same sentence first in all of them."""

import html
import re

import pytest

from headwater.pages import page_forms
from tests.pages.approved import FOLDER, forms
from tests.pages.samples import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_approved(name):
    for file, text in forms(name).items():
        assert text == (FOLDER / file).read_text(encoding="utf-8"), (
            "python -m tests.pages.approved writes it again"
        )


@pytest.mark.parametrize("name", PAGES)
def test_every_form_begins_with_the_sentence_and_names_every_condition(name):
    page = PAGES[name]()
    first = " ".join(f"{page.sentence} {page.effect}".split())
    shown = {
        "html": page_forms.to_html(page).partition("<h1")[2].partition(">")[2],
        "notebook": page_forms.to_notebook(page),
    }
    texts = {
        form: " ".join(
            html.unescape(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", text, flags=re.DOTALL)).split()
        )
        for form, text in shown.items()
    }
    texts["markdown"] = " ".join(
        html.unescape(page_forms.to_markdown(page)).removeprefix("# ").replace("\\", "").split()
    )
    texts["terminal"] = " ".join(repr(page_forms.to_terminal(page, verbose=True)).split())
    for form, text in texts.items():
        assert text.startswith(first), form
        for condition in page.conditions:
            assert " ".join(condition.text.split()) in text, form
            assert condition.state in text, form


@pytest.mark.parametrize("name", PAGES)
def test_the_first_screen_fits_a_small_terminal(name):
    lines = forms(name)[f"{name}.txt"].splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_short_and_has_no_empty_fold(name):
    page = PAGES[name]()
    assert page.rows is None or len(page.rows.rows) <= 6
    assert all(fold.blocks for fold in page.folds)
    assert max(len(page.sentence.split()), len(page.effect.split())) <= 17
    assert len(page_forms.to_html(page)) < 200_000
